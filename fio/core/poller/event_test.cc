#include "fio/core/poller/event.h"

#include <cstdint>
#include <limits>
#include <optional>
#include <sstream>
#include <string>
#include <type_traits>

#include "gtest/gtest.h"

namespace fio {
namespace {

template <typename T>
std::string Printed(T value) {
  std::ostringstream out;
  out << value;
  return out.str();
}

constexpr Interest kBoth = Interest::kReadable | Interest::kWritable;

TEST(Interest, IsTests) {
  EXPECT_TRUE(Interest::kReadable.readable());
  EXPECT_FALSE(Interest::kReadable.writable());
  EXPECT_FALSE(Interest::kReadable.priority());
  EXPECT_TRUE(Interest::kWritable.writable());
  EXPECT_FALSE(Interest::kWritable.readable());
  EXPECT_TRUE(Interest::kPriority.priority());
  EXPECT_FALSE(Interest::kPriority.readable());
  EXPECT_TRUE(kBoth.readable() && kBoth.writable() && !kBoth.priority());
}

TEST(Interest, BitOr) {
  EXPECT_EQ(kBoth, Interest::kWritable | Interest::kReadable);
  EXPECT_EQ(kBoth | Interest::kReadable, kBoth);
  EXPECT_NE(kBoth, Interest::kReadable);
}

TEST(Interest, WithoutTheLastIsNothing) {
  EXPECT_EQ(kBoth.Without(Interest::kWritable), Interest::kReadable);
  EXPECT_EQ(kBoth.Without(Interest::kPriority), kBoth);
  EXPECT_EQ(Interest::kReadable.Without(Interest::kReadable), std::nullopt);
  EXPECT_EQ(kBoth.Without(kBoth | Interest::kPriority), std::nullopt);
}

TEST(Interest, FmtDebug) {
  EXPECT_EQ(Printed(Interest::kReadable), "readable");
  EXPECT_EQ(Printed(Interest::kWritable), "writable");
  EXPECT_EQ(Printed(Interest::kPriority), "priority");
  EXPECT_EQ(Printed(kBoth | Interest::kPriority), "readable|writable|priority");
}

TEST(Readiness, WhatEndsMakesReadsAndWritesReady) {
  const Readiness hang_up(Readiness::kHangUp);
  EXPECT_TRUE(hang_up.readable() && hang_up.writable());
  EXPECT_TRUE(hang_up.read_closed() && hang_up.write_closed());
  EXPECT_FALSE(hang_up.error());
  const Readiness error(Readiness::kError);
  EXPECT_TRUE(error.readable() && error.writable() && error.error());
  EXPECT_TRUE(error.write_closed());
  const Readiness half(Readiness::kReadClosed);
  EXPECT_TRUE(half.readable() && half.read_closed());
  EXPECT_FALSE(half.writable() || half.write_closed() || half.error());
  const Readiness priority(Readiness::kPriority);
  EXPECT_TRUE(priority.priority());
  EXPECT_FALSE(priority.readable() || priority.writable());
}

TEST(Readiness, Prints) {
  EXPECT_EQ(Printed(Readiness()), "nothing");
  EXPECT_EQ(Printed(Readiness(Readiness::kReadable | Readiness::kReadClosed)),
            "readable|read closed");
  EXPECT_EQ(Printed(Readiness(Readiness::kWritable | Readiness::kHangUp |
                              Readiness::kError | Readiness::kPriority)),
            "writable|priority|hang-up|error");
}

// Values, which any thread may have copies of.
TEST(Event, IsEventSendSync) {
  EXPECT_TRUE(std::is_trivially_copyable_v<Event>);
  EXPECT_TRUE(std::is_trivially_copyable_v<Readiness>);
  EXPECT_TRUE(std::is_trivially_copyable_v<Interest>);
}

TEST(Event, KeepsAllBitsOfItsToken) {
  constexpr Token kToken = std::numeric_limits<Token>::max() - 1;
  const Event event(kToken, Readiness(Readiness::kReadClosed));
  EXPECT_EQ(event.token(), kToken);
  EXPECT_EQ(event.readiness(), Readiness(Readiness::kReadClosed));
  EXPECT_EQ(Event().readiness(), Readiness());
}

}  // namespace
}  // namespace fio
