// What waits for a slow subscription, and who pays when there is no room.
//
// Thread safety: none; that of the subscription's lane.

#ifndef FIO_PUBSUB_INTERNAL_BACKLOG_H_
#define FIO_PUBSUB_INTERNAL_BACKLOG_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <utility>

#include "fio/pubsub/message.h"
#include "fio/pubsub/subscribe_options.h"

namespace fio::pubsub_internal {

class Backlog {
 public:
  // A message; or the end of a replay, in its place, if `message` is none.
  struct Item {
    Message message;
    uint64_t lost = 0;  // Right before it.
    bool replayed = false;
    bool again = false;  // Was delivered before, and deferred.
  };

  explicit Backlog(const SlowOptions& options) : options_(options) {}

  bool empty() const { return size() == 0; }
  bool has_next() const { return !next_.empty(); }
  size_t size() const { return next_.size() + live_.size(); }
  bool replaying() const { return replaying_; }
  const ReplayEnd& replay_end() const { return replay_end_; }

  // Whether `item` would be above the limits, which are about live messages:
  // those of the past have others, in history. One has room in any case.
  bool IsFullFor(const Item& item) const;
  // Drops the oldest that may be dropped: one that has not been delivered
  // before, and does not come from history. What it was counts as lost before
  // the one behind it. False if there is none.
  bool DropOldest();
  // The one that comes now is dropped.
  void CountLost() { ++lost_; }
  // What was lost behind all that is here.
  uint64_t TakeLost() { return std::exchange(lost_, 0); }

  // Behind all others. While replaying, behind the end of the replay.
  void Add(Item item);
  // In front of all others, to be delivered again.
  void PutBack(Item item);
  // The next one. None if that is not to be delivered yet.
  std::optional<Item> Take();

  // From now on live messages wait for the end of the replay.
  void BeginReplay() { replaying_ = true; }
  // All of the past is here. Behind it follow the live messages, without those
  // that were replayed. What history has lost is lost before the first of all.
  void EndReplay(const ReplayEnd& end);

 private:
  using Items = std::deque<Item>;

  void CountIn(const Item& item);
  void CountOut(const Item& item);
  bool DropOldestOf(Items& items);

  const SlowOptions options_;
  Items next_;
  Items live_;                // That came while replaying.
  size_t live_messages_ = 0;  // In both, with live_bytes_.
  size_t live_bytes_ = 0;
  uint64_t lost_ = 0;  // Before the next that is added.
  bool replaying_ = false;
  ReplayEnd replay_end_;
};

}  // namespace fio::pubsub_internal

#endif  // FIO_PUBSUB_INTERNAL_BACKLOG_H_
