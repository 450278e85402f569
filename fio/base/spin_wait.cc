#include "fio/base/spin_wait.h"

#include <poll.h>

#include <ctime>
#include <thread>

namespace fio {

void SpinWait::Pause() {
  if (yields_ < kYields) {
    ++yields_;
    std::this_thread::yield();
    return;
  }
#if defined(__linux__)
  constexpr timespec kSleep = {.tv_sec = 0,
                               .tv_nsec = kSleepMicroseconds * 1'000L};
  ppoll(nullptr, 0, &kSleep, nullptr);
#else
  poll(nullptr, 0, 1);
#endif
}

}  // namespace fio
