// A Lane is where the callbacks of subscriptions run, one at a time and in
// order: whoever owns it calls Run(), always on one thread. A loop has one; a
// program without loops calls Run() itself.
//
//   std::shared_ptr<fio::Lane> lane = broker.NewLane([&] { waker.Wake(); });
//   broker.Subscribe(*lane, {.channel = "news"}, callback);
//   ...
//   lane->Run();
//
// Thread safety: Run() and the destructor belong to the lane's thread. Messages
// come from any.

#ifndef FIO_PUBSUB_LANE_H_
#define FIO_PUBSUB_LANE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/synchronization/mutex.h"
#include "fio/base/move_only_function.h"
#include "fio/pubsub/message.h"

namespace fio {

namespace pubsub_internal {
class Share;
class Subscriber;
class Topics;
}  // namespace pubsub_internal

class Lane {
 public:
  // Called when something has come and the lane has not been told since its
  // last Run(): that is to be called soon. On any thread; must not call the
  // lane or its broker.
  using Wake = MoveOnlyFunction<void()>;

  // Messages that wait for Run() may have so many bytes; what comes beyond is
  // dropped, and counted in stats().
  static constexpr size_t kMaxWaitingBytes = size_t{64} << 20;

  struct Stats {
    uint64_t delivered = 0;  // Calls of callbacks.
    uint64_t dropped = 0;    // Messages for which there was no room.
    uint64_t waiting = 0;    // Messages that wait for Run().
  };

  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;
  // Ends the lane's subscriptions; their on_unsubscribe is called. REQUIRES:
  // its Run() is not running.
  ~Lane();

  // Delivers what has come. Stops early when `is_up`, which is asked after each
  // message, returns true: true if something is left. Inside of a callback of
  // this lane it does nothing.
  bool Run(absl::FunctionRef<bool()> is_up);
  void Run() {
    while (Run([] { return false; })) {
    }
  }

  // Runs `task` in its turn, in Run(). Any thread.
  void Post(MoveOnlyFunction<void()> task);

  // Any thread.
  Stats stats() const;

 private:
  friend class pubsub_internal::Subscriber;
  friend class pubsub_internal::Topics;

  // What comes to the lane. Of the two pointers one is set.
  struct Entry;

  ...
};

}  // namespace fio

#endif  // FIO_PUBSUB_LANE_H_
