#include "fio/core/loop/internal/callback_lock.h"

#if defined(__linux__)
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace fio::loop_internal {

#if defined(__linux__)

bool UseMembarrier() {
  static const bool registered =
      syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0,
              0) == 0;
  return registered;
}

void Membarrier() {
  syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
}

#else

bool UseMembarrier() { return false; }
void Membarrier() {}

#endif

}  // namespace fio::loop_internal
