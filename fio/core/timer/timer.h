// A Timer is a deadline inside another object: the object derives from it, and
// a TimerWheel calls OnTimer() when the deadline has passed. Arming one
// allocates nothing.
//
//   class Session : private Timer {
//     void Touch() { wheel_.Arm(*this, wheel_.now() + kIdle); }
//     void OnTimer(TimerWheel& wheel) override { Close(); }
//   };
//
// Thread safety: none, as its wheel.

#ifndef FIO_CORE_TIMER_TIMER_H_
#define FIO_CORE_TIMER_TIMER_H_

#include <cstdint>

#include "fio/base/list_link.h"

namespace fio {

class TimerWheel;

class Timer : private ListLink {
 public:
  Timer() = default;
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  // Whether a wheel will call OnTimer().
  bool armed() const { return wheel_ != nullptr; }

 protected:
  // Cancels the timer.
  virtual ~Timer();

  // Runs inside TimerWheel::Advance(), once for each time the timer was armed.
  // The timer is then not armed any more. It may arm, cancel and destroy any
  // timer, itself included; it must not call Advance() or destroy the wheel.
  virtual void OnTimer(TimerWheel& wheel) = 0;

 private:
  friend class TimerWheel;

  // Called after CancelAll() has cancelled the timer.
  virtual void OnCancelAll(TimerWheel&) {}

  uint64_t unref_ : 1 = 0;  // See TimerWheel::Unref().
  uint64_t tick_ : 63 = 0;
  TimerWheel* wheel_ = nullptr;  // Null while not armed.
};

}  // namespace fio

#endif  // FIO_CORE_TIMER_TIMER_H_
