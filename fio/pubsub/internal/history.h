// A History keeps the last messages of some channels, for subscribers that come
// late or come back. It gives each message of such a channel a number, from 1
// on; what is kept of a channel is always its last messages, without a gap.
//
// A channel's numbers never go back as long as the History exists, although it
// keeps nothing for ever, not even a channel's name: when it forgets a channel
// it remembers the highest number of all forgotten ones, and a channel that is
// new, or new again, begins behind that.
//
// It reads no clock. Appending costs O(1) amortized and one small allocation; a
// replay costs what it replays.
//
// Thread safety: none; the caller has a lock, for const methods as well.

#ifndef FIO_PUBSUB_INTERNAL_HISTORY_H_
#define FIO_PUBSUB_INTERNAL_HISTORY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "fio/base/list_link.h"
#include "fio/base/monotonic_time.h"
#include "fio/pubsub/history_options.h"
#include "fio/pubsub/internal/history_rules.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/subscribe_options.h"

namespace fio::pubsub_internal {

class History {
 public:
  // What of the past there is at a time.
  struct Stats {
    size_t messages = 0;
    size_t channels = 0;  // Those without messages, too, until forgotten.
    size_t bytes = 0;     // Of memory; see History().
  };

  // `max_bytes` of memory is what messages and channels may take together, with
  // all that belongs to them but metadata. Beyond it the oldest messages go, of
  // whatever channel. Channels whose messages have all gone may take a 16th of
  // it, so that their numbers go on; beyond that the one that was emptied first
  // is forgotten. `epoch` is what ReplayEnd says; not 0.
  History(size_t max_bytes, uint64_t epoch);
  History(const History&) = delete;
  History& operator=(const History&) = delete;
  ~History();

  // Keeps the messages of the channels that match, by the first such call. A
  // channel that has messages stays with its call. Errors: kInvalidArgument,
  // see HistoryRules::Add().
  absl::Status Keep(std::string_view channel, Match match,
                    const HistoryOptions& options);

  // Whether messages of that channel are kept. One comparison if nothing is.
  bool Keeps(std::string_view channel) const;

  // Gives `message` the next number of its channel, which it returns, and keeps
  // it, if there is room for it. 0, and nothing is done, if the channel is not
  // kept. REQUIRES: nobody else has the message yet; `now`, here and below, is
  // not before that of an earlier call.
  uint64_t Append(Message& message, MonotonicTime now);

  // Drops what is too old. Append() and Replay() do that for what is kept by
  // the same call of Keep(), so this is for when they are rare. Costs as much
  // as it drops, and a look at each call of Keep().
  void Expire(MonotonicTime now);

  // Calls `on_message`, which must not call the History, with what is there of
  // what `from` asks for, in order, and returns the end:
  // - `lost` is how many numbers were asked for, by `after_sequence` and the
  //   limits that come with it, that are no longer there. After a channel was
  //   forgotten it can be too high, as it counts numbers that went to others;
  //   it is never too low. With an `after_sequence` of 0 only numbers of the
  //   channel that is known now count.
  // - `last_sequence` of a channel that is not known is `after_sequence` or
  //   more if forgotten channels may have had that number, otherwise 0.
  ReplayEnd Replay(std::string_view channel, const ReplayFrom& from,
                   MonotonicTime now,
                   absl::FunctionRef<void(const Message&)> on_message);

  Stats stats() const;

 private:
  struct Item;
  struct Channel;
  // The numbers that a channel has had.
  struct Numbers {
    uint64_t begin = 1;  // The first.
    uint64_t last = 0;   // `begin` - 1: none yet.
    uint64_t kept = 0;   // So many of the last ones are there.
    // When the newest of those came that are not.
    MonotonicTime dropped = MonotonicTime::InfinitePast();
  };

  ReplayEnd Compare(const Numbers& numbers, const ReplayFrom& from,
                    MonotonicTime oldest, uint64_t& first) const;
  static void ForEach(const Channel& channel, uint64_t first,
                      MonotonicTime oldest,
                      absl::FunctionRef<void(const Message&)> on_message);

  Channel* Find(std::string_view name) const;
  Channel* FindOrAdd(std::string_view name);
  void Push(Channel& channel, const Message& message, MonotonicTime now);
  // Drops a channel's oldest message. The channel stays.
  void Drop(Item& item);
  void DropOld(HistoryRule& rule, MonotonicTime now);
  void Forget(Channel& channel);
  // Forgets and drops what is too much for the whole.
  void Trim();

  const size_t max_bytes_;
  const uint64_t epoch_;
  mutable HistoryRules rules_;
  // By name, which is in the Channel.
  absl::flat_hash_map<std::string_view, std::unique_ptr<Channel>> channels_;
  ListLink oldest_first_;  // Of all messages.
  ListLink idle_;          // Channels without messages, in their order.
  size_t messages_ = 0;
  size_t bytes_ = 0;       // Of messages and channels.
  size_t idle_bytes_ = 0;  // Of idle channels.
  Numbers forgotten_;      // `last` is the highest of all forgotten channels.
};

}  // namespace fio::pubsub_internal

#endif  // FIO_PUBSUB_INTERNAL_HISTORY_H_
