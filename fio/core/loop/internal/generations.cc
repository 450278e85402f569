#include "fio/core/loop/internal/generations.h"

#include <atomic>
#include <cstdint>
#include <limits>

namespace fio::core_internal {
namespace {

constexpr int kNone = std::numeric_limits<int>::max();

constinit std::atomic<uint32_t> last_of_all = 0;
constinit std::atomic<int> first_fd_apart = kNone;
constinit std::atomic<uint32_t> last_apart = 0;

}  // namespace

uint32_t NextGeneration(int fd) {
  const bool apart = fd >= first_fd_apart.load(std::memory_order_relaxed);
  std::atomic<uint32_t>& last = apart ? last_apart : last_of_all;
  uint32_t next;
  do {
    next = last.fetch_add(1, std::memory_order_relaxed) + 1;
  } while (next == 0);
  return next;
}

GenerationsFrom::GenerationsFrom(int first_fd) {
  last_apart = 0;
  first_fd_apart = first_fd;
}

GenerationsFrom::~GenerationsFrom() { first_fd_apart = kNone; }

}  // namespace fio::core_internal
