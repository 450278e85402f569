#include "fio/pubsub/internal/history.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/pubsub/history_test_util.h"
#include "fio/pubsub/internal/frame_header.h"
#include "fio/pubsub/internal/message_block.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/subscribe_options.h"
#include "fio/testing/allocation_counter.h"
#include "gtest/gtest.h"

namespace fio::pubsub_internal {
namespace {

using testing::AllocationCounter;

TEST(History, NumbersTheMessagesOfEachChannel) {
  Kept kept;
  kept.Keep("a", {});
  kept.Keep("b*", {}, Match::kRedis);
  EXPECT_EQ(kept.Append("a"), 1u);
  EXPECT_EQ(kept.Append("a"), 2u);
  EXPECT_EQ(kept.Append("b1"), 1u);
  EXPECT_EQ(kept.Append("a"), 3u);
  EXPECT_EQ(kept.Append("b2"), 1u);
  EXPECT_EQ(kept.Append("b1"), 2u);
  EXPECT_EQ(kept.history.stats().messages, 6u);
  EXPECT_EQ(kept.history.stats().channels, 3u);
}

TEST(History, TheNumberIsInTheFrame) {
  Kept kept;
  kept.Keep("a", {});
  Message message = MessageBlock::New(
      {.flags = kFrameIsJson, .filter = 0, .origin = 4}, "a", "body");
  kept.Append("a");
  EXPECT_EQ(kept.history.Append(message, kept.now), 2u);
  const FrameHeader header =
      *DecodeFrameHeader(message.frame().view().data(), {});
  EXPECT_EQ(header.sequence, 2u);
  EXPECT_EQ(header.flags, kFrameIsJson | kFrameHasSequence);
  EXPECT_EQ(header.origin, 4u);
  EXPECT_TRUE(message.is_json());
}

TEST(History, KeepsTheMessageItself) {
  Kept kept;
  kept.Keep("a", {});
  Message message = MessageBlock::New({}, "a", "body");
  kept.history.Append(message, kept.now);
  int calls = 0;
  kept.history.Replay("a", {}, kept.now, [&](const Message& replayed) {
    EXPECT_EQ(replayed, message);
    ++calls;
  });
  EXPECT_EQ(calls, 1);
}

TEST(History, LeavesOtherChannelsAlone) {
  Kept kept;
  EXPECT_FALSE(kept.history.Keeps("a"));
  EXPECT_EQ(kept.Append("a"), 0u);
  kept.Keep("a", {});
  kept.Keep("b.*", {}, Match::kNats);
  EXPECT_TRUE(kept.history.Keeps("a"));
  EXPECT_TRUE(kept.history.Keeps("b.x"));
  EXPECT_FALSE(kept.history.Keeps("b"));
  EXPECT_EQ(kept.Append("b"), 0u);
  EXPECT_EQ(kept.Replay("b"), Numbers());
  EXPECT_EQ(kept.end.last_sequence, 0u);
  EXPECT_EQ(kept.history.stats().channels, 0u);
  EXPECT_EQ(kept.history.stats().bytes, 0u);
}

TEST(History, RefusesAsItsRulesDo) {
  Kept kept;
  EXPECT_TRUE(absl::IsInvalidArgument(
      kept.history.Keep("a", Match::kExact, {.max_messages = 0})));
  EXPECT_FALSE(kept.history.Keeps("a"));
}

TEST(History, ReplaysAfterANumber) {
  Kept kept;
  kept.Keep("a", {});
  kept.AppendMany("a", 5);
  EXPECT_EQ(kept.Replay("a"), Range(1, 5));
  EXPECT_EQ(kept.end.last_sequence, 5u);
  EXPECT_EQ(kept.ReplayAfter("a", 0), Range(1, 5));
  EXPECT_EQ(kept.ReplayAfter("a", 3), Range(4, 5));
  EXPECT_EQ(kept.ReplayAfter("a", 5), Numbers());
  EXPECT_EQ(kept.end.last_sequence, 5u);
  EXPECT_EQ(kept.end.lost, 0u);
  EXPECT_FALSE(kept.end.begun_anew);
}

TEST(History, ReplaysTheLastOnesAndTheNewestOnes) {
  Kept kept;
  kept.Keep("a", {});
  for (kept.now = At(1); kept.now <= At(5);
       kept.now = kept.now + absl::Seconds(1)) {
    kept.Append("a");
  }
  kept.now = At(6);
  EXPECT_EQ(kept.Replay("a", {.last = 2}), Range(4, 5));
  EXPECT_EQ(kept.Replay("a", {.last = 5}), Range(1, 5));
  EXPECT_EQ(kept.Replay("a", {.last = 6}), Range(1, 5));
  EXPECT_EQ(kept.Replay("a", {.last = 0}), Numbers());
  EXPECT_EQ(kept.end.last_sequence, 5u);
  // Of a second and more ago; the fifth has come one second ago.
  EXPECT_EQ(kept.Replay("a", {.age = absl::Seconds(1)}), Range(5, 5));
  EXPECT_EQ(kept.Replay("a", {.age = absl::Milliseconds(999)}), Numbers());
  EXPECT_EQ(kept.Replay("a", {.age = absl::Seconds(3)}), Range(3, 5));
  EXPECT_EQ(kept.Replay("a", {.age = absl::Seconds(3), .last = 2}),
            Range(4, 5));
  EXPECT_EQ(kept.Replay("a", {.age = absl::Seconds(1), .last = 2}),
            Range(5, 5));
  EXPECT_EQ(kept.Replay("a", {.after_sequence = 4, .last = 3}), Range(5, 5));
  EXPECT_EQ(kept.Replay("a", {.after_sequence = 1, .last = 3}), Range(3, 5));
  EXPECT_EQ(kept.end.lost, 0u);
}

TEST(History, AChannelHasSoManyMessages) {
  Kept kept;
  kept.Keep("a", {.max_messages = 3});
  kept.Keep("b", {.max_messages = 1});
  kept.AppendMany("a", 3);
  kept.AppendMany("b", 4);
  EXPECT_EQ(kept.Replay("a"), Range(1, 3));
  EXPECT_EQ(kept.Replay("b"), Range(4, 4));
  kept.Append("a");
  EXPECT_EQ(kept.Replay("a"), Range(2, 4));
  EXPECT_EQ(MessageBlock::live(), 4);
}

TEST(History, AChannelHasSoManyBytes) {
  Kept kept;
  kept.Keep("abc", {.max_bytes = 30});
  kept.Append("abc", "1234567");  // Each is 10 bytes with the channel.
  kept.Append("abc", "1234567");
  kept.Append("abc", "1234567");
  EXPECT_EQ(kept.Replay("abc"), Range(1, 3));
  kept.Append("abc", "");
  EXPECT_EQ(kept.Replay("abc"), Range(2, 4));
  kept.Append("abc", std::string(27, 'b'));
  EXPECT_EQ(kept.Replay("abc"), Range(5, 5));
}

// What is kept is always a channel's last messages, so nothing is.
TEST(History, OfAMessageLargerThanItsChannelMayHaveNothingIsKept) {
  Kept kept;
  kept.Keep("abc", {.max_bytes = 30});
  kept.Append("abc");
  EXPECT_EQ(kept.Append("abc", std::string(28, 'b')), 2u);
  EXPECT_EQ(kept.ReplayAfter("abc", 0), Numbers());
  EXPECT_EQ(kept.end.lost, 2u);
  EXPECT_EQ(kept.end.last_sequence, 2u);
  EXPECT_EQ(kept.Append("abc"), 3u);
  EXPECT_EQ(kept.ReplayAfter("abc", 1), Range(3, 3));
  EXPECT_EQ(kept.end.lost, 1u);
}

TEST(History, DropsWhatIsTooOld) {
  Kept kept;
  kept.Keep("a*", {.max_age = absl::Seconds(10)}, Match::kRedis);
  kept.Append("a1");
  kept.now = At(5);
  kept.Append("a1");
  kept.Append("a2");
  kept.now = At(10);
  EXPECT_EQ(kept.Replay("a1"), Range(1, 2));
  // Another channel's message is enough.
  kept.now = At(11);
  kept.Append("a3");
  EXPECT_EQ(MessageBlock::live(), 3);
  EXPECT_EQ(kept.ReplayAfter("a1", 0), Range(2, 2));
  EXPECT_EQ(kept.end.lost, 1u);
  // And so is a replay.
  kept.now = At(16);
  EXPECT_EQ(kept.Replay("a1"), Numbers());
  EXPECT_EQ(kept.end.last_sequence, 2u);
  EXPECT_EQ(MessageBlock::live(), 1);
}

TEST(History, ExpiresWithoutMessages) {
  Kept kept;
  kept.Keep("a", {.max_age = absl::Seconds(10)});
  kept.Keep("b", {.max_age = absl::Seconds(20)});
  kept.Keep("c", {});
  kept.Append("b");
  kept.Append("a");
  kept.Append("c");
  kept.now = At(10);
  kept.history.Expire(At(10));
  EXPECT_EQ(kept.history.stats().messages, 3u);
  kept.history.Expire(At(11));
  EXPECT_EQ(kept.history.stats().messages, 2u);
  // 25 days later.
  kept.now = At(25 * 24 * 3600);
  kept.history.Expire(kept.now);
  EXPECT_EQ(kept.history.stats().messages, 1u);
  EXPECT_EQ(kept.Replay("c"), Range(1, 1));
  EXPECT_EQ(kept.Append("a"), 2u);
}

TEST(History, EvictedReportsGap) {
  Kept kept;
  kept.Keep("a", {.max_messages = 3});
  kept.AppendMany("a", 10);
  EXPECT_EQ(kept.ReplayAfter("a", 2), Range(8, 10));
  EXPECT_EQ(kept.end.lost, 5u);
  EXPECT_EQ(kept.ReplayAfter("a", 6), Range(8, 10));
  EXPECT_EQ(kept.end.lost, 1u);
  EXPECT_EQ(kept.ReplayAfter("a", 7), Range(8, 10));
  EXPECT_EQ(kept.end.lost, 0u);
  EXPECT_EQ(kept.ReplayAfter("a", 0), Range(8, 10));
  EXPECT_EQ(kept.end.lost, 7u);
  // Without a number nothing was asked for by number.
  EXPECT_EQ(kept.Replay("a"), Range(8, 10));
  EXPECT_EQ(kept.end.lost, 0u);
  // Nor are those beyond the last ones, or older.
  EXPECT_EQ(kept.Replay("a", {.after_sequence = 2, .last = 4}), Range(8, 10));
  EXPECT_EQ(kept.end.lost, 1u);
  EXPECT_EQ(kept.Replay("a", {.after_sequence = 2, .last = 3}), Range(8, 10));
  EXPECT_EQ(kept.end.lost, 0u);
  kept.now = At(5);
  EXPECT_EQ(kept.Replay("a", {.after_sequence = 2, .age = absl::Seconds(4)}),
            Numbers());
  EXPECT_EQ(kept.end.lost, 0u);
  EXPECT_EQ(kept.Replay("a", {.after_sequence = 2, .age = absl::Seconds(5)}),
            Range(8, 10));
  EXPECT_EQ(kept.end.lost, 5u);
}

TEST(History, ANumberThatNeverWasMeansThatItHasBegunAnew) {
  Kept kept;
  kept.Keep("a", {.max_messages = 3});
  EXPECT_EQ(kept.ReplayAfter("a", 8), Numbers());
  EXPECT_TRUE(kept.end.begun_anew);
  EXPECT_EQ(kept.end.last_sequence, 0u);
  kept.AppendMany("a", 5);
  EXPECT_EQ(kept.ReplayAfter("a", 6), Range(3, 5));
  EXPECT_TRUE(kept.end.begun_anew);
  EXPECT_EQ(kept.end.last_sequence, 5u);
  EXPECT_EQ(kept.end.lost, 2u);
  EXPECT_EQ(kept.ReplayAfter("a", 5), Numbers());
  EXPECT_FALSE(kept.end.begun_anew);
}

// As https://github.com/centrifugal/centrifuge-go/pull/159 has it: a history
// that has begun anew may have come further than the one before it.
TEST(History, ANumberOfAnotherEpochMeansThatItHasBegunAnew) {
  Kept kept;
  kept.Keep("a", {.max_messages = 3});
  kept.AppendMany("a", 5);
  const ReplayFrom other = {.after_sequence = 4, .epoch = Kept::kEpoch + 1};
  EXPECT_EQ(kept.Replay("a", other), Range(3, 5));
  EXPECT_TRUE(kept.end.begun_anew);
  EXPECT_EQ(kept.end.lost, 2u);
  EXPECT_EQ(kept.end.epoch, Kept::kEpoch);
  const ReplayFrom same = {.after_sequence = 4, .epoch = Kept::kEpoch};
  EXPECT_EQ(kept.Replay("a", same), Range(5, 5));
  EXPECT_FALSE(kept.end.begun_anew);
  EXPECT_EQ(kept.ReplayAfter("a", 4), Range(5, 5));
  EXPECT_FALSE(kept.end.begun_anew);
}

TEST(History, AppendsWithOneAllocation) {
  Kept kept;
  kept.Keep("*", {.max_messages = 10}, Match::kRedis);
  kept.Append("a");
  std::vector<Message> messages;
  for (int i = 0; i < 50; ++i) {
    messages.push_back(MessageBlock::New({}, "a", "body"));
  }
  const AllocationCounter counter;
  for (Message& message : messages) kept.history.Append(message, kept.now);
  EXPECT_EQ(counter.allocations(), 50);
  EXPECT_TRUE(kept.history.Keeps("a"));
  EXPECT_EQ(counter.allocations(), 50);
}

}  // namespace
}  // namespace fio::pubsub_internal
