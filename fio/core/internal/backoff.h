// A Backoff returns how long to wait before the next attempt: twice as long
// after each failure in a row, up to a limit. Each delay is then made up to a
// quarter shorter or longer, at random, so that clients that failed together do
// not try again together.
//
// Thread safety: none.

#ifndef FIO_CORE_INTERNAL_BACKOFF_H_
#define FIO_CORE_INTERNAL_BACKOFF_H_

#include <algorithm>
#include <cstdint>
#include <random>

#include "absl/time/time.h"

namespace fio::core_internal {

class Backoff {
 public:
  static constexpr double kJitter = 0.25;

  // REQUIRES: 0 < first <= longest.
  Backoff(absl::Duration first, absl::Duration longest, uint64_t seed)
      : first_(first), longest_(longest), next_(first), random_(seed) {}

  absl::Duration Next() {
    const absl::Duration delay = next_;
    next_ = std::min(2 * next_, longest_);
    std::uniform_real_distribution<double> factor(1 - kJitter, 1 + kJitter);
    return delay * factor(random_);
  }

  // Call this after a success: the next delay is the first one again.
  void Reset() { next_ = first_; }

 private:
  const absl::Duration first_;
  const absl::Duration longest_;
  absl::Duration next_;
  std::minstd_rand random_;
};

}  // namespace fio::core_internal

#endif  // FIO_CORE_INTERNAL_BACKOFF_H_
