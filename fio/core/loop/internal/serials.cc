#include "fio/core/loop/internal/serials.h"

#include <atomic>
#include <cstdint>
#include <limits>

namespace fio::core_internal {
namespace {

constexpr int kNone = std::numeric_limits<int>::max();

constinit std::atomic<uint64_t> next_of_all = 1;
constinit std::atomic<int> first_fd_apart = kNone;
constinit std::atomic<uint64_t> next_apart = 1;

}  // namespace

uint64_t NextSerial(int fd) {
  const bool apart = fd >= first_fd_apart.load(std::memory_order_relaxed);
  return (apart ? next_apart : next_of_all)
      .fetch_add(1, std::memory_order_relaxed);
}

SerialsFrom::SerialsFrom(int first_fd, uint64_t first_serial) {
  next_apart = first_serial;
  first_fd_apart = first_fd;
}

SerialsFrom::~SerialsFrom() { first_fd_apart = kNone; }

}  // namespace fio::core_internal
