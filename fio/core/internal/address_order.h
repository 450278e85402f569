// In which order to try the addresses of one name.

#ifndef FIO_CORE_INTERNAL_ADDRESS_ORDER_H_
#define FIO_CORE_INTERNAL_ADDRESS_ORDER_H_

#include <vector>

#include "fio/sock/socket_address.h"

namespace fio::core_internal {

// Families take turns, that of the first address first, so that a family that
// does not work here costs one wait and not one for each of its addresses (RFC
// 8305, section 4). The order within a family stays.
std::vector<SocketAddress> InterleaveFamilies(
    const std::vector<SocketAddress>& addresses);

}  // namespace fio::core_internal

#endif  // FIO_CORE_INTERNAL_ADDRESS_ORDER_H_
