#include "fio/core/loop/idle_wheel.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <random>
#include <vector>

#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

constexpr MonotonicTime kNever = MonotonicTime::InfiniteFuture();
constexpr size_t kAll = std::numeric_limits<size_t>::max();
constexpr absl::Duration kTick = absl::Milliseconds(1);
constexpr absl::Duration kInstant = absl::Nanoseconds(1);

// Things that know when they are due, and are asked.
class Things final : public IdleWheel::Owner {
 public:
  explicit Things(size_t count, MonotonicTime now = MonotonicTime())
      : start_(now),
        now_(now),
        links_(count),
        due_(count, kNever),
        wheel_(now, *this) {}

  // As activity does: the wheel is told only of what is sooner.
  void SetDue(uint32_t thing, MonotonicTime due) {
    const bool later = due_[thing] != kNever && due >= due_[thing];
    due_[thing] = due;
    if (later && links_[thing].linked()) return;
    if (links_[thing].linked()) wheel_.Remove(thing);
    wheel_.Add(thing, due);
  }
  void AdvanceTo(MonotonicTime now, size_t limit = kAll) {
    now_ = now;
    limit_ = limit;
    checks_ = 0;
    wheel_.Advance(now, limit);
    EXPECT_LE(checks_, limit);
  }
  void AdvanceBy(absl::Duration span, size_t limit = kAll) {
    AdvanceTo(now_ + span, limit);
  }

  MonotonicTime now() const { return now_; }
  // When a deadline counts as reached: the next whole tick.
  MonotonicTime RoundedUp(MonotonicTime due) const {
    return start_ + absl::Ceil(due - start_, kTick);
  }
  MonotonicTime due(uint32_t thing) const { return due_[thing]; }
  IdleWheel::Link& link(uint32_t thing) override { return links_[thing]; }
  IdleWheel& wheel() { return wheel_; }
  std::vector<uint32_t>& told() { return told_; }
  size_t checks() const { return checks_; }
  std::function<void(uint32_t)> on_due;

 private:
  MonotonicTime Check(uint32_t thing) override {
    ++checks_;
    EXPECT_FALSE(links_[thing].linked());
    if (due_[thing] > now_) return due_[thing];
    told_.push_back(thing);
    due_[thing] = kNever;
    if (on_due) on_due(thing);
    return due_[thing];
  }

  const MonotonicTime start_;
  MonotonicTime now_;
  std::vector<IdleWheel::Link> links_;
  std::vector<MonotonicTime> due_;
  IdleWheel wheel_;
  std::vector<uint32_t> told_;
  size_t limit_ = kAll;
  size_t checks_ = 0;
};

TEST(IdleWheel, IsNeverEarly) {
  Things things(4);
  const MonotonicTime start = things.now();
  things.SetDue(0, start + absl::Milliseconds(5));
  things.SetDue(1, start + absl::Milliseconds(5) + kInstant);
  things.SetDue(2, start);
  things.SetDue(3, start - absl::Hours(1));
  EXPECT_EQ(things.wheel().NextDeadline(), start + kTick);
  things.AdvanceTo(start);
  EXPECT_THAT(things.told(), ElementsAre()) << "not before the next tick";
  things.AdvanceTo(start + kTick);
  EXPECT_THAT(things.told(), UnorderedElementsAre(2u, 3u));
  things.AdvanceTo(start + absl::Milliseconds(5) - kInstant);
  EXPECT_EQ(things.told().size(), 2u);
  things.AdvanceTo(start + absl::Milliseconds(5));
  EXPECT_THAT(things.told(), UnorderedElementsAre(2u, 3u, 0u));
  things.AdvanceTo(start + absl::Milliseconds(6));
  EXPECT_THAT(things.told(), UnorderedElementsAre(2u, 3u, 0u, 1u));
  EXPECT_EQ(things.wheel().NextDeadline(), kNever);
}

TEST(IdleWheel, NeverMeansNotInTheWheel) {
  Things things(1);
  things.wheel().Add(0, kNever);
  EXPECT_FALSE(things.link(0).linked());
  EXPECT_EQ(things.wheel().NextDeadline(), kNever);
}

TEST(IdleWheel, RemovesFromAnywhereInASlot) {
  for (uint32_t removed = 0; removed < 3; ++removed) {
    Things things(3);
    for (uint32_t i = 0; i < 3; ++i) {
      things.SetDue(i, things.now() + absl::Milliseconds(9));
    }
    things.wheel().Remove(removed);
    EXPECT_FALSE(things.link(removed).linked());
    things.AdvanceBy(absl::Milliseconds(9));
    EXPECT_EQ(things.told().size(), 2u);
    EXPECT_EQ(std::count(things.told().begin(), things.told().end(), removed),
              0);
  }
}

