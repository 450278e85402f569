// Counts what the handshakes of a context have come to.
//
// Thread safety: thread-safe.

#ifndef FIO_TLS_INTERNAL_HANDSHAKE_COUNTS_H_
#define FIO_TLS_INTERNAL_HANDSHAKE_COUNTS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/synchronization/mutex.h"

namespace fio::tls_internal {

class HandshakeCounts {
 public:
  struct Values {
    uint64_t done = 0, resumed = 0, failed = 0;
    absl::btree_map<std::string, uint64_t> failures;
  };

  void CountDone(bool resumed) {
    done_.fetch_add(1, std::memory_order_relaxed);
    if (resumed) resumed_.fetch_add(1, std::memory_order_relaxed);
  }

  // The reason comes from what a peer does, so only so many are kept apart.
  void CountFailed(std::string_view why) {
    const absl::MutexLock lock(&mutex_);
    ++failed_;
    const bool room =
        failures_.size() < kMostReasons || failures_.contains(why);
    ++failures_[room ? why : "other"];
  }

  Values values() const {
    const absl::MutexLock lock(&mutex_);
    return {.done = done_.load(std::memory_order_relaxed),
            .resumed = resumed_.load(std::memory_order_relaxed),
            .failed = failed_,
            .failures = failures_};
  }

 private:
  static constexpr size_t kMostReasons = 64;

  std::atomic<uint64_t> done_{0}, resumed_{0};
  mutable absl::Mutex mutex_;
  uint64_t failed_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::btree_map<std::string, uint64_t> failures_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace fio::tls_internal

#endif  // FIO_TLS_INTERNAL_HANDSHAKE_COUNTS_H_
