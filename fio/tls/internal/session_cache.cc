#include "fio/tls/internal/session_cache.h"

#include <deque>
#include <string>
#include <string_view>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "fio/tls/internal/boringssl.h"

namespace fio::tls_internal {

void SessionCache::Put(std::string_view key,
                       bssl::UniquePtr<SSL_SESSION> session) {
  const absl::MutexLock lock(&mutex_);
  const auto [found, added] = sessions_.try_emplace(key);
  Sessions& sessions = found->second;
  sessions.push_back(std::move(session));
  if (sessions.size() > kMostOfKey) sessions.pop_front();
  if (!added) return;
  order_.emplace_back(key);
  if (order_.size() <= max_keys_) return;
  sessions_.erase(order_.front());
  order_.pop_front();
}

// The key stays, with no session, so that `order_` has each key once.
bssl::UniquePtr<SSL_SESSION> SessionCache::Take(std::string_view key) {
  const absl::MutexLock lock(&mutex_);
  const auto found = sessions_.find(key);
  if (found == sessions_.end() || found->second.empty()) return nullptr;
  Sessions& sessions = found->second;
  if (SSL_SESSION_should_be_single_use(sessions.back().get()) != 1) {
    return bssl::UpRef(sessions.back());
  }
  bssl::UniquePtr<SSL_SESSION> session = std::move(sessions.back());
  sessions.pop_back();
  return session;
}

void SessionCache::Forget(std::string_view key, const SSL_SESSION* session) {
  const absl::MutexLock lock(&mutex_);
  const auto found = sessions_.find(key);
  if (found == sessions_.end()) return;
  std::erase_if(found->second,
                [session](const auto& kept) { return kept.get() == session; });
}

}  // namespace fio::tls_internal
