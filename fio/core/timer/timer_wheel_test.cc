#include "fio/core/timer/timer_wheel.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

MonotonicTime At(absl::Duration since_origin) {
  return MonotonicTime() + since_origin;
}

class TimerWheelTest : public ::testing::Test {
 protected:
  // Arms a timer that records `name` when it fires.
  TimerId Arm(absl::Duration deadline, int name) {
    return wheel_.Arm(At(deadline), [this, name] { fired_.push_back(name); });
  }

  std::vector<int> fired_;
  TimerWheel wheel_{MonotonicTime()};
};

TEST_F(TimerWheelTest, FiresOnceNeverEarly) {
  Arm(absl::Milliseconds(5), 1);
  EXPECT_EQ(wheel_.Advance(At(absl::Milliseconds(5) - absl::Nanoseconds(1))),
            0u);
  EXPECT_EQ(wheel_.Advance(At(absl::Milliseconds(5))), 1u);
  EXPECT_EQ(wheel_.Advance(At(absl::Hours(1))), 0u);
  EXPECT_THAT(fired_, ElementsAre(1));
}

TEST_F(TimerWheelTest, RoundsUpToTheTick) {
  Arm(absl::Milliseconds(1) + absl::Nanoseconds(1), 1);
  wheel_.Advance(At(absl::Milliseconds(2) - absl::Nanoseconds(1)));
  EXPECT_THAT(fired_, IsEmpty());
  EXPECT_EQ(wheel_.NextDeadline(), At(absl::Milliseconds(2)));
  wheel_.Advance(At(absl::Milliseconds(2)));
  EXPECT_THAT(fired_, ElementsAre(1));
}

