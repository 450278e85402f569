#include "fio/core/pubsub/nats/internal/server_pool.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/algorithm/container.h"
#include "absl/types/span.h"

namespace fio::nats_internal {

ServerPool::ServerPool(absl::Span<const std::string> addresses, uint64_t seed)
    : random_(static_cast<std::mt19937::result_type>(seed)) {
  for (const std::string& address : addresses) {
    servers_.push_back({.address = address, .is_told_of = false});
  }
  std::shuffle(servers_.begin(), servers_.end(), random_);
}

const std::string& ServerPool::Next() {
  const std::string& address = servers_[next_].address;
  next_ = (next_ + 1) % servers_.size();
  return address;
}

void ServerPool::Update(absl::Span<const std::string> addresses,
                        std::string_view current) {
  for (size_t at = servers_.size(); at-- > 0;) {
    const Server& server = servers_[at];
    if (server.is_told_of && server.address != current &&
        !absl::c_linear_search(addresses, server.address)) {
      Erase(at);
    }
  }
  for (const std::string& address : addresses) {
    const bool is_known = absl::c_any_of(
        servers_, [&](const Server& one) { return one.address == address; });
    if (is_known) continue;
    // Anywhere among those that this round has not come to.
    const size_t first =
        std::min(next_ == 0 ? servers_.size() : next_, servers_.size());
    std::uniform_int_distribution<size_t> place(first, servers_.size());
    servers_.insert(
        servers_.begin() + static_cast<std::ptrdiff_t>(place(random_)),
        {.address = address, .is_told_of = true});
    if (next_ == 0) next_ = first;
  }
}

void ServerPool::Erase(size_t at) {
  servers_.erase(servers_.begin() + static_cast<std::ptrdiff_t>(at));
  if (at < next_) --next_;
  if (next_ == servers_.size()) next_ = 0;
}

bool ServerPool::HasOther(std::string_view current) const {
  return absl::c_any_of(servers_, [current](const Server& server) {
    return server.address != current;
  });
}

}  // namespace fio::nats_internal
