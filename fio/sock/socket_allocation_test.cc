// A Socket in its steady state allocates nothing: the pieces of memory that its
// queue is made of are used again and again.

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/types/span.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/file_range.h"
#include "fio/sock/shared_bytes.h"
#include "fio/sock/socket.h"
#include "fio/testing/allocation_counter.h"
#include "fio/testing/loopback_pair.h"
#include "fio/testing/memory_file.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using testing::AllocationCounter;
using testing::LoopbackPair;
using testing::MemoryFile;

// Many connections that all write before any is flushed, as in one turn of a
// loop.
class Allocations : public ::testing::Test {
 protected:
  static constexpr int kPairs = 20;

  Allocations() {
    for (int i = 0; i < kPairs; ++i) pairs_.push_back(LoopbackPair::Unix());
  }

  template <typename Write>
  int64_t Count(Write write) {
    Turn(write);
    const AllocationCounter counter;
    for (int i = 0; i < 10; ++i) Turn(write);
    return counter.allocations();
  }

 private:
  template <typename Write>
  void Turn(Write write) {
    for (LoopbackPair& pair : pairs_) write(pair.near);
    for (LoopbackPair& pair : pairs_) {
      EXPECT_TRUE(pair.near.Flush().ok());
      while (pair.far.Read(absl::MakeSpan(buffer_)).ok()) {
      }
    }
  }

  std::vector<LoopbackPair> pairs_;
  char buffer_[1 << 16];
};

TEST_F(Allocations, NoneForCopiesUpTo16KiB) {
  for (const size_t size : {1, 50, 999, 1000, 4096, 5000, 16 << 10}) {
    const std::string bytes(size, 'b');
    EXPECT_EQ(
        Count([&](Socket& socket) { EXPECT_TRUE(socket.Write(bytes).ok()); }),
        0)
        << size;
  }
  EXPECT_EQ(Count([](Socket& socket) {
              for (int i = 0; i < 100; ++i) {
                EXPECT_TRUE(socket.Write("many small ones").ok());
              }
            }),
            0);
}

TEST_F(Allocations, NoneForCordsAndFiles) {
  const absl::Cord cord(std::string(10'000, 'c'));
  EXPECT_EQ(
      Count([&](Socket& socket) { EXPECT_TRUE(socket.Write(cord).ok()); }), 0);
  const UniqueFd file = MemoryFile("file");
  EXPECT_EQ(Count([&](Socket& socket) {
              EXPECT_TRUE(socket.Write(*FileRange::Borrow(file.get())).ok());
            }),
            0);
}

TEST_F(Allocations, NoneForSharedBytes) {
  const SharedBytes shared(std::string(10'000, 's'));
  EXPECT_EQ(
      Count([&](Socket& socket) { EXPECT_TRUE(socket.Write(shared).ok()); }),
      0);
  EXPECT_EQ(Count([&](Socket& socket) {
              EXPECT_TRUE(socket.Write(shared).ok());
              EXPECT_TRUE(socket.Write("between").ok());
              EXPECT_TRUE(socket.Write(shared, 9'000).ok());
            }),
            0);
}

// Whatever was allocated before: the Socket holds nothing but the reference.
TEST(SharedBytes, QueuedAloneTakesNoMemory) {
  constexpr size_t kPairs = 50;
  std::vector<LoopbackPair> pairs;
  for (size_t i = 0; i < kPairs; ++i) pairs.push_back(LoopbackPair::Unix());
  const SharedBytes shared(std::string(128, 's'));
  const AllocationCounter counter;
  for (LoopbackPair& pair : pairs) {
    EXPECT_TRUE(pair.near.Write(shared).ok());
    EXPECT_EQ(pair.near.pending_bytes(), 128u);
  }
  EXPECT_EQ(counter.allocations(), 0);
}

}  // namespace
}  // namespace fio
