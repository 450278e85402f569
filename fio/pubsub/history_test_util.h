// What the tests of History have in common.

#ifndef FIO_PUBSUB_HISTORY_TEST_UTIL_H_
#define FIO_PUBSUB_HISTORY_TEST_UTIL_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/pubsub/history_options.h"
#include "fio/pubsub/internal/history.h"
#include "fio/pubsub/internal/message_block.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/subscribe_options.h"
#include "gtest/gtest.h"

namespace fio::pubsub_internal {

using Numbers = std::vector<uint64_t>;

constexpr size_t kPlenty = size_t{1} << 30;

inline MonotonicTime At(int seconds) {
  return MonotonicTime() + absl::Seconds(seconds);
}

// A History at a time.
class Kept {
 public:
  static constexpr uint64_t kEpoch = 7;

  explicit Kept(size_t max_bytes = kPlenty) : history(max_bytes, kEpoch) {}

  void Keep(std::string_view channel, const HistoryOptions& options,
            Match match = Match::kExact) {
    const absl::Status status = history.Keep(channel, match, options);
    ASSERT_TRUE(status.ok()) << status;
  }

  uint64_t Append(std::string_view channel, std::string_view body = "body") {
    Message message = MessageBlock::New({}, channel, body);
    const uint64_t number = history.Append(message, now);
    EXPECT_EQ(message.sequence(), number);
    return number;
  }
  void AppendMany(std::string_view channel, int count) {
    for (; count > 0; --count) Append(channel);
  }

  // The numbers of what is replayed; the end is in `end`.
  Numbers Replay(std::string_view channel, const ReplayFrom& from = {}) {
    Numbers numbers;
    end = history.Replay(channel, from, now, [&](const Message& message) {
      EXPECT_EQ(message.channel(), channel);
      numbers.push_back(message.sequence());
    });
    return numbers;
  }
  Numbers ReplayAfter(std::string_view channel, uint64_t after) {
    return Replay(channel, {.after_sequence = after});
  }

  History history;
  MonotonicTime now = At(0);
  ReplayEnd end;
};

// Numbers from `first` to `last`.
inline Numbers Range(uint64_t first, uint64_t last) {
  Numbers numbers;
  for (; first <= last; ++first) numbers.push_back(first);
  return numbers;
}

}  // namespace fio::pubsub_internal

#endif  // FIO_PUBSUB_HISTORY_TEST_UTIL_H_
