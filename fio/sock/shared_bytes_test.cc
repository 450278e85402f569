#include "fio/sock/shared_bytes.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <latch>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/types/span.h"
#include "fio/testing/allocation_counter.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using testing::AllocationCounter;

// A cord in one piece, whose release is counted.
absl::Cord Counted(std::string_view bytes, std::atomic<int>& released) {
  return absl::MakeCordFromExternal(
      bytes, [&released](std::string_view) { ++released; });
}

// A cord in several pieces.
absl::Cord Fragmented(std::string_view bytes) {
  absl::Cord cord;
  for (size_t at = 0; at < bytes.size(); at += 600) {
    cord.Append(absl::MakeCordFromExternal(bytes.substr(at, 600), [] {}));
  }
  return cord;
}

TEST(SharedBytes, HoldsACopyOfWhatItIsMadeOf) {
  std::string bytes = "as it was";
  const SharedBytes shared(bytes);
  bytes.assign("changed!!");
  EXPECT_EQ(shared.view(), "as it was");
  EXPECT_EQ(shared.size(), 9u);
  EXPECT_FALSE(shared.empty());
}

TEST(SharedBytes, GathersPiecesInOrder) {
  const std::string_view nothing;
  EXPECT_EQ(SharedBytes::Gather({"head ", nothing, "body ", "", "tail"}).view(),
            "head body tail");
}

TEST(SharedBytes, IsFilledOnce) {
  int calls = 0;
  const SharedBytes shared = SharedBytes::Fill(1000, [&](absl::Span<char> out) {
    ++calls;
    EXPECT_EQ(out.size(), 1000u);
    for (size_t i = 0; i < out.size(); ++i) {
      out[i] = static_cast<char>('a' + i % 26);
    }
  });
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(shared.size(), 1000u);
  EXPECT_EQ(shared.view().substr(0, 28), "abcdefghijklmnopqrstuvwxyzab");
}

TEST(SharedBytes, OfNothingTakesNoMemory) {
  const AllocationCounter counter;
  EXPECT_TRUE(SharedBytes().empty());
  EXPECT_TRUE(SharedBytes("").empty());
  EXPECT_TRUE(SharedBytes::Gather({}).empty());
  EXPECT_TRUE(SharedBytes::Gather({"", ""}).empty());
  EXPECT_TRUE(SharedBytes::FromCord(absl::Cord()).empty());
  EXPECT_TRUE(SharedBytes::Fill(0, [](absl::Span<char>) { FAIL(); }).empty());
  EXPECT_TRUE(SharedBytes().ToCord().empty());
  EXPECT_EQ(SharedBytes().view(), "");
  EXPECT_EQ(SharedBytes().size(), 0u);
  EXPECT_EQ(SharedBytes().Release(), nullptr);
  EXPECT_TRUE(SharedBytes::Adopt(nullptr).empty());
  EXPECT_EQ(counter.allocations(), 0);
}

