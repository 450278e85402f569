// What a History takes, and what it says of what it no longer has.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/pubsub/history_test_util.h"
#include "fio/pubsub/internal/frame_header.h"
#include "fio/pubsub/internal/history.h"
#include "fio/pubsub/internal/message_block.h"
#include "fio/pubsub/subscribe_options.h"
#include "gtest/gtest.h"

namespace fio::pubsub_internal {
namespace {

// What one message with a body of `size` takes in a channel that is there.
size_t BytesOfOne(std::string_view channel, size_t size) {
  Kept kept;
  kept.Keep(channel, {});
  kept.Append(channel, std::string(size, 'b'));
  const size_t one = kept.history.stats().bytes;
  kept.Append(channel, std::string(size, 'b'));
  return kept.history.stats().bytes - one;
}

TEST(History, CountsMemory) {
  EXPECT_EQ(BytesOfOne("a", 1001), BytesOfOne("a", 1000) + 1);
  EXPECT_EQ(BytesOfOne("ab", 1000), BytesOfOne("a", 1000) + 1);
  // So that a million empty ones do not count for nothing.
  EXPECT_GT(BytesOfOne("", 0), sizeof(MessageBlock) + FrameHeader::kSize);
  Kept kept;
  kept.Keep("*", {.max_messages = 1}, Match::kRedis);
  kept.Append("a");
  const size_t one = kept.history.stats().bytes;
  kept.AppendMany("a", 10);
  EXPECT_EQ(kept.history.stats().bytes, one);
  kept.Append("b");
  EXPECT_EQ(kept.history.stats().bytes, 2 * one);
}

TEST(History, TogetherTheOldestOfAnyChannelGo) {
  const size_t one = BytesOfOne("a", 1000);
  Kept kept(10 * one);  // For nine of them, and the channels.
  kept.Keep("*", {}, Match::kRedis);
  const std::string body(1000, 'b');
  kept.Append("a", body);
  kept.Append("b", body);
  kept.Append("a", body);
  for (int i = 0; i < 6; ++i) kept.Append("c", body);
  EXPECT_EQ(kept.Replay("a"), Range(1, 2));
  kept.Append("c", body);
  EXPECT_EQ(kept.Replay("a"), Range(2, 2));
  EXPECT_EQ(kept.Replay("b"), Range(1, 1));
  kept.Append("a", body);
  EXPECT_EQ(kept.Replay("a"), Range(2, 3));
  EXPECT_EQ(kept.ReplayAfter("b", 0), Numbers());
  kept.Append("a", body);
  EXPECT_EQ(kept.Replay("a"), Range(3, 4));
  EXPECT_EQ(kept.ReplayAfter("a", 1), Range(3, 4));
  EXPECT_EQ(kept.end.lost, 1u);
  EXPECT_EQ(kept.Replay("c"), Range(1, 7));
}

TEST(History, AMessageLargerThanTheWholeCostsItsOwnChannel) {
  Kept kept(10'000);
  kept.Keep("*", {}, Match::kRedis);
  kept.AppendMany("a", 3);
  kept.AppendMany("b", 3);
  EXPECT_EQ(kept.Append("b", std::string(10'000, 'b')), 4u);
  EXPECT_EQ(kept.Replay("a"), Range(1, 3));
  EXPECT_EQ(kept.ReplayAfter("b", 0), Numbers());
  EXPECT_EQ(kept.end.lost, 4u);
  EXPECT_EQ(kept.Append("b"), 5u);
}

// Channels that come and go, one message each, until all others are forgotten.
void ForgetOthers(Kept& kept) {
  for (int i = 0; i < 100; ++i) {
    kept.now = kept.now + absl::Seconds(11);
    kept.Append(absl::StrCat("other", i));
  }
  EXPECT_LT(kept.history.stats().channels, 20u);
}

TEST(History, ANumberIsNeverGivenTwice) {
  Kept kept(20'000);
  kept.Keep("*", {.max_age = absl::Seconds(10)}, Match::kRedis);
  kept.AppendMany("a", 1000);
  kept.AppendMany("b", 3);
  ForgetOthers(kept);
  // Behind those of all that are forgotten, the others included.
  const uint64_t next = kept.Append("b");
  EXPECT_GT(next, 1000u);
  EXPECT_LE(next, 1101u);
  EXPECT_EQ(kept.Append("a"), next);
  EXPECT_EQ(kept.Append("new"), next);
  EXPECT_EQ(kept.Append("a"), next + 1);
  // One that was not forgotten goes on.
  kept.now = kept.now + absl::Seconds(11);
  kept.history.Expire(kept.now);
  EXPECT_EQ(kept.Append("a"), next + 2);
}

TEST(History, AForgottenChannelReportsGap) {
  Kept kept(0);
  kept.Keep("*", {}, Match::kRedis);
  EXPECT_EQ(kept.Append("a"), 1u);
  kept.AppendMany("a", 9);
  EXPECT_EQ(kept.history.stats().channels, 0u);
  EXPECT_EQ(kept.ReplayAfter("a", 4), Numbers());
  EXPECT_EQ(kept.end.lost, 6u);
  EXPECT_EQ(kept.end.last_sequence, 10u);
  EXPECT_FALSE(kept.end.begun_anew);
  EXPECT_EQ(kept.Replay("a", {.after_sequence = 4, .last = 2}), Numbers());
  EXPECT_EQ(kept.end.lost, 2u);
  EXPECT_EQ(kept.ReplayAfter("a", 10), Numbers());
  EXPECT_EQ(kept.end.lost, 0u);
  EXPECT_EQ(kept.end.last_sequence, 10u);
  // Of a channel that may never have been there is nothing to report.
  EXPECT_EQ(kept.ReplayAfter("a", 0), Numbers());
  EXPECT_EQ(kept.end.lost, 0u);
  EXPECT_EQ(kept.end.last_sequence, 0u);
  EXPECT_EQ(kept.ReplayAfter("a", 11), Numbers());
  EXPECT_TRUE(kept.end.begun_anew);
  EXPECT_EQ(kept.end.last_sequence, 0u);
  kept.now = At(5);
  EXPECT_EQ(kept.Replay("a", {.after_sequence = 4, .age = absl::Seconds(5)}),
            Numbers());
  EXPECT_EQ(kept.end.lost, 6u);
  // Too old for what is asked for, all of them.
  EXPECT_EQ(kept.Replay("a", {.after_sequence = 4, .age = absl::Seconds(4)}),
            Numbers());
  EXPECT_EQ(kept.end.lost, 0u);
}

TEST(History, AChannelThatIsNewAgainReportsGap) {
  Kept kept(20'000);
  kept.Keep("*", {.max_messages = 2, .max_age = absl::Seconds(10)},
            Match::kRedis);
  kept.AppendMany("a", 7);
  ForgetOthers(kept);
  const uint64_t next = kept.Append("a");
  EXPECT_EQ(kept.ReplayAfter("a", 4), Range(next, next));
  EXPECT_EQ(kept.end.lost, next - 5);
  EXPECT_EQ(kept.ReplayAfter("a", next - 1), Range(next, next));
  EXPECT_EQ(kept.end.lost, 0u);
  EXPECT_EQ(kept.ReplayAfter("a", 0), Range(next, next));
  EXPECT_EQ(kept.end.lost, 0u);
  // All that was forgotten has come more than ten seconds ago.
  EXPECT_EQ(kept.Replay("a", {.after_sequence = 4, .age = absl::Seconds(10)}),
            Range(next, next));
  EXPECT_EQ(kept.end.lost, 0u);
  kept.AppendMany("a", 2);
  EXPECT_EQ(kept.ReplayAfter("a", 0), Range(next + 1, next + 2));
  EXPECT_EQ(kept.end.lost, 1u);
}

TEST(History, MemoryIsBoundedWhateverChannelsComeAndGo) {
  constexpr size_t kMax = 1 << 20;
  Kept kept(kMax);
  kept.Keep("*", {.max_messages = 5, .max_age = absl::Seconds(100)},
            Match::kRedis);
  size_t most = 0;
  for (int i = 0; i < 50'000; ++i) {
    if (i % 10 == 0) kept.now = kept.now + absl::Seconds(1);
    kept.Append(absl::StrCat("channel", i, std::string(i % 300, 'c')));
    const History::Stats stats = kept.history.stats();
    ASSERT_LE(stats.bytes, kMax);
    ASSERT_LE(stats.messages, stats.bytes / sizeof(MessageBlock));
    most = std::max(most, stats.bytes);
  }
  EXPECT_GT(most, kMax / 4);
  kept.now = kept.now + absl::Seconds(101);
  kept.history.Expire(kept.now);
  EXPECT_EQ(MessageBlock::live(), 0);
  EXPECT_EQ(kept.history.stats().messages, 0u);
  EXPECT_LE(kept.history.stats().bytes, kMax / 16);
}

// Random calls, and beside the History a list of all numbers that it has given.
class RandomCalls {
 public:
  explicit RandomCalls(uint32_t seed) : random_(seed) {
    kept_.Keep("1*", {.max_messages = 4}, Match::kRedis);
    kept_.Keep("*", {.max_bytes = 100, .max_age = absl::Seconds(50)},
               Match::kRedis);
  }

  void Step() {
    kept_.now = kept_.now + absl::Seconds(Below(3));
    const std::string channel = absl::StrCat(Below(30));
    const int what = Below(10);
    if (what < 7) {
      Append(channel);
    } else if (what < 9) {
      Replay(channel);
    } else {
      kept_.history.Expire(kept_.now);
    }
    EXPECT_LE(kept_.history.stats().bytes, kMaxBytes);
    EXPECT_EQ(static_cast<size_t>(MessageBlock::live()),
              kept_.history.stats().messages);
  }

  int gaps() const { return gaps_; }
  int full() const { return full_; }

 private:
  static constexpr size_t kMaxBytes = 10'000;

  int Below(int end) { return static_cast<int>(random_() % end); }

  void Append(const std::string& channel) {
    Numbers& given = given_[channel];
    const uint64_t number = kept_.Append(channel, std::string(Below(40), 'b'));
    EXPECT_GT(number, given.empty() ? 0 : given.back());
    given.push_back(number);
  }

  void Replay(const std::string& channel) {
    const Numbers& given = given_[channel];
    if (given.empty()) return;
    const uint64_t after = given[Below(static_cast<int>(given.size()))];
    const Numbers numbers = kept_.ReplayAfter(channel, after);
    const Numbers all(std::upper_bound(given.begin(), given.end(), after),
                      given.end());
    ASSERT_LE(numbers.size(), all.size());
    EXPECT_TRUE(std::equal(numbers.rbegin(), numbers.rend(), all.rbegin()));
    EXPECT_FALSE(kept_.end.begun_anew);
    EXPECT_GE(kept_.end.last_sequence, given.back());
    EXPECT_GE(kept_.end.lost, all.size() - numbers.size());
    EXPECT_TRUE(kept_.end.lost > 0 || numbers == all);
    ++(kept_.end.lost > 0 ? gaps_ : full_);
  }

  Kept kept_{kMaxBytes};
  std::map<std::string, Numbers> given_;
  std::mt19937 random_;
  int gaps_ = 0;
  int full_ = 0;
};

TEST(History, NeverHidesAGap) {
  int gaps = 0;
  int full = 0;
  for (uint32_t seed = 0; seed < 10; ++seed) {
    RandomCalls calls(seed);
    for (int i = 0; i < 5000 && !::testing::Test::HasFailure(); ++i) {
      calls.Step();
    }
    ASSERT_FALSE(::testing::Test::HasFailure()) << "seed " << seed;
    gaps += calls.gaps();
    full += calls.full();
  }
  EXPECT_GT(gaps, 1000);
  EXPECT_GT(full, 100);
}

TEST(History, FreesAllInTheEnd) {
  {
    Kept kept;
    kept.Keep("*", {}, Match::kRedis);
    for (int i = 0; i < 100; ++i) kept.AppendMany(absl::StrCat("c", i), 3);
    EXPECT_EQ(MessageBlock::live(), 300);
  }
  EXPECT_EQ(MessageBlock::live(), 0);
}

}  // namespace
}  // namespace fio::pubsub_internal
