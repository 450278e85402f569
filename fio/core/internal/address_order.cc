#include "fio/core/internal/address_order.h"

#include <cstddef>
#include <vector>

#include "fio/sock/socket_address.h"

namespace fio::core_internal {

std::vector<SocketAddress> InterleaveFamilies(
    const std::vector<SocketAddress>& addresses) {
  std::vector<SocketAddress> first, others;
  for (const SocketAddress& address : addresses) {
    const bool is_first = address.family() == addresses.front().family();
    (is_first ? first : others).push_back(address);
  }
  std::vector<SocketAddress> ordered;
  ordered.reserve(addresses.size());
  for (size_t i = 0; i < first.size() || i < others.size(); ++i) {
    if (i < first.size()) ordered.push_back(first[i]);
    if (i < others.size()) ordered.push_back(others[i]);
  }
  return ordered;
}

}  // namespace fio::core_internal