TEST(SharedBytes, IsOneAllocationAndItsCopiesAreNone) {
  const std::string big(100'000, 'b');
  AllocationCounter counter;
  const SharedBytes small("small");
  EXPECT_EQ(counter.allocations(), 1);
  const SharedBytes gathered = SharedBytes::Gather({big, "and", big});
  EXPECT_EQ(counter.allocations(), 2);
  const SharedBytes filled = SharedBytes::Fill(500, [](absl::Span<char> out) {
    std::fill(out.begin(), out.end(), 'x');
  });
  EXPECT_EQ(counter.allocations(), 3);
  // NOLINTNEXTLINE(performance-unnecessary-copy-initialization)
  const SharedBytes copy = gathered;
  EXPECT_EQ(copy.view().data(), gathered.view().data());
  EXPECT_EQ(copy.size(), 200'003u);
  EXPECT_EQ(counter.allocations(), 3);
}

TEST(SharedBytes, LivesAsLongAsItsLastCopy) {
  const std::string bytes(SharedBytes::kMinSharedCord, 'c');
  std::atomic<int> released = 0;
  SharedBytes first = SharedBytes::FromCord(Counted(bytes, released));
  SharedBytes second = first;
  SharedBytes third = std::move(first);
  EXPECT_TRUE(first.empty());  // NOLINT(bugprone-use-after-move)
  EXPECT_EQ(third.view(), bytes);
  second = SharedBytes("another");
  EXPECT_EQ(second.view(), "another");
  EXPECT_EQ(released, 0);
  const SharedBytes& itself = third;
  third = itself;
  EXPECT_EQ(third.view(), bytes);
  EXPECT_EQ(released, 0);
  third = SharedBytes();
  EXPECT_EQ(released, 1);
}

TEST(SharedBytes, SharesAFlatCordAndCopiesAnyOther) {
  const std::string bytes(3000, 'c');
  std::atomic<int> released = 0;
  {
    const SharedBytes shared = SharedBytes::FromCord(Counted(bytes, released));
    EXPECT_EQ(shared.view().data(), bytes.data());
    EXPECT_EQ(shared.size(), bytes.size());
  }
  EXPECT_EQ(released, 1);
  const std::string_view little =
      std::string_view(bytes).substr(0, SharedBytes::kMinSharedCord - 1);
  const SharedBytes copied = SharedBytes::FromCord(Counted(little, released));
  EXPECT_EQ(released, 2);
  EXPECT_EQ(copied.view(), little);
  EXPECT_EQ(SharedBytes::FromCord(absl::Cord("inline")).view(), "inline");
  const SharedBytes gathered = SharedBytes::FromCord(Fragmented(bytes));
  EXPECT_EQ(gathered.view(), bytes);
}

TEST(SharedBytes, ACordOfItSharesItsMemory) {
  absl::Cord cord;
  const char* data;
  {
    const SharedBytes shared("bytes of which nothing is copied");
    data = shared.view().data();
    cord = shared.ToCord();
  }
  EXPECT_EQ(cord, "bytes of which nothing is copied");
  EXPECT_EQ(cord.TryFlat()->data(), data);
  // And back again.
  const std::string bytes(3000, 'c');
  std::atomic<int> released = 0;
  SharedBytes shared = SharedBytes::FromCord(Counted(bytes, released));
  {
    const AllocationCounter counter;
    cord = shared.ToCord();
    EXPECT_EQ(counter.allocations(), 0);
  }
  shared = SharedBytes();
  EXPECT_EQ(released, 0);
  EXPECT_EQ(cord.TryFlat()->data(), bytes.data());
  shared = SharedBytes::FromCord(std::move(cord));
  EXPECT_EQ(released, 0);
  EXPECT_EQ(shared.view().data(), bytes.data());
  shared = SharedBytes();
  EXPECT_EQ(released, 1);
}

TEST(SharedBytes, IsKeptInAWordWithTags) {
  const std::string bytes(SharedBytes::kMinSharedCord, 'c');
  std::atomic<int> released = 0;
  SharedBytes shared = SharedBytes::FromCord(Counted(bytes, released));
  SharedBytes::Block* const block = shared.Release();
  EXPECT_TRUE(shared.empty());
  EXPECT_EQ(released, 0);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(block) % 8, 0u);
  EXPECT_EQ(SharedBytes::ViewOf(block).data(), bytes.data());
  EXPECT_EQ(SharedBytes::Adopt(block).view(), bytes);
  EXPECT_EQ(released, 1);
}

// What a user of OwnedBlock makes: bytes, and something else, in one place.
class CountedBlock final : public SharedBytes::OwnedBlock {
 public:
  CountedBlock(std::string_view bytes, std::atomic<int>& destroyed)
      : OwnedBlock(bytes.data(), bytes.size(), &Destroy),
        destroyed_(destroyed) {}

 private:
  static void Destroy(OwnedBlock* block) {
    auto* const counted = static_cast<CountedBlock*>(block);
    ++counted->destroyed_;
    delete counted;
  }

  std::atomic<int>& destroyed_;
};

TEST(SharedBytes, OfAnOwnedBlockIsDestroyedByItsOwnerOnce) {
  const std::string bytes(3000, 'c');
  std::atomic<int> destroyed = 0;
  SharedBytes shared = SharedBytes::Adopt(new CountedBlock(bytes, destroyed));
  EXPECT_EQ(shared.view().data(), bytes.data());
  EXPECT_EQ(shared.size(), bytes.size());
  SharedBytes copy = shared;
  EXPECT_EQ(copy.block(), shared.block());
  shared = SharedBytes();
  EXPECT_EQ(destroyed, 0);
  EXPECT_EQ(copy.view(), bytes);
  SharedBytes::Block* const block = copy.Release();
  EXPECT_EQ(destroyed, 0);
  copy = SharedBytes::Adopt(block);
  copy = SharedBytes();
  EXPECT_EQ(destroyed, 1);
}

TEST(SharedBytes, ACordOfAnOwnedBlockSharesIt) {
  const std::string bytes(3000, 'c');
  std::atomic<int> destroyed = 0;
  SharedBytes shared = SharedBytes::Adopt(new CountedBlock(bytes, destroyed));
  absl::Cord cord = shared.ToCord();
  EXPECT_EQ(cord.TryFlat()->data(), bytes.data());
  shared = SharedBytes();
  EXPECT_EQ(destroyed, 0);
  EXPECT_EQ(cord, bytes);
  shared = SharedBytes::FromCord(std::move(cord));
  EXPECT_EQ(destroyed, 0);
  EXPECT_EQ(shared.view().data(), bytes.data());
  shared = SharedBytes();
  EXPECT_EQ(destroyed, 1);
}

// A broadcast crosses loops: each thread has copies, and any may have the last.
TEST(SharedBytes, IsCountedByManyThreads) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 200;
  constexpr int kCopies = 100;
  const std::string bytes(SharedBytes::kMinSharedCord, 'c');
  for (int round = 0; round < kRounds; ++round) {
    std::atomic<int> released = 0;
    std::atomic<int> destroyed = 0;
    SharedBytes of_cord = SharedBytes::FromCord(Counted(bytes, released));
    SharedBytes owned = SharedBytes::Adopt(new CountedBlock(bytes, destroyed));
    SharedBytes plain = SharedBytes::Gather({"header ", bytes});
    std::latch start(kThreads);
    std::vector<std::thread> threads;
    threads.reserve(kThreads);
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&start, &bytes, of_cord, owned, plain]() mutable {
        start.arrive_and_wait();
        std::vector<SharedBytes> copies;
        for (int copy = 0; copy < kCopies; ++copy) {
          copies.push_back(copy % 3 == 0   ? of_cord
                           : copy % 3 == 1 ? owned
                                           : plain);
        }
        of_cord = SharedBytes();
        owned = SharedBytes();
        plain = SharedBytes();
        for (SharedBytes& copy : copies) {
          EXPECT_TRUE(copy.view().ends_with(bytes));
          copy = SharedBytes();
        }
      });
    }
    of_cord = SharedBytes();
    owned = SharedBytes();
    plain = SharedBytes();
    for (std::thread& thread : threads) thread.join();
    ASSERT_EQ(released, 1);
    ASSERT_EQ(destroyed, 1);
  }
}

}  // namespace
}  // namespace fio