// The price of activity is a look when the old deadline has come.
TEST(IdleWheel, WhatHasMovedOnIsPutWhereItBelongs) {
  Things things(1);
  things.SetDue(0, things.now() + absl::Seconds(5));
  for (int i = 0; i < 1'000; ++i) {
    things.AdvanceBy(absl::Seconds(4));
    things.SetDue(0, things.now() + absl::Seconds(5));
    EXPECT_LE(things.wheel().NextDeadline(), things.now() + absl::Seconds(5));
  }
  EXPECT_THAT(things.told(), ElementsAre());
  things.AdvanceBy(absl::Seconds(5) - kInstant);
  EXPECT_THAT(things.told(), ElementsAre());
  things.AdvanceBy(kInstant);
  EXPECT_THAT(things.told(), ElementsAre(0u));
}

TEST(IdleWheel, ALimitLeavesTheRestForLaterCalls) {
  constexpr uint32_t kThings = 1'000;
  Things things(kThings);
  for (uint32_t i = 0; i < kThings; ++i) {
    things.SetDue(i, things.now() + absl::Milliseconds(1 + i % 5));
  }
  things.AdvanceBy(absl::Milliseconds(3), 100);
  size_t last = things.told().size();
  EXPECT_EQ(last, 100u);
  for (int calls = 0; things.told().size() < kThings; ++calls) {
    ASSERT_LT(calls, 20);
    EXPECT_LE(things.wheel().NextDeadline(), things.now()) << "it is due";
    things.AdvanceBy(absl::Milliseconds(1), 100);
    ASSERT_GT(things.told().size(), last);
    last = things.told().size();
  }
  std::sort(things.told().begin(), things.told().end());
  for (uint32_t i = 0; i < kThings; ++i) ASSERT_EQ(things.told()[i], i);
  EXPECT_EQ(things.wheel().NextDeadline(), kNever);
}

TEST(IdleWheel, ALimitOfNothingKeepsEverything) {
  Things things(2);
  things.SetDue(0, things.now() + kTick);
  things.SetDue(1, things.now() + absl::Hours(1));
  things.AdvanceBy(absl::Hours(2), 0);
  EXPECT_THAT(things.told(), ElementsAre());
  things.AdvanceBy(absl::ZeroDuration());
  EXPECT_THAT(things.told(), ElementsAre(0u, 1u));
}

TEST(IdleWheel, ACheckMayAddAndRemoveAnyThing) {
  Things things(6);
  // All in one slot; whoever comes first takes out its neighbours, adds itself
  // again, and one that was in none.
  for (uint32_t i = 0; i < 5; ++i) things.SetDue(i, things.now() + kTick);
  things.on_due = [&](uint32_t thing) {
    for (uint32_t i = 0; i < 6; ++i) {
      if (i != thing && things.link(i).linked()) things.wheel().Remove(i);
    }
    things.SetDue(thing, things.now() + kTick);
    things.SetDue(thing == 5 ? 0 : 5, things.now() + 2 * kTick);
    things.on_due = nullptr;
  };
  things.AdvanceBy(kTick);
  ASSERT_EQ(things.told().size(), 1u);
  const uint32_t first = things.told()[0];
  things.AdvanceBy(kTick);
  EXPECT_THAT(things.told(), ElementsAre(first, first));
  things.AdvanceBy(kTick);
  EXPECT_THAT(things.told(), ElementsAre(first, first, 5u));
  EXPECT_EQ(things.wheel().NextDeadline(), kNever);
}

