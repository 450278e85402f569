#include "fio/base/move_only_function.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "fio/testing/allocation_counter.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using Function = MoveOnlyFunction<int()>;

TEST(MoveOnlyFunction, CallsAsOftenAsAsked) {
  Function next = [n = 0]() mutable { return ++n; };
  EXPECT_EQ(next(), 1);
  EXPECT_EQ(next(), 2);
}

TEST(MoveOnlyFunction, PassesArgumentsAndResult) {
  MoveOnlyFunction<std::string(std::unique_ptr<int>, int&)> function =
      [](std::unique_ptr<int> a, int& b) { return std::to_string(*a + b++); };
  int b = 2;
  EXPECT_EQ(function(std::make_unique<int>(40), b), "42");
  EXPECT_EQ(b, 3);
}

TEST(MoveOnlyFunction, OwnsWhatCannotBeCopied) {
  Function function = [value = std::make_unique<int>(7)] { return *value; };
  Function moved = std::move(function);
  EXPECT_TRUE(function == nullptr);  // NOLINT(bugprone-use-after-move)
  EXPECT_EQ(moved(), 7);
}

TEST(MoveOnlyFunction, DestroysItsCallableOnce) {
  const auto owned = std::make_shared<int>();
  Function function = [owned] { return 0; };
  EXPECT_EQ(owned.use_count(), 2);
  Function moved = std::move(function);
  EXPECT_EQ(owned.use_count(), 2);
  moved = [] { return 1; };
  EXPECT_EQ(owned.use_count(), 1);
  EXPECT_EQ(moved(), 1);
  std::optional<Function> large = [owned, bytes = std::array<char, 200>()] {
    return static_cast<int>(bytes.size());
  };
  Function moved_large = *std::move(large);
  large.reset();
  EXPECT_EQ(owned.use_count(), 2);
  EXPECT_EQ(moved_large(), 200);
  moved_large = nullptr;
  EXPECT_EQ(owned.use_count(), 1);
}

TEST(MoveOnlyFunction, IsNullOfWhatIsNull) {
  EXPECT_TRUE(Function() == nullptr);
  EXPECT_TRUE(Function(nullptr) == nullptr);
  int (*pointer)() = nullptr;
  EXPECT_FALSE(Function(pointer));
  EXPECT_FALSE(Function(std::function<int()>()));
  EXPECT_FALSE((Function(MoveOnlyFunction<int(), 8>())));
  EXPECT_TRUE(Function([] { return 0; }));
  Function self = [] { return 5; };
  Function& same = self;
  self = std::move(same);
  EXPECT_EQ(self(), 5);
}

// The last one that is assigned stays, and nothing leaks.
TEST(MoveOnlyFunction, WhatItDestroysMayAssignToIt) {
  auto counted = std::make_shared<int>(0);
  struct Assigns {
    Assigns(MoveOnlyFunction<void()>& function, std::shared_ptr<int> counted)
        : function(function), counted(std::move(counted)) {}
    Assigns(const Assigns&) = delete;
    Assigns& operator=(const Assigns&) = delete;
    ~Assigns() {
      function = [counted = counted] {};
    }
    MoveOnlyFunction<void()>& function;
    std::shared_ptr<int> counted;
  };
  {
    MoveOnlyFunction<void()> function;
    function = [assigns = std::make_unique<Assigns>(function, counted)] {};
    function = [counted] {};
    EXPECT_TRUE(function);
    EXPECT_EQ(counted.use_count(), 2);
  }
  EXPECT_EQ(counted.use_count(), 1);
}

template <size_t kBytes>
int64_t AllocationsToMakeMoveAndCall() {
  std::array<std::byte, kBytes> bytes = {};
  const testing::AllocationCounter counter;
  MoveOnlyFunction<size_t()> function = [bytes] { return bytes.size(); };
  MoveOnlyFunction<size_t()> moved = std::move(function);
  EXPECT_EQ(moved(), kBytes);
  return counter.allocations();
}

TEST(MoveOnlyFunction, AllocatesOnlyForMoreThan64Bytes) {
  EXPECT_EQ(AllocationsToMakeMoveAndCall<1>(), 0);
  EXPECT_EQ(AllocationsToMakeMoveAndCall<64>(), 0);
  EXPECT_EQ(AllocationsToMakeMoveAndCall<65>(), 1);
}

TEST(MoveOnlyFunction, KeepsTheAlignmentItsCallableAsksFor) {
  struct alignas(64) Aligned {
    bool operator()() const {
      return reinterpret_cast<uintptr_t>(this) % 64 == 0;
    }
  };
  MoveOnlyFunction<bool()> function = Aligned();
  EXPECT_TRUE(function());
}

}  // namespace
}  // namespace fio
