// A SessionCache keeps the sessions of a client, to resume them. A session of
// TLS 1.3 is used once, so that nobody can tell two connections of the same
// client (RFC 8446, appendix C.4).
//
// Thread safety: thread-safe.

#ifndef FIO_TLS_INTERNAL_SESSION_CACHE_H_
#define FIO_TLS_INTERNAL_SESSION_CACHE_H_

#include <cstddef>
#include <deque>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "fio/tls/internal/boringssl.h"

namespace fio::tls_internal {

class SessionCache {
 public:
  // Keeps sessions for so many keys. Beyond it the key that was added first is
  // forgotten.
  explicit SessionCache(size_t max_keys) : max_keys_(max_keys) {}

  void Put(std::string_view key, bssl::UniquePtr<SSL_SESSION> session);
  // The newest for the key; null if there is none.
  bssl::UniquePtr<SSL_SESSION> Take(std::string_view key);
  // Forgets one that Take() has given: what it was for has failed.
  void Forget(std::string_view key, const SSL_SESSION* session);

 private:
  // A server of TLS 1.3 gives two at once.
  static constexpr size_t kMostOfKey = 4;
  using Sessions = std::deque<bssl::UniquePtr<SSL_SESSION>>;

  const size_t max_keys_;
  absl::Mutex mutex_;
  absl::flat_hash_map<std::string, Sessions> sessions_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::string> order_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace fio::tls_internal

#endif  // FIO_TLS_INTERNAL_SESSION_CACHE_H_
