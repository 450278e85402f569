// What a Loop shares with other threads; it stays for as long as one of them
// has a LoopHandle.

#ifndef FIO_CORE_LOOP_INTERNAL_MAILBOX_H_
#define FIO_CORE_LOOP_INTERNAL_MAILBOX_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "fio/core/loop/connection_table.h"
#include "fio/core/loop/internal/callback_lock.h"
#include "fio/core/loop/internal/turn_thread.h"
#include "fio/core/poller/waker.h"
#include "fio/defer/task_queue.h"

namespace fio {

class Connections;

namespace loop_internal {

struct Mailbox {
  explicit Mailbox(Waker waker)
      : waker(std::move(waker)),
        tasks({.consumers = TaskQueueOptions::Consumers::kOne,
               .waker = [this] { SendWake(); }}) {}

  // For the end of the loop: from now on nothing is posted, and tasks with a
  // connection get null.
  void DropTasks() {
    dropping.Begin();
    tasks.Close(TaskQueue::OnClose::kDrop);
    dropping.End();
  }

  void SendWake() {
    wakes_sent.fetch_add(1, std::memory_order_relaxed);
    waker.Wake();
  }

  // For tasks, which run on the loop's thread, and only while it lives.
  Connections* connections = nullptr;
  const bool membarrier = UseMembarrier();
  TurnThread dropping;  // The thread that is inside of DropTasks().
  Waker waker;
  std::atomic<uint64_t> wakes_sent{0};
  std::atomic<bool> wake_asked{false};
  std::atomic<size_t> connection_count{0};  // And those handed over.
  TaskQueue tasks;                          // Closed once the loop has gone.
  ConnectionTable table;
};

}  // namespace loop_internal
}  // namespace fio

#endif  // FIO_CORE_LOOP_INTERNAL_MAILBOX_H_
