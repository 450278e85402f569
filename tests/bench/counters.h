// Counts what this process asks of the kernel and of malloc.
//
// A binary that links this has wrappers of its own around libc's functions.
// They count and forward, and serve shared libraries as well, since what an
// executable defines comes before what a library does. Not counted: what libc
// does inside (a futex of a mutex, mmap of malloc), and functions that no
// server here is known to call.
//
// AddressSanitizer and ThreadSanitizer have wrappers of their own: under them
// nothing is counted.
//
// Thread safety: none. A process that counts has one thread.

#ifndef FIO_TESTS_BENCH_COUNTERS_H_
#define FIO_TESTS_BENCH_COUNTERS_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "absl/base/config.h"

namespace fio::bench {

#if defined(ABSL_HAVE_ADDRESS_SANITIZER) || defined(ABSL_HAVE_THREAD_SANITIZER)
inline constexpr bool kCounting = false;
#else
inline constexpr bool kCounting = true;
#endif

enum class Call : uint8_t {
  kAccept,
  kEpollCtl,
  kWait,  // epoll_wait, poll and such.
  kReceive,
  kSend,
  kClose,
  kOther,
};
inline constexpr size_t kCallKinds = 7;
inline constexpr std::array<const char*, kCallKinds> kCallNames = {
    "accept", "epoll_ctl", "wait", "receive", "send", "close", "other"};

// What has been counted at one time, or between two.
struct Counts {
  uint64_t all_calls() const;
  uint64_t operator[](Call call) const {
    return calls[static_cast<size_t>(call)];
  }
  Counts& operator+=(const Counts& other);
  friend Counts operator-(Counts a, const Counts& b);

  std::array<uint64_t, kCallKinds> calls = {};
  uint64_t allocations = 0;
};

// One process counts; others that share the memory may look at any time.
class Counters {
 public:
  Counts Read() const;

  void Count(Call call) { Increment(calls_[static_cast<size_t>(call)]); }
  void CountAllocation() { Increment(allocations_); }

 private:
  static void Increment(std::atomic<uint64_t>& count) {
    count.store(count.load(std::memory_order_relaxed) + 1,
                std::memory_order_relaxed);
  }

  std::array<std::atomic<uint64_t>, kCallKinds> calls_ = {};
  std::atomic<uint64_t> allocations_ = 0;
};

// From now on this process counts there. `counters` outlives the process's
// calls of libc.
void CountInto(Counters& counters);

}  // namespace fio::bench

#endif  // FIO_TESTS_BENCH_COUNTERS_H_
