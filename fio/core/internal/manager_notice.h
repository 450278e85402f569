// A ManagerNotice tells the service manager the state of the process; see
// NotifyServiceManager(). It never waits: while the manager's queue is full, it
// sends the message again every 100 ms, for up to 90 s, which is how long
// systemd waits for READY=1. A newer message replaces one that has not been
// sent. A message that could not be sent is logged and dropped.
//
// Thread safety: none. Use it on the thread of the loop, which must outlive it.

#ifndef FIO_CORE_INTERNAL_MANAGER_NOTICE_H_
#define FIO_CORE_INTERNAL_MANAGER_NOTICE_H_

#include <string>
#include <string_view>

#include "fio/core/loop/loop.h"
#include "fio/core/timer/timer_wheel.h"

namespace fio::core_internal {

class ManagerNotice {
 public:
  explicit ManagerNotice(Loop& loop) : loop_(loop) {}
  ManagerNotice(const ManagerNotice&) = delete;
  ManagerNotice& operator=(const ManagerNotice&) = delete;
  // Drops a message that has not been sent.
  ~ManagerNotice() { loop_.Cancel(timer_); }

  void Tell(std::string_view state);

  // Sends a message that has not been sent once more, and drops it then.
  void Finish();

 private:
  void Send();

  Loop& loop_;
  std::string unsent_;
  int tries_ = 0;
  TimerId timer_ = TimerId::kNone;
};

}  // namespace fio::core_internal

#endif  // FIO_CORE_INTERNAL_MANAGER_NOTICE_H_
