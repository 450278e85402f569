// The names of /etc/hosts, see hosts(5), which need no name server.
//
// Thread safety: any thread.

#ifndef FIO_CORE_INTERNAL_HOSTS_FILE_H_
#define FIO_CORE_INTERNAL_HOSTS_FILE_H_

#include <cstddef>
#include <vector>

#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"

namespace fio::core_internal {

// A larger file is not read, since this runs on a loop's thread.
inline constexpr size_t kMaxHostsFile = size_t{256} * 1024;

// The addresses of the url's host, with the url's port, of the families that
// its scheme allows, in the order of the file, without duplicates. Empty if the
// name is not known, or the file cannot be read.
std::vector<SocketAddress> FindKnownHost(const Url& url,
                                         const char* path = "/etc/hosts");

}  // namespace fio::core_internal

#endif  // FIO_CORE_INTERNAL_HOSTS_FILE_H_
