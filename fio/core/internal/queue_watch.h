// A QueueWatch looks for clients that wait in the queue of a listening socket
// and that nobody accepts, whatever the cause: the worker that serves the
// socket has crashed, is stopped, hangs in a callback, or has lost its own
// registration. It needs nothing from that worker.
//
// It watches each socket until a client waits, then looks again after
// kInterval, by poll(2). A queue that has somebody at kLooks looks in a row,
// the wake-up included, is *stuck*. (That may be a server that is slower than
// its clients; what is done about a stuck queue must be harmless for it.) An
// empty queue is watched again. So a socket costs nothing while nobody connects
// and a few system calls per kInterval while many do.
//
// Thread safety: none; the thread of the loop.

#ifndef FIO_CORE_INTERNAL_QUEUE_WATCH_H_
#define FIO_CORE_INTERNAL_QUEUE_WATCH_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "fio/core/loop/loop.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/sock/listen_socket.h"

namespace fio::core_internal {

class QueueWatch {
 public:
  struct Queue {
    int place;  // Whose it is; several may have the same.
    std::shared_ptr<const ListenSocket> socket;
  };

  // Between two looks; kLongestInterval once all that are looked at have stayed
  // stuck for kPatientLooks, as the queue of a listener that is paused.
  static constexpr absl::Duration kInterval = absl::Milliseconds(100);
  static constexpr absl::Duration kLongestInterval = absl::Milliseconds(400);
  static constexpr int kLooks = 3;
  static constexpr int kPatientLooks = 20;

  // Calls `on_stuck` in a timer of the loop, at most once per place and look,
  // with how often in a row a queue of the place has been found stuck, from 1.
  // It may not change the QueueWatch. `loop` outlives it.
  using OnStuck = std::function<void(int place, int times)>;
  QueueWatch(Loop& loop, std::vector<Queue> queues, OnStuck on_stuck);
  QueueWatch(const QueueWatch&) = delete;
  QueueWatch& operator=(const QueueWatch&) = delete;
  ~QueueWatch();

 private:
  struct Watched {
    Queue queue;
    WatchId watch = WatchId::kNone;  // None while it is looked at.
    int looks = 0;                   // That found somebody, in a row.
  };

  void Arm(Watched& watched);
  void Unwatch(Watched& watched);
  void LookLater();
  void Look();

  Loop& loop_;
  const OnStuck on_stuck_;
  std::vector<std::unique_ptr<Watched>> queues_;
  TimerId look_ = TimerId::kNone;
};

}  // namespace fio::core_internal

#endif  // FIO_CORE_INTERNAL_QUEUE_WATCH_H_
