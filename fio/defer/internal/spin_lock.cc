#include "fio/defer/internal/spin_lock.h"

#include <atomic>

#include "fio/base/spin_wait.h"

namespace fio::defer_internal {
namespace {

constexpr int kPauses = 8;  // Some 100 ns; a microsecond on some machines.

void Pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

// Looking again at once would only slow the holder down: its cache line would
// go to and fro.
void SpinLock::Wait() {
  SpinWait wait;
  do {
    for (int i = 0; i < kPauses; ++i) Pause();
    if (held_.load(std::memory_order_relaxed)) wait.Pause();
  } while (held_.load(std::memory_order_relaxed) ||
           held_.exchange(true, std::memory_order_acquire));
}

}  // namespace fio::defer_internal