TEST_F(TimerWheelTest, FiresInOrderOfDeadlineThenOfArming) {
  Arm(absl::Seconds(70), 6);
  Arm(absl::Milliseconds(300), 3);
  Arm(absl::Milliseconds(7), 1);
  wheel_.Advance(At(absl::Milliseconds(60)));
  Arm(absl::Milliseconds(300), 4);
  Arm(absl::Milliseconds(250), 2);
  wheel_.Advance(At(absl::Milliseconds(290)));
  Arm(absl::Milliseconds(300), 5);
  wheel_.Advance(At(absl::Hours(1)));
  EXPECT_THAT(fired_, ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST_F(TimerWheelTest, APastDeadlineFiresInTheNextAdvance) {
  wheel_.Advance(At(absl::Seconds(1)));
  Arm(absl::Milliseconds(1), 1);
  EXPECT_THAT(fired_, IsEmpty());
  EXPECT_EQ(wheel_.NextDeadline(), At(absl::Seconds(1)));
  EXPECT_EQ(wheel_.Advance(At(absl::Seconds(1))), 1u);
  EXPECT_THAT(fired_, ElementsAre(1));
}

TEST_F(TimerWheelTest, CancelIsFinalAndTellsWhetherItWas) {
  const TimerId id = Arm(absl::Milliseconds(5), 1);
  EXPECT_TRUE(wheel_.Cancel(id));
  EXPECT_FALSE(wheel_.Cancel(id));
  EXPECT_EQ(wheel_.armed(), 0u);
  EXPECT_EQ(wheel_.NextDeadline(), MonotonicTime::InfiniteFuture());
  wheel_.Advance(At(absl::Hours(1)));
  EXPECT_THAT(fired_, IsEmpty());
}

TEST_F(TimerWheelTest, AStaleIdDoesNotHitTheNextTimer) {
  const TimerId old_id = Arm(absl::Milliseconds(5), 1);
  wheel_.Cancel(old_id);
  Arm(absl::Milliseconds(5), 2);
  EXPECT_FALSE(wheel_.Cancel(old_id));
  EXPECT_FALSE(wheel_.Cancel(TimerId::kNone));
  wheel_.Advance(At(absl::Milliseconds(5)));
  EXPECT_THAT(fired_, ElementsAre(2));
}

TEST_F(TimerWheelTest, CancelInsideCallbackStopsTheOther) {
  TimerId other = TimerId::kNone;
  TimerId own = TimerId::kNone;
  own = wheel_.Arm(At(absl::Milliseconds(5)), [&] {
    EXPECT_TRUE(wheel_.Cancel(other));
    EXPECT_FALSE(wheel_.Cancel(own));
  });
  other = Arm(absl::Milliseconds(5), 2);
  EXPECT_EQ(wheel_.Advance(At(absl::Seconds(1))), 1u);
  EXPECT_THAT(fired_, IsEmpty());
}

TEST_F(TimerWheelTest, WhatACallbackArmsWaitsForTheNextAdvance) {
  TimerId armed = TimerId::kNone;
  const TimerId first = wheel_.Arm(At(absl::Milliseconds(5)), [&] {
    armed = Arm(absl::Milliseconds(6), 1);  // Due already in this Advance().
    fired_.push_back(0);
  });
  EXPECT_NE(first, TimerId::kNone);
  EXPECT_EQ(wheel_.Advance(At(absl::Seconds(1))), 1u);
  EXPECT_THAT(fired_, ElementsAre(0));
  EXPECT_EQ(wheel_.Advance(At(absl::Seconds(1))), 1u);
  EXPECT_THAT(fired_, ElementsAre(0, 1));
}

TEST_F(TimerWheelTest, CallbacksDieOnceRunCancelledOrWithTheWheel) {
  const auto owned = std::make_shared<int>();
  {
    TimerWheel wheel{MonotonicTime()};
    const auto arm = [&] {
      return wheel.Arm(At(absl::Milliseconds(1)), [owned] {});
    };
    const TimerId cancelled = arm();
    EXPECT_EQ(owned.use_count(), 2);
    wheel.Cancel(cancelled);
    EXPECT_EQ(owned.use_count(), 1);
    EXPECT_NE(arm(), TimerId::kNone);
    wheel.Advance(At(absl::Milliseconds(1)));
    EXPECT_EQ(owned.use_count(), 1);
    EXPECT_NE(arm(), TimerId::kNone);
    EXPECT_EQ(owned.use_count(), 2);
  }
  EXPECT_EQ(owned.use_count(), 1);
}

TEST_F(TimerWheelTest, ReachesFarDeadlines) {
  const absl::Duration month = absl::Hours(24 * 25);
  const absl::Duration decade = absl::Hours(24 * 3653);
  Arm(month, 1);
  Arm(decade, 2);
  wheel_.Advance(At(month - absl::Nanoseconds(1)));
  EXPECT_THAT(fired_, IsEmpty());
  wheel_.Advance(At(month));
  EXPECT_THAT(fired_, ElementsAre(1));
  wheel_.Advance(At(decade - absl::Nanoseconds(1)));
  EXPECT_THAT(fired_, ElementsAre(1));
  wheel_.Advance(At(decade));
  EXPECT_THAT(fired_, ElementsAre(1, 2));
}

TEST_F(TimerWheelTest, AnInfiniteDeadlineNeverComes) {
  const TimerId id =
      wheel_.Arm(MonotonicTime::InfiniteFuture(), [] { FAIL(); });
  wheel_.Advance(At(absl::Hours(24 * 365 * 200)));
  EXPECT_EQ(wheel_.armed(), 1u);
  EXPECT_TRUE(wheel_.Cancel(id));
}

TEST_F(TimerWheelTest, TimeThatRunsBackwardsStandsStill) {
  wheel_.Advance(At(absl::Seconds(2)));
  Arm(absl::Seconds(3), 1);
  EXPECT_EQ(wheel_.Advance(At(absl::Seconds(1))), 0u);
  EXPECT_EQ(wheel_.now(), At(absl::Seconds(2)));
  EXPECT_EQ(wheel_.Advance(At(absl::Seconds(3))), 1u);
}

// Every block boundary of the first three levels, from just before it.
TEST_F(TimerWheelTest, FiresOnTimeAcrossBlockBoundaries) {
  for (const int64_t boundary : {256, 512, 65'536, 131'072, 16'777'216}) {
    for (const int64_t start : {boundary - 2, boundary - 1, boundary}) {
      for (const int64_t delay : {1, 2, 255, 256, 257, 65'535, 65'536}) {
        TimerWheel wheel{MonotonicTime()};
        wheel.Advance(At(absl::Milliseconds(start)));
        const MonotonicTime deadline = At(absl::Milliseconds(start + delay));
        bool fired = false;
        ASSERT_NE(wheel.Arm(deadline, [&] { fired = true; }), TimerId::kNone);
        wheel.Advance(deadline - absl::Nanoseconds(1));
        ASSERT_FALSE(fired) << start << " + " << delay;
        ASSERT_LE(wheel.NextDeadline(), deadline);
        wheel.Advance(deadline);
        ASSERT_TRUE(fired) << start << " + " << delay;
      }
    }
  }
}

// An owner that sleeps until NextDeadline() meets every timer on time, and is
// not woken more often than promised.
TEST_F(TimerWheelTest, SleepingUntilNextDeadlineIsEnough) {
  for (const absl::Duration delay : {absl::Milliseconds(3), absl::Seconds(5),
                                     absl::Hours(3), absl::Hours(24 * 40)}) {
    TimerWheel wheel{MonotonicTime()};
    wheel.Advance(At(absl::Milliseconds(255)));
    const MonotonicTime deadline = wheel.now() + delay;
    bool fired = false;
    ASSERT_NE(wheel.Arm(deadline, [&] { fired = true; }), TimerId::kNone);
    int wakes = 0;
    while (!fired) {
      ASSERT_LE(wheel.NextDeadline(), deadline);
      wheel.Advance(wheel.NextDeadline());
      ASSERT_LE(++wakes, 5);
    }
    EXPECT_EQ(wheel.now(), deadline);
  }
}

// Against the obvious model: a map from deadline and order of arming.
TEST_F(TimerWheelTest, MatchesASortedList) {
  std::mt19937_64 random(20'240'722);
  const auto upto = [&](uint64_t n) { return random() % n; };
  using Key = std::pair<MonotonicTime, int>;
  std::map<Key, TimerId> model;
  std::vector<int> expected;
  MonotonicTime now;
  for (int name = 0; name < 100'000; ++name) {
    const uint64_t choice = upto(10);
    if (choice < 6) {
      // Spans of 1 ms to 12 days, in whole ticks, so that the order is total.
      const auto span = absl::Milliseconds(1 + (random() >> (34 + upto(30))));
      const TimerId id = Arm(now + span - MonotonicTime(), name);
      model[{now + span, name}] = id;
    } else if (choice < 8 && !model.empty()) {
      auto it = model.lower_bound({now + absl::Milliseconds(upto(100'000)), 0});
      if (it == model.end()) it = model.begin();
      ASSERT_TRUE(wheel_.Cancel(it->second));
      model.erase(it);
    } else {
      now = now + absl::Milliseconds(random() >> (40 + upto(24)));
      wheel_.Advance(now);
      while (!model.empty() && model.begin()->first.first <= now) {
        expected.push_back(model.begin()->first.second);
        model.erase(model.begin());
      }
      ASSERT_TRUE(fired_ == expected);
      fired_.clear();
      expected.clear();
      ASSERT_EQ(wheel_.armed(), model.size());
      if (!model.empty()) {
        ASSERT_LE(wheel_.NextDeadline(), model.begin()->first.first);
      }
    }
  }
}

}  // namespace
}  // namespace fio
