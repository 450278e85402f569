// Which thread runs a turn of a loop.
//
// Thread safety: any thread.

#ifndef FIO_CORE_LOOP_INTERNAL_TURN_THREAD_H_
#define FIO_CORE_LOOP_INTERNAL_TURN_THREAD_H_

#include <atomic>
#include <thread>

namespace fio::loop_internal {

class TurnThread {
 public:
  bool runs() const {
    return thread_.load(std::memory_order_relaxed) != std::thread::id();
  }
  void Begin() {
    thread_.store(std::this_thread::get_id(), std::memory_order_relaxed);
  }
  void End() { thread_.store(std::thread::id(), std::memory_order_relaxed); }

  // Whether this thread may touch the loop, as far as can be told.
  bool IsThis() const {
    const std::thread::id runs = thread_.load(std::memory_order_relaxed);
    return runs == std::thread::id() || runs == std::this_thread::get_id();
  }

 private:
  std::atomic<std::thread::id> thread_;  // Of none between turns.
};

}  // namespace fio::loop_internal

#endif  // FIO_CORE_LOOP_INTERNAL_TURN_THREAD_H_
