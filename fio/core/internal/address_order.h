// The order in which to try the addresses of one name.

#ifndef FIO_CORE_INTERNAL_ADDRESS_ORDER_H_
#define FIO_CORE_INTERNAL_ADDRESS_ORDER_H_

#include <vector>

#include "fio/sock/socket_address.h"

namespace fio::core_internal {

// Alternates the families, beginning with that of the first address. So a
// family that does not work costs one wait, not one for each of its addresses
// (RFC 8305, section 4). The order within a family is kept.
std::vector<SocketAddress> InterleaveFamilies(
    const std::vector<SocketAddress>& addresses);

}  // namespace fio::core_internal

#endif  // FIO_CORE_INTERNAL_ADDRESS_ORDER_H_
