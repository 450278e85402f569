#include "fio/core/internal/run_guard.h"

#include <atomic>
#include <cstdlib>
#include <utility>
#include <vector>

namespace fio::core_internal {
namespace {

std::atomic<bool> g_process_exits{false};

}  // namespace

void RunGuard::Enter() {
  if (!std::exchange(notes_exit_, true)) {
    static_cast<void>(std::atexit([] { g_process_exits = true; }));
  }
  inside_ = true;
}

bool RunGuard::ProcessExits() { return g_process_exits; }

void RunGuard::LeaveForEver(void* object) {
  static std::vector<void*>* const left = new std::vector<void*>;
  left->push_back(object);
}

}  // namespace fio::core_internal
