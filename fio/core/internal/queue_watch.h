// A QueueWatch detects clients that wait in the queue of a listening socket and
// are not accepted, for example because the worker that serves the socket has
// crashed, is stopped, hangs in a callback, or has lost its registration. It
// needs nothing from that worker.
//
// It watches each socket until a client waits, then checks it again every
// kInterval, by poll(2). A queue that is not empty at kLooks checks in a row,
// the wake-up included, is *stuck*. (The server may only be slower than its
// clients, so the reaction to a stuck queue must be harmless.) An empty queue
// is watched again. So a socket costs nothing while no client connects, and a
// few system calls per kInterval while many do.
//
// Thread safety: none. Use it on the thread of the loop.

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
    int place;  // Its worker's place; several may have the same.
    std::shared_ptr<const ListenSocket> socket;
  };

  // Time between two checks. It is kLongestInterval when all queues that are
  // checked have been stuck for kPatientLooks checks, as that of a paused
  // listener.
  static constexpr absl::Duration kInterval = absl::Milliseconds(100);
  static constexpr absl::Duration kLongestInterval = absl::Milliseconds(400);
  static constexpr int kLooks = 3;
  static constexpr int kPatientLooks = 20;

  // Calls `on_stuck` in a timer of the loop, at most once per place and check.
  // `times` is how often in a row a queue of the place was found stuck, from 1.
  // The callback must not destroy the QueueWatch. `loop` must outlive it.
  using OnStuck = std::function<void(int place, int times)>;
  QueueWatch(Loop& loop, std::vector<Queue> queues, OnStuck on_stuck);
  QueueWatch(const QueueWatch&) = delete;
  QueueWatch& operator=(const QueueWatch&) = delete;
  ~QueueWatch();

 private:
  struct Watched {
    Queue queue;
    WatchId watch = WatchId::kNone;  // None while it is checked by poll(2).
    int looks = 0;                   // Checks in a row that found a client.
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
