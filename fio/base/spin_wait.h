// A SpinWait is how a thread waits for another thread that needs only a few
// instructions more: to leave a SpinLock, to return from a signal handler.
//
//   SpinWait wait;
//   while (busy.load()) wait.Pause();
//
// The first calls give the processor away (sched_yield(2)). That does not help
// when the other thread has a lower real-time priority and needs the same
// processor: the kernel returns to the caller at once. So later calls sleep,
// and the other thread runs whatever the priorities are.
//
// Thread safety: none. Each wait has an object of its own, on the stack.

#ifndef FIO_BASE_SPIN_WAIT_H_
#define FIO_BASE_SPIN_WAIT_H_

namespace fio {

class SpinWait {
 public:
  // This many calls yield. They take some 20 microseconds if no other thread
  // wants the processor.
  static constexpr int kYields = 64;
  // Each later call sleeps this long; a millisecond on systems that have no
  // ppoll(2).
  static constexpr int kSleepMicroseconds = 100;

  // Returns soon; the caller then looks again. errno may change.
  void Pause();

 private:
  int yields_ = 0;
};

}  // namespace fio

#endif  // FIO_BASE_SPIN_WAIT_H_
