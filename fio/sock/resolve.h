// Resolve() turns a Url into the addresses that it means, by getaddrinfo(3).

#ifndef FIO_SOCK_RESOLVE_H_
#define FIO_SOCK_RESOLVE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"

namespace fio {

// At least one address, none twice, in the order in which to try them (RFC
// 6724). A name may be asked of a server, so this may block for seconds: do not
// call it on a loop's thread. An IP address, a path and an empty host never
// block; the last is 0.0.0.0 ([::] for tcp6 and udp6), every address of this
// machine.
//
// Errors, all with the url in the message: kInvalidArgument if it has no port,
// nor its scheme one, or its path is too long; kNotFound if the host has no
// address of that family; kUnavailable if the resolver gave no answer.
absl::StatusOr<std::vector<SocketAddress>> Resolve(const Url& url);

// This machine's name, in the canonical form that the resolver has for it, as
// in "host.example.org"; always whole. May block like Resolve(). Errors: as
// Resolve(), with the name in the message.
absl::StatusOr<std::string> LocalHostName();

}  // namespace fio

#endif  // FIO_SOCK_RESOLVE_H_
