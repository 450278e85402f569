// Converts a failed system call on a socket to a Status.

#ifndef FIO_SOCK_INTERNAL_CALL_FAILED_H_
#define FIO_SOCK_INTERNAL_CALL_FAILED_H_

#include <cerrno>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "fio/base/errno_status.h"
#include "fio/sock/socket_address.h"

namespace fio::sock_internal {

// errno as a Status: "bind 127.0.0.1:80: Permission denied".
inline absl::Status CallFailed(std::string_view call,
                               const SocketAddress& address) {
  return ErrnoToStatus(errno, absl::StrCat(call, " ", address.ToString()));
}

}  // namespace fio::sock_internal

#endif  // FIO_SOCK_INTERNAL_CALL_FAILED_H_
