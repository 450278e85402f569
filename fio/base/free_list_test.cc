#include "fio/base/free_list.h"

#include <cstddef>
#include <thread>
#include <vector>

#include "fio/testing/allocation_counter.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using testing::AllocationCounter;

constexpr size_t kBytes = 4096;
using List = FreeList<kBytes>;

TEST(FreeList, GivesBackWhatItWasGiven) {
  void* const first = List::Take();
  void* const second = List::Take();
  EXPECT_NE(first, second);
  List::Give(first);
  List::Give(second);
  const AllocationCounter counter;
  EXPECT_EQ(List::Take(), second) << "the one that is still in the cache";
  EXPECT_EQ(List::Take(), first);
  EXPECT_EQ(counter.allocations(), 0);
  List::Give(first);
  List::Give(second);
}

TEST(FreeList, KeepsNoMoreThanOneMegabyte) {
  constexpr size_t kPieces = (2 << 20) / kBytes;
  std::vector<void*> pieces;
  for (size_t i = 0; i < kPieces; ++i) pieces.push_back(List::Take());
  for (void* piece : pieces) List::Give(piece);
  const AllocationCounter counter;
  for (void*& piece : pieces) piece = List::Take();
  EXPECT_EQ(counter.allocations(), kPieces / 2);
  for (void* piece : pieces) List::Give(piece);
}

// LeakSanitizer sees to it that a thread that ends leaves nothing.
TEST(FreeList, PiecesMoveBetweenThreads) {
  void* piece = nullptr;
  std::thread taker([&] { piece = List::Take(); });
  taker.join();
  std::thread giver([&] { List::Give(piece); });
  giver.join();
}

// An object that dies after the list of its thread has been emptied.
TEST(FreeList, ServesUntilTheThreadHasEnded) {
  struct Late {
    ~Late() {
      List::Give(piece);
      List::Give(List::Take());
    }
    void* piece = nullptr;
  };
  std::thread thread([] {
    // Constructed first, so destroyed after the list's own.
    static thread_local Late late;
    late.piece = List::Take();
    List::Give(List::Take());
  });
  thread.join();
}

}  // namespace
}  // namespace fio
