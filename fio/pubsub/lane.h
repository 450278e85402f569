// A Lane is where the callbacks of subscriptions run, one at a time and in
// order: whoever owns it calls Run(), always on one thread. A loop has one; a
// program without loops calls Run() itself.
//
//   std::shared_ptr<fio::Lane> lane = broker.NewLane([&] { waker.Wake(); });
//   fio::Subscription news =
//       *broker.Subscribe(*lane, {.channel = "news"}, callback);
//   ...
//   lane->Run();  // Whenever it was woken.
//
// Thread safety: Run() and the destructor belong to the lane's thread; the rest
// may be called on any.

#ifndef FIO_PUBSUB_LANE_H_
#define FIO_PUBSUB_LANE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/synchronization/mutex.h"
#include "fio/base/move_only_function.h"
#include "fio/pubsub/internal/lane_entry.h"
#include "fio/pubsub/message.h"

namespace fio {

namespace pubsub_internal {
class BrokerCore;
class Engines;
class Subscriber;
class Topics;
}  // namespace pubsub_internal

class Lane {
 public:
  // Called when something has come, or is left, and it has not been called
  // since the last Run(): that is to be called soon. On any thread, also inside
  // of Run(); must not call the lane or its broker.
  using Wake = MoveOnlyFunction<void()>;

  // Messages that wait for Run() may have so many bytes, those for engines
  // included; what comes beyond is dropped, and counted.
  static constexpr size_t kMaxWaitingBytes = size_t{64} << 20;

  struct Stats {
    uint64_t delivered = 0;  // Calls of callbacks.
    uint64_t dropped = 0;    // Messages for which there was no room.
    uint64_t waiting = 0;    // What waits for Run().
  };

  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;
  // Ends the lane's subscriptions; their on_unsubscribe is called. REQUIRES:
  // its Run() is not running.
  ~Lane();

  // Delivers what has come. Stops early when `is_up`, which is asked after each
  // message, returns true. Returns whether something is left: call it again,
  // since nobody is woken for that. Inside of a callback of this lane it does
  // nothing: false.
  bool Run(absl::FunctionRef<bool()> is_up);
  // Delivers all that had come when it was called. If something is left, the
  // owner is woken once more: for a message that was deferred, or because of
  // what has waited for a subscription only 64 messages are delivered at a
  // time. So who calls this whenever it is woken misses nothing.
  void Run();

  // Runs `task` in its turn, in Run().
  void Post(MoveOnlyFunction<void()> task);

  Stats stats() const;

 private:
  friend class pubsub_internal::BrokerCore;
  friend class pubsub_internal::Engines;
  friend class pubsub_internal::Subscriber;
  friend class pubsub_internal::Topics;
  using Entry = pubsub_internal::LaneEntry;
  using Subscribers = std::vector<std::shared_ptr<pubsub_internal::Subscriber>>;

  Lane(std::shared_ptr<pubsub_internal::Topics> topics, Wake wake);

  void Push(Entry entry);
  void SetWake(Wake wake);
  bool HasRoomFor(const Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // The rest: on the lane's thread.
  void TakeInbox();
  void RunRetries();
  // Whether `is_up` has stopped it.
  bool RunBatch(absl::FunctionRef<bool()> is_up);
  void Execute(Entry& entry);
  // Has the subscription go on in the next Run().
  void RetryLater(std::shared_ptr<pubsub_internal::Subscriber> subscriber) {
    retries_.push_back(std::move(subscriber));
  }
  void CountDelivery() {
    delivered_.store(delivered_.load(std::memory_order_relaxed) + 1,
                     std::memory_order_relaxed);
  }
  // As the destructor says; from now on there are no subscriptions.
  void End();
  // Moves what waits to `dropped`, which is to be destroyed without a lock, but
  // lets those join and leave that do. Returns those that have left. Under the
  // lock of Topics.
  Subscribers Clear(std::vector<Entry>& dropped);
  void ClearEntry(Entry& entry, Subscribers& left);
  // Those that wait to join. REQUIRES: Run() has never been called.
  Subscribers Joining() const;
  void CountRest() {
    rest_.store(batch_.size() - next_, std::memory_order_relaxed);
  }

  const std::shared_ptr<pubsub_internal::Topics> topics_;
  Wake wake_ ABSL_GUARDED_BY(mutex_);

  mutable absl::Mutex mutex_;
  std::vector<Entry> inbox_ ABSL_GUARDED_BY(mutex_);
  size_t inbox_bytes_ ABSL_GUARDED_BY(mutex_) = 0;  // Of messages.
  bool told_ ABSL_GUARDED_BY(mutex_) = false;

  // Of the lane's thread.
  std::vector<Entry> batch_;
  size_t next_ = 0;  // In batch_.
  Subscribers retries_;
  bool running_ = false;
  bool has_run_ = false;
  bool ended_ = false;  // Changes under the lock of Topics.

  std::atomic<uint64_t> rest_ = 0;  // Of batch_, between two Run().
  std::atomic<uint64_t> delivered_ = 0;
  std::atomic<uint64_t> dropped_ = 0;
};

}  // namespace fio

#endif  // FIO_PUBSUB_LANE_H_
