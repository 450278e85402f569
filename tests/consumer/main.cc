// What a user of one layer writes: timers, with a time of one's own making and
// no event loop.

#include <cstdio>

#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/timer/timer_wheel.h"

int main() {
  const fio::MonotonicTime start;
  const fio::MonotonicTime deadline = start + absl::Seconds(1);
  fio::TimerWheel wheel(start);
  int fired = 0;
  const fio::TimerId id = wheel.Arm(deadline, [&fired] { ++fired; });
  wheel.Advance(start);
  if (id == fio::TimerId::kNone || fired != 0) return 1;
  wheel.Advance(deadline);
  std::printf("timers fired: %d\n", fired);
  return fired == 1 ? 0 : 1;
}
