// With a SpinWait a thread waits for another thread that needs only a few more
// instructions, for example to release a SpinLock or to return from a signal
// handler.
//
//   SpinWait wait;
//   while (busy.load()) wait.Pause();
//
// The first calls yield the processor (sched_yield(2)). That does not help when
// the other thread has a lower real-time priority and needs the same processor:
// the kernel returns to the caller at once. So later calls sleep, and the other
// thread runs, whatever its priority.
//
// Thread safety: none. Each wait uses a SpinWait of its own.

#ifndef FIO_BASE_SPIN_WAIT_H_
#define FIO_BASE_SPIN_WAIT_H_

namespace fio {

class SpinWait {
 public:
  // This many calls yield. They take some 20 microseconds if no other thread
  // wants the processor.
  static constexpr int kYields = 64;
  // Each later call sleeps this long, or 1 ms on systems without ppoll(2).
  static constexpr int kSleepMicroseconds = 100;

  // Yields or sleeps once. The caller then checks its condition again. May
  // change errno.
  void Pause();

 private:
  int yields_ = 0;
};

}  // namespace fio

#endif  // FIO_BASE_SPIN_WAIT_H_
