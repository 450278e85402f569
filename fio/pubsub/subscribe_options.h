// What a subscription wants, and what happens if it is slow.

#ifndef FIO_PUBSUB_SUBSCRIBE_OPTIONS_H_
#define FIO_PUBSUB_SUBSCRIBE_OPTIONS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/time/time.h"
#include "fio/base/move_only_function.h"

namespace fio {

// How SubscribeOptions::channel is compared with the channel of a message.
enum class Match : uint8_t {
  kExact,
  kRedis,  // As PSUBSCRIBE of Redis: *, ?, [a-z], \. See pattern.h.
  kNats,   // As subjects of NATS: tokens between dots, * and >.
};

// What happens to messages for a subscription that has as many waiting as it
// may.
enum class SlowPolicy : uint8_t {
  kDropOldest,
  kDropNewest,
  // The subscription ends; if a connection owns it, that is closed.
  kClose,
};

// A subscription is slow while it waits: after Delivery::Defer() and Park(),
// during a replay, and while the connection that it belongs to has more queued
// than `max_bytes`. What a replay brings does not count: history limits that.
struct SlowOptions {
  SlowPolicy policy = SlowPolicy::kDropOldest;
  size_t max_messages = 1024;
  size_t max_bytes = size_t{1} << 20;

  friend bool operator==(const SlowOptions&, const SlowOptions&) = default;
};

// Which messages of the past a subscription gets before those to come. They are
// those of one channel that is kept in history (Broker::KeepHistory()).
struct ReplayFrom {
  // Those after this number; see Message::sequence(). If the history has begun
  // anew since then: all.
  std::optional<uint64_t> after_sequence = std::nullopt;
  // The ReplayEnd::epoch that the number is from. With 0, which is none, it is
  // noticed that the history has begun anew only as long as it has not reached
  // `after_sequence` again; later messages are missing without a sign.
  uint64_t epoch = 0;
  // Those of that long.
  absl::Duration age = absl::InfiniteDuration();
  // So many of the last ones.
  size_t last = SIZE_MAX;
};

// How a replay has ended.
struct ReplayEnd {
  // The number of the channel's last message; those to come have higher ones. 0
  // if there was none.
  uint64_t last_sequence = 0;
  // How many of what was asked for by number were no longer there. Too many
  // rather than too few: numbers that Message::sequence() has left out count.
  uint64_t lost = 0;
  // The history has begun anew since `after_sequence`.
  bool begun_anew = false;
  // Names the history: keep it with the numbers of the messages, for
  // ReplayFrom. Never 0; another one after a restart of the root.
  uint64_t epoch = 0;
};

struct SubscribeOptions {
  // A name, or a pattern. 65,535 bytes at most; may have any. Subscribe()
  // copies it, and `group`.
  std::string_view channel;
  Match match = Match::kExact;

  // As PublishOptions::filter.
  int32_t filter = 0;

  // Not empty: of all subscriptions of the cluster with the same channel,
  // `match`, filter and group, one gets each message. A worker that ends costs
  // what was on its way to it. Can't be combined with `replay`.
  std::string_view group = {};

  SlowOptions slow = {};
  // Called when SlowPolicy::kClose ends it, before on_unsubscribe, where
  // `on_message` is called.
  MoveOnlyFunction<void()> on_slow = nullptr;

  // Needs Match::kExact and a filter of 0.
  std::optional<ReplayFrom> replay = std::nullopt;
  // Called once, when the last message of the past was delivered, before the
  // next one; also if there is none, or the channel is not kept.
  MoveOnlyFunction<void(const ReplayEnd&)> on_replay_end = nullptr;

  // Called exactly once: when the subscription has ended and its callback has
  // run for the last time, on the thread where that runs; inside of Subscribe()
  // if that fails.
  MoveOnlyFunction<void()> on_unsubscribe = nullptr;

  // For PublishOptions::from: the serial() of the connection whose subscription
  // it is. 0: of none.
  uint64_t owner = 0;
};

}  // namespace fio

#endif  // FIO_PUBSUB_SUBSCRIBE_OPTIONS_H_
