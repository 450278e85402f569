#include "fio/core/timer/timer_wheel.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/move_only_function.h"
#include "fio/core/timer/timer.h"
#include "fio/testing/allocation_counter.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {

// Spares a test 2^32 timers.
class TimerWheelPeer {
 public:
  static std::unique_ptr<TimerWheel> LastGeneration() {
    return std::unique_ptr<TimerWheel>(
        new TimerWheel(MonotonicTime(), std::numeric_limits<uint32_t>::max()));
  }
};

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

TEST_F(TimerWheelTest, IsArmedIsWhatCancelWouldAnswer) {
  EXPECT_FALSE(wheel_.IsArmed(TimerId::kNone));
  const TimerId once = wheel_.Arm(wheel_.now() + absl::Milliseconds(1), [] {});
  EXPECT_TRUE(wheel_.IsArmed(once));
  wheel_.Advance(wheel_.now() + absl::Milliseconds(1));
  EXPECT_FALSE(wheel_.IsArmed(once));
  // A repeated one is armed inside its callback, but for the last time.
  TimerId id = TimerId::kNone;
  std::vector<bool> armed;
  id = wheel_.ArmEvery({.callback =
                            [&] {
                              armed.push_back(wheel_.IsArmed(id));
                              return TimerWheel::Next::kContinue;
                            },
                        .interval = absl::Milliseconds(1),
                        .repetitions = 2});
  for (int i = 0; i < 3; ++i) {
    wheel_.Advance(wheel_.now() + absl::Milliseconds(1));
  }
  EXPECT_EQ(armed, (std::vector<bool>{true, false}));
  EXPECT_FALSE(wheel_.IsArmed(id));
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

TEST_F(TimerWheelTest, NoNameComesUpAgain) {
  const std::unique_ptr<TimerWheel> wheel = TimerWheelPeer::LastGeneration();
  std::set<TimerId> ids = {TimerId::kNone};
  for (int i = 0; i < 1000; ++i) {
    const TimerId id = wheel->Arm(At(absl::Seconds(1)), [] {});
    EXPECT_TRUE(ids.insert(id).second);
    EXPECT_TRUE(wheel->Cancel(id));
    for (const TimerId stale : ids) ASSERT_FALSE(wheel->Cancel(stale));
  }
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

// Every block boundary of every level, from just before it and by spans that
// end before, on and behind the next one.
TEST_F(TimerWheelTest, FiresOnTimeAcrossBlockBoundaries) {
  std::vector<int64_t> delays = {1, 2};
  for (int bits = 8; bits <= 40; bits += 8) {
    for (const int64_t near : {-1, 0, 1}) {
      delays.push_back((int64_t{1} << bits) + near);
    }
  }
  for (int bits = 8; bits <= 40; bits += 8) {
    for (const int64_t multiple : {1, 2, 3}) {
      for (const int64_t before : {2, 1, 0}) {
        const int64_t start = (multiple << bits) - before;
        for (const int64_t delay : delays) {
          TimerWheel wheel{MonotonicTime()};
          wheel.Advance(At(absl::Milliseconds(start)));
          const MonotonicTime deadline = At(absl::Milliseconds(start + delay));
          bool fired = false;
          ASSERT_NE(wheel.Arm(deadline, [&] { fired = true; }), TimerId::kNone);
          wheel.Advance(deadline - absl::Nanoseconds(1));
          ASSERT_FALSE(fired) << start << " + " << delay;
          ASSERT_EQ(wheel.NextDeadline(), deadline);
          wheel.Advance(deadline);
          ASSERT_TRUE(fired) << start << " + " << delay;
        }
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

TEST_F(TimerWheelTest, RefusesNoCallback) {
  EXPECT_EQ(wheel_.Arm(At(absl::Seconds(1)), nullptr), TimerId::kNone);
  EXPECT_EQ(wheel_.armed(), 0u);
}

// --- Re-arming ---

TEST_F(TimerWheelTest, RearmMovesTheDeadlineEitherWay) {
  const TimerId later = Arm(absl::Milliseconds(5), 1);
  const TimerId earlier = Arm(absl::Hours(1), 2);
  EXPECT_TRUE(wheel_.Rearm(later, At(absl::Hours(2))));
  EXPECT_TRUE(wheel_.Rearm(earlier, At(absl::Milliseconds(3))));
  EXPECT_EQ(wheel_.armed(), 2u);
  EXPECT_EQ(wheel_.NextDeadline(), At(absl::Milliseconds(3)));
  wheel_.Advance(At(absl::Hours(1)));
  EXPECT_THAT(fired_, ElementsAre(2));
  EXPECT_FALSE(wheel_.Rearm(earlier, At(absl::Hours(3))));
  wheel_.Advance(At(absl::Hours(2)));
  EXPECT_THAT(fired_, ElementsAre(2, 1));
}

TEST_F(TimerWheelTest, ARearmedTimerComesAfterThoseOfItsTick) {
  const TimerId first = Arm(absl::Milliseconds(5), 1);
  Arm(absl::Milliseconds(5), 2);
  EXPECT_TRUE(wheel_.Rearm(first, At(absl::Milliseconds(5))));
  wheel_.Advance(At(absl::Milliseconds(5)));
  EXPECT_THAT(fired_, ElementsAre(2, 1));
}

TEST_F(TimerWheelTest, PostponeKeepsTheTimerFromItsOldDeadline) {
  for (const absl::Duration old_span :
       {absl::Milliseconds(5), absl::Seconds(3), absl::Hours(30)}) {
    for (const absl::Duration more :
         {absl::ZeroDuration(), absl::Milliseconds(1), absl::Milliseconds(300),
          absl::Hours(50)}) {
      fired_.clear();
      const MonotonicTime start = wheel_.now();
      const TimerId id = Arm(start + old_span - MonotonicTime(), 1);
      ASSERT_TRUE(wheel_.Postpone(id, start + old_span + more));
      wheel_.Advance(start + old_span + more - absl::Nanoseconds(1));
      ASSERT_THAT(fired_, IsEmpty());
      ASSERT_EQ(wheel_.NextDeadline(), start + old_span + more);
      wheel_.Advance(start + old_span + more);
      ASSERT_THAT(fired_, ElementsAre(1));
      ASSERT_FALSE(wheel_.Postpone(id, start + absl::Hours(100)));
    }
  }
}

TEST_F(TimerWheelTest, PostponeToAnEarlierDeadlineIsARearm) {
  const TimerId id = Arm(absl::Hours(1), 1);
  EXPECT_TRUE(wheel_.Postpone(id, At(absl::Milliseconds(5))));
  wheel_.Advance(At(absl::Milliseconds(5)));
  EXPECT_THAT(fired_, ElementsAre(1));
}

TEST_F(TimerWheelTest, PostponeSparesATimerThatIsDue) {
  wheel_.Advance(At(absl::Seconds(1)));
  const TimerId id = Arm(absl::Milliseconds(1), 1);
  EXPECT_TRUE(wheel_.Postpone(id, At(absl::Seconds(2))));
  EXPECT_EQ(wheel_.Advance(At(absl::Seconds(1))), 0u);
  EXPECT_EQ(wheel_.Advance(At(absl::Seconds(2))), 1u);
}

// --- Timers inside objects ---

class CountingTimer final : public Timer {
 public:
  explicit CountingTimer(std::function<void()> then = nullptr)
      : then_(std::move(then)) {}
  int runs() const { return runs_; }

 private:
  void OnTimer(TimerWheel&) override {
    ++runs_;
    if (then_ != nullptr) then_();
  }
  int runs_ = 0;
  std::function<void()> then_;
};

TEST_F(TimerWheelTest, AnIntrusiveTimerRunsOncePerArming) {
  CountingTimer timer;
  EXPECT_FALSE(timer.armed());
  wheel_.Arm(timer, At(absl::Milliseconds(5)));
  EXPECT_TRUE(timer.armed());
  wheel_.Arm(timer, At(absl::Milliseconds(7)));
  EXPECT_EQ(wheel_.armed(), 1u);
  wheel_.Advance(At(absl::Milliseconds(6)));
  EXPECT_EQ(timer.runs(), 0);
  wheel_.Advance(At(absl::Milliseconds(7)));
  EXPECT_EQ(timer.runs(), 1);
  EXPECT_FALSE(timer.armed());
  EXPECT_FALSE(wheel_.Cancel(timer));
  wheel_.Arm(timer, At(absl::Milliseconds(8)));
  EXPECT_TRUE(wheel_.Cancel(timer));
  wheel_.Advance(At(absl::Hours(1)));
  EXPECT_EQ(timer.runs(), 1);
}

TEST_F(TimerWheelTest, AnIntrusiveTimerMayArmItself) {
  CountingTimer timer([&] {
    if (timer.runs() < 3) wheel_.Arm(timer, wheel_.now() + absl::Seconds(1));
  });
  wheel_.Arm(timer, At(absl::Seconds(1)));
  for (int i = 1; i < 10; ++i) wheel_.Advance(At(absl::Seconds(i)));
  EXPECT_EQ(timer.runs(), 3);
}

TEST_F(TimerWheelTest, AnIntrusiveTimerIsCancelledByItsDestructor) {
  auto doomed = std::make_unique<CountingTimer>();
  CountingTimer killer([&] { doomed.reset(); });
  wheel_.Arm(killer, At(absl::Milliseconds(5)));
  wheel_.Arm(*doomed, At(absl::Milliseconds(5)));
  EXPECT_EQ(wheel_.Advance(At(absl::Milliseconds(5))), 1u);
  EXPECT_EQ(wheel_.armed(), 0u);
  std::unique_ptr<CountingTimer> suicidal;
  suicidal = std::make_unique<CountingTimer>([&] { suicidal.reset(); });
  wheel_.Arm(*suicidal, At(absl::Milliseconds(6)));
  EXPECT_EQ(wheel_.Advance(At(absl::Milliseconds(6))), 1u);
  EXPECT_EQ(suicidal, nullptr);
}

TEST_F(TimerWheelTest, AnIntrusiveTimerMayOutliveItsWheel) {
  CountingTimer timer;
  {
    TimerWheel wheel{MonotonicTime()};
    wheel.Arm(timer, At(absl::Seconds(1)));
  }
  EXPECT_FALSE(timer.armed());
  EXPECT_EQ(timer.runs(), 0);
}

// --- Timers that repeat ---

class RepeatedTimerTest : public TimerWheelTest {
 protected:
  // While what the callbacks use is still there.
  ~RepeatedTimerTest() override { wheel_.CancelAll(); }

  using Next = TimerWheel::Next;

  // Runs every 10 ms and notes when.
  TimerWheel::Repeated Every10Ms(int64_t repetitions) {
    return {.callback =
                [this] {
                  runs_.push_back(Milliseconds());
                  return Next::kContinue;
                },
            .interval = absl::Milliseconds(10),
            .repetitions = repetitions,
            .on_finish = [this] { finished_at_.push_back(Milliseconds()); }};
  }
  int64_t Milliseconds() const {
    return absl::ToInt64Milliseconds(wheel_.now() - MonotonicTime());
  }
  void AdvanceTo(int64_t ms) { wheel_.Advance(At(absl::Milliseconds(ms))); }

  std::vector<int64_t> runs_;
  std::vector<int64_t> finished_at_;
};

TEST_F(RepeatedTimerTest, RunsOnItsGridAsOftenAsAsked) {
  EXPECT_NE(wheel_.ArmEvery(Every10Ms(3)), TimerId::kNone);
  for (int64_t ms = 1; ms <= 50; ++ms) AdvanceTo(ms);
  EXPECT_THAT(runs_, ElementsAre(10, 20, 30));
  EXPECT_THAT(finished_at_, ElementsAre(30));
  EXPECT_EQ(wheel_.armed(), 0u);
}

TEST_F(RepeatedTimerTest, NoRepetitionsIsOneAndLessIsNoEnd) {
  EXPECT_NE(wheel_.ArmEvery(Every10Ms(0)), TimerId::kNone);
  AdvanceTo(10);
  AdvanceTo(20);
  EXPECT_THAT(runs_, ElementsAre(10));
  EXPECT_THAT(finished_at_, ElementsAre(10));
  runs_.clear();
  const TimerId endless = wheel_.ArmEvery(Every10Ms(-7));
  for (int64_t ms = 30; ms <= 10'000; ms += 10) AdvanceTo(ms);
  EXPECT_EQ(runs_.size(), 998u);
  EXPECT_TRUE(wheel_.Cancel(endless));
  EXPECT_THAT(finished_at_, ElementsAre(10, 10'000));
}

TEST_F(RepeatedTimerTest, StopsWhenItsCallbackSaysSo) {
  TimerWheel::Repeated repeated = Every10Ms(-1);
  repeated.callback = [this] {
    runs_.push_back(Milliseconds());
    return runs_.size() == 2 ? Next::kStop : Next::kContinue;
  };
  const TimerId id = wheel_.ArmEvery(std::move(repeated));
  for (int64_t ms = 1; ms <= 50; ++ms) AdvanceTo(ms);
  EXPECT_THAT(runs_, ElementsAre(10, 20));
  EXPECT_THAT(finished_at_, ElementsAre(20));
  EXPECT_FALSE(wheel_.Cancel(id));
}

TEST_F(RepeatedTimerTest, KeepsItsGridAndMakesUpForMissedRunsOnce) {
  const TimerId id = wheel_.ArmEvery(Every10Ms(-1));
  AdvanceTo(13);
  AdvanceTo(20);
  AdvanceTo(99);
  AdvanceTo(100);
  AdvanceTo(101);
  AdvanceTo(110);
  EXPECT_THAT(runs_, ElementsAre(13, 20, 99, 100, 110));
  EXPECT_TRUE(wheel_.Cancel(id));
}

TEST_F(RepeatedTimerTest, AnIntervalBelowTheTickIsATick) {
  TimerWheel::Repeated repeated = Every10Ms(-1);
  repeated.interval = absl::Microseconds(10);
  EXPECT_NE(wheel_.ArmEvery(std::move(repeated)), TimerId::kNone);
  for (int64_t ms = 1; ms <= 5; ++ms) AdvanceTo(ms);
  EXPECT_THAT(runs_, ElementsAre(1, 2, 3, 4, 5));
}

TEST_F(RepeatedTimerTest, ItsFirstRunMayBeElsewhere) {
  TimerWheel::Repeated repeated = Every10Ms(2);
  repeated.first = At(absl::Milliseconds(3));
  EXPECT_NE(wheel_.ArmEvery(std::move(repeated)), TimerId::kNone);
  for (int64_t ms = 1; ms <= 50; ++ms) AdvanceTo(ms);
  EXPECT_THAT(runs_, ElementsAre(3, 13));
}

TEST_F(RepeatedTimerTest, AnEndlessIntervalNeverComes) {
  TimerWheel::Repeated repeated = Every10Ms(-1);
  repeated.interval = absl::InfiniteDuration();
  const TimerId id = wheel_.ArmEvery(std::move(repeated));
  wheel_.Advance(At(absl::Hours(24 * 365 * 100)));
  EXPECT_THAT(runs_, IsEmpty());
  EXPECT_TRUE(wheel_.Cancel(id));
  EXPECT_EQ(finished_at_.size(), 1u);
}

TEST_F(RepeatedTimerTest, MayBeRearmedAndGoesOnFromThere) {
  const TimerId id = wheel_.ArmEvery(Every10Ms(-1));
  AdvanceTo(10);
  EXPECT_TRUE(wheel_.Rearm(id, At(absl::Milliseconds(15))));
  for (int64_t ms = 11; ms <= 40; ++ms) AdvanceTo(ms);
  EXPECT_TRUE(wheel_.Postpone(id, At(absl::Milliseconds(50))));
  for (int64_t ms = 41; ms <= 60; ++ms) AdvanceTo(ms);
  EXPECT_THAT(runs_, ElementsAre(10, 15, 25, 35, 50, 60));
}

TEST_F(RepeatedTimerTest, CancelFromItsOwnCallbackFinishesAfterIt) {
  TimerId id = TimerId::kNone;
  const auto owned = std::make_shared<int>();
  TimerWheel::Repeated repeated = Every10Ms(-1);
  repeated.callback = [&, owned] {
    EXPECT_TRUE(wheel_.Rearm(id, At(absl::Seconds(1))));
    EXPECT_TRUE(wheel_.Cancel(id));
    EXPECT_FALSE(wheel_.Cancel(id));
    EXPECT_FALSE(wheel_.Rearm(id, At(absl::Seconds(1))));
    EXPECT_THAT(finished_at_, IsEmpty());
    EXPECT_EQ(owned.use_count(), 2);  // Still there.
    return Next::kContinue;
  };
  id = wheel_.ArmEvery(std::move(repeated));
  AdvanceTo(10);
  EXPECT_THAT(finished_at_, ElementsAre(10));
  EXPECT_EQ(owned.use_count(), 1);
  EXPECT_EQ(wheel_.armed(), 0u);
  wheel_.Advance(At(absl::Hours(1)));
}

TEST_F(RepeatedTimerTest, ItsLastRunCannotBeCancelledOrMoved) {
  TimerId id = TimerId::kNone;
  TimerWheel::Repeated repeated = Every10Ms(1);
  repeated.callback = [&] {
    EXPECT_FALSE(wheel_.Cancel(id));
    EXPECT_FALSE(wheel_.Rearm(id, At(absl::Seconds(1))));
    return Next::kContinue;
  };
  id = wheel_.ArmEvery(std::move(repeated));
  AdvanceTo(10);
  EXPECT_THAT(finished_at_, ElementsAre(10));
}

TEST_F(RepeatedTimerTest, MayRearmItselfFromItsCallback) {
  TimerId id = TimerId::kNone;
  TimerWheel::Repeated repeated = Every10Ms(3);
  repeated.callback = [&] {
    runs_.push_back(Milliseconds());
    wheel_.Rearm(id, wheel_.now() + absl::Milliseconds(2 * runs_.size()));
    return Next::kContinue;
  };
  id = wheel_.ArmEvery(std::move(repeated));
  for (int64_t ms = 1; ms <= 50; ++ms) AdvanceTo(ms);
  EXPECT_THAT(runs_, ElementsAre(10, 12, 16));
  EXPECT_THAT(finished_at_, ElementsAre(16));
}

TEST_F(RepeatedTimerTest, StopAfterARearmStops) {
  TimerId id = TimerId::kNone;
  TimerWheel::Repeated repeated = Every10Ms(-1);
  repeated.callback = [&] {
    runs_.push_back(Milliseconds());
    EXPECT_TRUE(wheel_.Rearm(id, At(absl::Milliseconds(15))));
    return Next::kStop;
  };
  id = wheel_.ArmEvery(std::move(repeated));
  AdvanceTo(10);
  EXPECT_EQ(wheel_.armed(), 0u);
  AdvanceTo(100);
  EXPECT_THAT(runs_, ElementsAre(10));
  EXPECT_THAT(finished_at_, ElementsAre(10));
}

// --- The contract of facil.io's timers ---

TEST(Timer, CountsReturnFinish) {
  TimerWheel wheel{MonotonicTime()};
  // Repetitions, and the run in which the callback stops it: runs.
  struct Case {
    int64_t repetitions;
    int stop_in;
    int runs;
  };
  for (const auto& [repetitions, stop_in, expected] :
       {Case{3, 0, 3}, Case{0, 0, 1}, Case{1, 0, 1}, Case{-1, 7, 7},
        Case{-100, 2, 2}, Case{5, 2, 2}, Case{1'000, 0, 100}}) {
    int runs = 0;
    int finished = 0;
    const MonotonicTime start = wheel.now();
    const TimerId id = wheel.ArmEvery({
        .callback =
            [&runs, stop_in = stop_in] {
              return ++runs == stop_in ? TimerWheel::Next::kStop
                                       : TimerWheel::Next::kContinue;
            },
        .interval = absl::Milliseconds(1),
        .repetitions = repetitions,
        .on_finish = [&finished] { ++finished; },
    });
    for (int ms = 1; ms <= 100; ++ms) {
      EXPECT_EQ(runs, std::min(ms - 1, expected));
      wheel.Advance(start + absl::Milliseconds(ms));
    }
    EXPECT_EQ(runs, expected);
    EXPECT_EQ(finished, repetitions == 1'000 ? 0 : 1);
    EXPECT_EQ(wheel.Cancel(id), repetitions == 1'000);
    EXPECT_EQ(finished, 1);
  }
}

// A 100 ms timer whose owner comes 3 s late runs once, and then on its grid.
TEST(Timer, NoBurst) {
  TimerWheel wheel{MonotonicTime()};
  int runs = 0;
  const TimerId id = wheel.ArmEvery({.callback =
                                         [&] {
                                           ++runs;
                                           return TimerWheel::Next::kContinue;
                                         },
                                     .interval = absl::Milliseconds(100)});
  EXPECT_NE(id, TimerId::kNone);
  wheel.Advance(At(absl::Milliseconds(3'050)));
  EXPECT_EQ(runs, 1);
  for (int ms = 3'050; ms <= 4'050; ++ms) {
    wheel.Advance(At(absl::Milliseconds(ms)));
  }
  EXPECT_EQ(runs, 11);
}

TEST(Timer, BadArgsFinish) {
  TimerWheel wheel{MonotonicTime()};
  int finished = 0;
  const auto arm = [&](MoveOnlyFunction<TimerWheel::Next()> callback,
                       absl::Duration interval) {
    return wheel.ArmEvery({.callback = std::move(callback),
                           .interval = interval,
                           .on_finish = [&finished] { ++finished; }});
  };
  const auto go_on = [] { return TimerWheel::Next::kContinue; };
  EXPECT_EQ(arm(nullptr, absl::Seconds(1)), TimerId::kNone);
  EXPECT_EQ(finished, 1);
  EXPECT_EQ(arm(go_on, absl::ZeroDuration()), TimerId::kNone);
  EXPECT_EQ(finished, 2);
  EXPECT_EQ(arm(go_on, -absl::Seconds(1)), TimerId::kNone);
  EXPECT_EQ(finished, 3);
  EXPECT_EQ(wheel.ArmEvery({.callback = nullptr, .interval = absl::Seconds(1)}),
            TimerId::kNone);
  EXPECT_EQ(wheel.armed(), 0u);
}

TEST(Timer, StopClears) {
  int finished = 0;
  CountingTimer intrusive;
  const auto owned = std::make_shared<int>();
  {
    TimerWheel wheel{MonotonicTime()};
    const auto arm_all = [&] {
      for (const absl::Duration span :
           {absl::ZeroDuration(), absl::Milliseconds(5), absl::Hours(100)}) {
        ASSERT_NE(wheel.Arm(At(span), [owned] { FAIL(); }), TimerId::kNone);
        ASSERT_NE(wheel.ArmEvery({.callback =
                                      [owned] {
                                        ADD_FAILURE();
                                        return TimerWheel::Next::kContinue;
                                      },
                                  .interval = span + absl::Milliseconds(1),
                                  .on_finish = [&finished] { ++finished; }}),
                  TimerId::kNone);
      }
      wheel.Arm(intrusive, At(absl::Seconds(1)));
    };
    arm_all();
    EXPECT_EQ(wheel.armed(), 7u);
    wheel.CancelAll();
    EXPECT_EQ(finished, 3);
    EXPECT_EQ(wheel.armed(), 0u);
    EXPECT_EQ(wheel.NextDeadline(), MonotonicTime::InfiniteFuture());
    EXPECT_EQ(owned.use_count(), 1);
    EXPECT_FALSE(intrusive.armed());
    wheel.Advance(At(absl::Hours(200)));  // A second start sees none.
    arm_all();
  }
  EXPECT_EQ(finished, 6);
  EXPECT_EQ(owned.use_count(), 1);
  EXPECT_EQ(intrusive.runs(), 0);
}

TEST_F(RepeatedTimerTest, CancelAllFromACallbackLetsItReturnFirst) {
  TimerWheel::Repeated repeated = Every10Ms(-1);
  repeated.callback = [&] {
    runs_.push_back(Milliseconds());
    wheel_.CancelAll();
    EXPECT_EQ(finished_at_.size(), 1u);  // The other one.
    return Next::kContinue;
  };
  EXPECT_NE(wheel_.ArmEvery(std::move(repeated)), TimerId::kNone);
  EXPECT_NE(wheel_.ArmEvery(Every10Ms(-1)), TimerId::kNone);
  AdvanceTo(100);
  EXPECT_THAT(runs_, ElementsAre(100));
  EXPECT_EQ(finished_at_.size(), 2u);
}

TEST(TimerWheel, WhatIsArmedWhenTheWheelEndsIsRefused) {
  std::vector<TimerId> ids;
  int finished = 0;
  {
    TimerWheel wheel{MonotonicTime()};
    EXPECT_NE(
        wheel.ArmEvery(
            {.callback = [] { return TimerWheel::Next::kContinue; },
             .interval = absl::Seconds(1),
             .on_finish =
                 [&] {
                   ids.push_back(wheel.Arm(wheel.now(), [] {}));
                   ids.push_back(wheel.ArmEvery(
                       {.callback = [] { return TimerWheel::Next::kStop; },
                        .interval = absl::Seconds(1),
                        .on_finish = [&] { ++finished; }}));
                 }}),
        TimerId::kNone);
  }
  EXPECT_THAT(ids, ElementsAre(TimerId::kNone, TimerId::kNone));
  EXPECT_EQ(finished, 1);
}

TEST_F(TimerWheelTest, ManyTimersFireInOrder) {
  constexpr int kTimers = 100'000;
  for (int i = 0; i < kTimers; ++i) Arm(absl::Milliseconds(i), i);
  EXPECT_EQ(wheel_.armed(), size_t{kTimers});
  EXPECT_EQ(wheel_.Advance(At(absl::Milliseconds(kTimers))), size_t{kTimers});
  for (int i = 0; i < kTimers; ++i) ASSERT_EQ(fired_[i], i);
}

// --- The limit ---

TEST_F(TimerWheelTest, ALimitLeavesTheRestInOrder) {
  std::vector<int> expected;
  // Far enough to be sorted more finely first.
  for (int i = 0; i < 1000; ++i) {
    Arm(absl::Seconds(100) + absl::Milliseconds(i / 10), i);
    expected.push_back(i);
  }
  const MonotonicTime end = At(absl::Seconds(200));
  size_t ran = 0;
  int calls = 0;
  while (ran < 1000) {
    const size_t in_this_call = wheel_.Advance(end, 7);
    ASSERT_LE(in_this_call, 7u);
    ran += in_this_call;
    if (ran < 1000) {
      ASSERT_EQ(wheel_.NextDeadline(), end);
    }
    ++calls;
  }
  // Each was run once and moved down at most twice on the way.
  EXPECT_LE(calls, 3 * 1000 / 7 + 1);
  EXPECT_EQ(fired_, expected);
  EXPECT_EQ(wheel_.NextDeadline(), MonotonicTime::InfiniteFuture());
}

TEST_F(TimerWheelTest, WhatIsArmedWhileALimitLeftSomeKeepsItsPlace) {
  for (int i = 0; i < 10; ++i) Arm(absl::Milliseconds(65'536 + 100), i);
  wheel_.Advance(At(absl::Milliseconds(65'536)), 3);  // Three moved down.
  Arm(absl::Milliseconds(65'536 + 100), 10);
  EXPECT_EQ(wheel_.NextDeadline(), At(absl::Milliseconds(65'536)));
  wheel_.Advance(At(absl::Milliseconds(65'536 + 100)));
  EXPECT_THAT(fired_, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10));
}

TEST_F(TimerWheelTest, WhatIsArmedLateWhileALimitLeftSomeRunsInItsPlace) {
  for (int i = 0; i < 5; ++i) Arm(absl::Milliseconds(10), i);
  for (int i = 10; i < 15; ++i) Arm(absl::Milliseconds(20), i);
  wheel_.Advance(At(absl::Milliseconds(30)), 3);
  Arm(absl::Milliseconds(15), 5);
  Arm(absl::Milliseconds(20), 15);
  Arm(absl::Milliseconds(25), 20);
  wheel_.Advance(At(absl::Milliseconds(30)));
  EXPECT_THAT(fired_,
              ElementsAre(0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15, 20));
}

// --- Memory ---

TEST_F(TimerWheelTest, AllocatesNothingOnceItHasGrown) {
  std::array<TimerId, 1000> ids;
  CountingTimer intrusive;
  std::array<int64_t, 8> capture = {};  // 64 bytes.
  const auto round = [&] {
    for (size_t i = 0; i < ids.size(); ++i) {
      const auto deadline = wheel_.now() + absl::Milliseconds(i * i);
      ids[i] =
          i % 2 == 0
              ? wheel_.Arm(deadline, [capture] { (void)capture; })
              : wheel_.ArmEvery(
                    {.callback = [] { return TimerWheel::Next::kContinue; },
                     .interval = absl::Milliseconds(i),
                     .on_finish = [capture] { (void)capture; }});
    }
    for (size_t i = 0; i < ids.size(); i += 3) wheel_.Rearm(ids[i], At({}));
    wheel_.Arm(intrusive, wheel_.now());
    for (int i = 0; i < 100; ++i) {
      wheel_.Advance(wheel_.now() + absl::Milliseconds(10));
    }
    for (const TimerId id : ids) wheel_.Cancel(id);
  };
  round();
  const testing::AllocationCounter counter;
  round();
  EXPECT_EQ(counter.allocations(), 0);
}

// --- Against the obvious model: a map from tick and order of arming ---

// Drives a wheel at random. With `postpone`, timers of one tick may come in any
// order; without, in that of arming.
class RandomTimers {
 public:
  RandomTimers(uint64_t seed, MonotonicTime start, bool postpone)
      : random_(seed), start_(start), postpone_(postpone), wheel_(start) {
    for (int i = 0; i < kIntrusive; ++i) intrusive_.emplace_back(*this, i);
  }

  // At most so many operations, for the wheel's time is not endless. Returns
  // how many there were.
  int Run(int operations) {
    int i = 0;
    for (; i < operations && now_ - start_ < absl::Hours(24 * 365 * 250) &&
           !::testing::Test::HasFatalFailure();
         ++i) {
      const uint64_t choice = Upto(100);
      if (choice < 35) {
        ArmOne();
      } else if (choice < 50) {
        CancelOne();
      } else if (choice < 75) {
        MoveOne();
      } else {
        Advance();
      }
    }
    return i;
  }
  int64_t fired() const { return fired_count_; }

 private:
  static constexpr int kIntrusive = 50;
  struct Armed {
    MonotonicTime deadline;
    uint64_t tick;
    uint64_t order;
    TimerId id;
  };
  class Intrusive final : public Timer {
   public:
    Intrusive(RandomTimers& owner, int name) : owner_(owner), name_(name) {}

   private:
    void OnTimer(TimerWheel&) override { owner_.fired_.push_back(name_); }
    RandomTimers& owner_;
    const int name_;
  };

  uint64_t Upto(uint64_t n) { return random_() % n; }

  // From nothing over milliseconds, 25 days (2^31 ms) and 50 days (2^32 ms) to
  // 10 years, not in whole ticks.
  absl::Duration Span() {
    switch (Upto(10)) {
      case 0:
        return absl::ZeroDuration();
      case 1:
        return absl::Hours(24 * 25) + absl::Nanoseconds(Upto(5'000'000'000));
      case 2:
        return absl::Milliseconds((int64_t{1} << (8 * (1 + Upto(4)))) - 2) +
               absl::Microseconds(Upto(5'000));
      case 3:
        return absl::Hours(Upto(24 * 3653));
      default:
        return absl::Nanoseconds(random_() >> (20 + Upto(34)));
    }
  }

  absl::Duration Step() {
    return Upto(1000) == 0 ? Span()
                           : absl::Nanoseconds(random_() >> (24 + Upto(30)));
  }

  uint64_t TickOf(MonotonicTime deadline) const {
    const int64_t span =
        std::max<int64_t>(absl::ToInt64Nanoseconds(deadline - start_), 0);
    return static_cast<uint64_t>((span + 999'999) / 1'000'000);
  }

  // What is due when it is armed runs first in the next Advance().
  void Note(int name, MonotonicTime deadline, TimerId id) {
    const uint64_t tick = std::max(TickOf(deadline), current_tick_);
    Armed& armed = armed_[name];
    armed = {deadline, tick, ++order_, id};
    queue_[{tick, armed.order}] = name;
  }
  void Forget(int name) {
    const auto it = armed_.find(name);
    queue_.erase({it->second.tick, it->second.order});
    armed_.erase(it);
  }
  // Some timer that is armed.
  int Any() {
    auto it = queue_.lower_bound({current_tick_ + (random_() >> Upto(64)), 0});
    if (it == queue_.end()) it = queue_.begin();
    return it->second;
  }

  void ArmOne() {
    const MonotonicTime deadline = now_ + Span();
    if (Upto(4) == 0) {
      const int name = static_cast<int>(Upto(kIntrusive));
      if (armed_.contains(name)) Forget(name);
      wheel_.Arm(intrusive_[name], deadline);
      Note(name, deadline, TimerId::kNone);
    } else {
      const int name = ++last_name_;
      const TimerId id =
          wheel_.Arm(deadline, [this, name] { fired_.push_back(name); });
      Note(name, deadline, id);
    }
  }

  void CancelOne() {
    if (queue_.empty()) return;
    const int name = Any();
    if (std::find(fired_.begin(), fired_.end(), name) != fired_.end()) return;
    const TimerId id = armed_[name].id;
    if (name < kIntrusive) {
      ASSERT_TRUE(wheel_.Cancel(intrusive_[name]));
      ASSERT_FALSE(wheel_.Cancel(intrusive_[name]));
    } else {
      ASSERT_TRUE(wheel_.Cancel(id));
      ASSERT_FALSE(wheel_.Cancel(id));
    }
    Forget(name);
  }

  void MoveOne() {
    if (queue_.empty()) return;
    const int name = Any();
    const TimerId id = armed_[name].id;
    const MonotonicTime deadline = now_ + Span();
    const bool postpone = postpone_ && Upto(2) == 0;
    if (name < kIntrusive) {
      postpone ? wheel_.Postpone(intrusive_[name], deadline)
               : wheel_.Arm(intrusive_[name], deadline);
    } else {
      ASSERT_TRUE(postpone ? wheel_.Postpone(id, deadline)
                           : wheel_.Rearm(id, deadline));
    }
    Forget(name);
    Note(name, deadline, id);
  }

  void Advance() {
    ASSERT_EQ(wheel_.armed(), armed_.size());
    const MonotonicTime next = wheel_.NextDeadline();
    if (!queue_.empty()) {
      ASSERT_LE(next, start_ + absl::Milliseconds(queue_.begin()->first.first));
    }
    // Just as far as it asks for, or some span.
    now_ =
        Upto(2) == 0 && !queue_.empty() ? std::max(now_, next) : now_ + Step();
    current_tick_ = static_cast<uint64_t>(
        absl::ToInt64Nanoseconds(now_ - start_) / 1'000'000);
    if (Upto(2) == 0) {
      wheel_.Advance(now_);
    } else {
      do {
        wheel_.Advance(now_, 1 + Upto(20));
        if (Upto(10) == 0) CancelOne();
      } while (wheel_.NextDeadline() <= now_);
    }
    Check();
  }

  // What fired is what was due: no more, no less and in order.
  void Check() {
    fired_count_ += static_cast<int64_t>(fired_.size());
    uint64_t last_tick = 0;
    for (const int name : fired_) {
      const auto it = armed_.find(name);
      ASSERT_NE(it, armed_.end()) << "cancelled, or fired twice";
      ASSERT_LE(it->second.deadline, now_) << "early";
      ASSERT_GE(it->second.tick, last_tick) << "out of order";
      last_tick = it->second.tick;
      if (!postpone_) {
        ASSERT_EQ(queue_.begin()->second, name) << "not as armed";
      }
      Forget(name);
    }
    fired_.clear();
    if (!queue_.empty()) {
      ASSERT_GT(queue_.begin()->first.first, current_tick_) << "late";
    }
  }

  std::mt19937_64 random_;
  const MonotonicTime start_;
  const bool postpone_;
  MonotonicTime now_ = start_;
  uint64_t current_tick_ = 0;
  uint64_t order_ = 0;
  int last_name_ = kIntrusive;
  std::map<int, Armed> armed_;
  std::map<std::pair<uint64_t, uint64_t>, int> queue_;
  std::vector<int> fired_;
  int64_t fired_count_ = 0;
  std::deque<Intrusive> intrusive_;
  TimerWheel wheel_;
};

// Some lives of wheels that begin at `start`.
void MatchModel(int operations, MonotonicTime start, bool postpone) {
  int64_t fired = 0;
  int done = 0;
  for (uint64_t seed = 1; done < operations; ++seed) {
    SCOPED_TRACE(seed);
    RandomTimers timers(seed, start, postpone);
    done += timers.Run(operations - done);
    fired += timers.fired();
    if (::testing::Test::HasFatalFailure()) return;
  }
  EXPECT_GT(fired, operations / 20);
}

TEST(TimerWheel, MatchesASortedListInOrder) {
  MatchModel(1'000'000, MonotonicTime(), /*postpone=*/false);
}

TEST(TimerWheel, MatchesASortedListWithPostponedTimers) {
  MatchModel(300'000, MonotonicTime(), /*postpone=*/true);
}

// Most of all times lie behind zero.
TEST(TimerWheel, MatchesASortedListFromTheBeginningOfTime) {
  MatchModel(
      100'000,
      MonotonicTime::FromNanoseconds(std::numeric_limits<int64_t>::min() + 1),
      /*postpone=*/false);
}

// Runs once, at once, and then on its grid, however long ago the deadline was.
TEST(TimerWheel, ARepeatedTimerIsMovedToThePast) {
  constexpr int64_t kEarliest = std::numeric_limits<int64_t>::min();
  const MonotonicTime start = MonotonicTime() + absl::Seconds(1000);
  const absl::Duration interval = absl::Seconds(10);
  for (const bool postpone : {false, true}) {
    for (const MonotonicTime past :
         {MonotonicTime::InfinitePast(),
          MonotonicTime::FromNanoseconds(kEarliest + 1), start - interval}) {
      SCOPED_TRACE(past.nanoseconds());
      TimerWheel wheel(start);
      int runs = 0;
      const TimerId id =
          wheel.ArmEvery({.callback = [&] { ++runs; }, .interval = interval});
      EXPECT_TRUE(postpone ? wheel.Postpone(id, past) : wheel.Rearm(id, past));
      for (int i = 0; i < 5; ++i) wheel.Advance(start);
      EXPECT_EQ(runs, 1);
      const MonotonicTime next = wheel.NextDeadline();
      EXPECT_GT(next, start);
      EXPECT_LE(next, start + interval);
      wheel.Advance(start + interval);
      EXPECT_EQ(runs, 2);
      wheel.Advance(start + 2 * interval);
      EXPECT_EQ(runs, 3);
    }
  }
}

TEST(TimerWheel, AGridOfNanosecondsThroughTheEarliestInstantHasANextOne) {
  const MonotonicTime start = MonotonicTime() + absl::Seconds(1000);
  TimerWheel wheel(start);
  int runs = 0;
  const TimerId id = wheel.ArmEvery(
      {.callback = [&] { ++runs; }, .interval = absl::Nanoseconds(1)});
  EXPECT_TRUE(wheel.Rearm(id, MonotonicTime::FromNanoseconds(
                                  std::numeric_limits<int64_t>::min() + 1)));
  wheel.Advance(start);
  EXPECT_EQ(runs, 1);
  EXPECT_GT(wheel.NextDeadline(), start);
}

// A callback that returns nothing goes on, whatever it is made of.
TEST(TimerWheel, ARepeatedCallbackMayReturnNothing) {
  TimerWheel wheel{MonotonicTime()};
  static int runs;
  runs = 0;
  const absl::Duration interval = absl::Milliseconds(1);
  EXPECT_NE(wheel.ArmEvery({.callback = [] { ++runs; }, .interval = interval}),
            TimerId::kNone);
  EXPECT_NE(wheel.ArmEvery({.callback = std::function<void()>([] { ++runs; }),
                            .interval = interval}),
            TimerId::kNone);
  EXPECT_NE(wheel.ArmEvery(
                {.callback = [n = std::make_unique<int>(1)] { runs += *n; },
                 .interval = interval}),
            TimerId::kNone);
  for (int i = 1; i <= 3; ++i) {
    wheel.Advance(wheel.now() + interval);
    EXPECT_EQ(runs, 3 * i);
  }
  // Null ones of either kind are refused.
  void (*const no_function)() = nullptr;
  EXPECT_EQ(wheel.ArmEvery({.callback = no_function, .interval = interval}),
            TimerId::kNone);
  EXPECT_EQ(wheel.ArmEvery(
                {.callback = std::function<void()>(), .interval = interval}),
            TimerId::kNone);
  EXPECT_EQ(wheel.ArmEvery({.callback = std::function<TimerWheel::Next()>(),
                            .interval = interval}),
            TimerId::kNone);
  EXPECT_EQ(wheel.ArmEvery({.callback = nullptr, .interval = interval}),
            TimerId::kNone);
}

}  // namespace
}  // namespace fio
