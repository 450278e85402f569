// Resolve() turns the host of a Url into addresses, by getaddrinfo(3).

#ifndef FIO_SOCK_RESOLVE_H_
#define FIO_SOCK_RESOLVE_H_

#include <vector>

#include "absl/status/statusor.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"

namespace fio {

// At least one address, in the order in which to try them (RFC 6724). A name
// may be asked of a server, so this may block for seconds: do not call it on a
// loop's thread. An IP address or an empty host never blocks; the latter is
// 0.0.0.0 ([::] for tcp6), every address of this machine.
//
// Errors, all with the url in the message: kInvalidArgument if it has no port;
// kNotFound if the host has no address of that family; kUnavailable if the
// resolver gave no answer.
absl::StatusOr<std::vector<SocketAddress>> Resolve(const Url& url);

}  // namespace fio

#endif  // FIO_SOCK_RESOLVE_H_