// The clock need not begin at 0, nor the loop end within 2^32 ms.
TEST(IdleWheel, RunsForYears) {
  for (const int64_t origin :
       {int64_t{0}, int64_t{-1}, int64_t{123'456'789'987'654'321},
        std::numeric_limits<int64_t>::min() / 2}) {
    Things things(2, MonotonicTime::FromNanoseconds(origin));
    for (int year = 0; year < 40; ++year) {
      const MonotonicTime due =
          things.now() + absl::Hours(24 * 365) + absl::Nanoseconds(year);
      things.SetDue(0, due);
      things.SetDue(1, things.now() + kTick);
      things.AdvanceTo(due - kInstant);
      EXPECT_EQ(things.told().size(), size_t(2 * year + 1));
      things.AdvanceTo(things.RoundedUp(due));
      EXPECT_EQ(things.told().size(), size_t(2 * year + 2));
    }
  }
}

// Against a model: a list of deadlines.
TEST(IdleWheel, AsAList) {
  constexpr uint32_t kThings = 200;
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    const auto draw = [&](uint64_t below) { return random() % below; };
    // From 1 ns to 10 years, each magnitude as likely.
    const auto span = [&] {
      const uint64_t ten_years = uint64_t{10} * 365 * 24 * 3600 * 1'000'000'000;
      const uint64_t ns = draw((uint64_t{1} << draw(59)) + 1);
      return absl::Nanoseconds(static_cast<int64_t>(std::min(ns, ten_years)));
    };
    Things things(kThings, MonotonicTime::FromNanoseconds(
                               static_cast<int64_t>(draw(1'000'000'000'000))));
    std::vector<int> due_count(kThings), told_count(kThings);
    bool limited = false;
    things.on_due = [&](uint32_t thing) {
      ++told_count[thing];
      // Others come and go, as when a callback closes its neighbour.
      if (draw(4) != 0) return;
      const auto other = static_cast<uint32_t>(draw(kThings));
      if (other != thing && things.link(other).linked() && draw(2) == 0) {
        things.wheel().Remove(other);
        --due_count[other];
      } else if (!things.link(other).linked() &&
                 due_count[other] == told_count[other]) {
        ++due_count[other];
        things.SetDue(other, things.now() + span());
      }
    };
    for (int step = 0; step < 2'000; ++step) {
      const auto thing = static_cast<uint32_t>(draw(kThings));
      switch (draw(8)) {
        case 0:
        case 1:
        case 2:
          if (!things.link(thing).linked()) {
            ASSERT_EQ(due_count[thing], told_count[thing]);
            ++due_count[thing];
          }
          things.SetDue(thing, things.now() + span());
          break;
        case 3:
          if (things.link(thing).linked()) {
            things.wheel().Remove(thing);
            --due_count[thing];
          }
          break;
        default: {
          limited = draw(3) == 0;
          // Now and then to the very deadline.
          const MonotonicTime next = things.wheel().NextDeadline();
          MonotonicTime to = things.now() + span() / 100;
          if (draw(3) == 0 && next != kNever) to = std::max(to, next);
          things.AdvanceTo(to, limited ? draw(10) : kAll);
        }
      }
      MonotonicTime first = kNever;
      for (uint32_t i = 0; i < kThings; ++i) {
        if (things.link(i).linked()) first = std::min(first, things.due(i));
      }
      // It never sleeps past a deadline.
      if (first != kNever) {
        ASSERT_LE(things.wheel().NextDeadline(),
                  std::max(things.RoundedUp(first),
                           things.RoundedUp(things.now() + kTick)));
      }
    }
    for (int calls = 0; things.wheel().NextDeadline() != kNever; ++calls) {
      ASSERT_LT(calls, 100'000);
      things.AdvanceTo(std::max(things.now(), things.wheel().NextDeadline()),
                       7);
    }
    EXPECT_EQ(told_count, due_count) << "each once";
  }
}

// With no limit each is told by the first call at or after its tick.
TEST(IdleWheel, NoneIsLateWithoutALimit) {
  std::mt19937_64 random(3);
  Things things(1'000);
  std::vector<MonotonicTime> due(1'000);
  things.on_due = [&](uint32_t thing) {
    EXPECT_GE(things.now(), due[thing]);
    due[thing] = kNever;
  };
  for (int step = 0; step < 20'000; ++step) {
    const auto thing = static_cast<uint32_t>(random() % 1'000);
    due[thing] = things.now() +
                 absl::Nanoseconds(random() % (uint64_t{1} << random() % 50));
    things.SetDue(thing, due[thing]);
    if (step % 3 != 0) continue;
    const MonotonicTime before = things.now();
    things.AdvanceBy(
        absl::Nanoseconds(random() % (uint64_t{1} << random() % 36)));
    for (uint32_t i = 0; i < 1'000; ++i) {
      if (due[i] == kNever || due[i] == MonotonicTime()) continue;
      // A deadline within the tick that has begun comes with the next one.
      ASSERT_GT(std::max(things.RoundedUp(due[i]),
                         things.RoundedUp(before + kInstant)),
                things.now())
          << i;
    }
  }
}

}  // namespace
}  // namespace fio
