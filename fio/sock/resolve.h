// Resolve() finds the addresses of a Url, by getaddrinfo(3).

#ifndef FIO_SOCK_RESOLVE_H_
#define FIO_SOCK_RESOLVE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"

namespace fio {

// Returns at least one address, none of them twice, in the order in which to
// try them (RFC 6724). For a name the system may ask a server, which can block
// for many seconds: do not call this on a loop's thread, but use a Resolver
// (fio/core/resolver.h). It never blocks for an IP address, a path, localhost
// (see url.h) or an empty host. An empty host means every address of this
// machine: 0.0.0.0, or [::] for tcp6 and udp6.
//
// Errors, all with the url in the message: kInvalidArgument if neither the url
// nor its scheme has a port, or the path is too long; kNotFound if the host has
// no address of the family that the scheme asks for; kUnavailable if no name
// server has answered.
absl::StatusOr<std::vector<SocketAddress>> Resolve(const Url& url);

// Returns this machine's name in the canonical form that the system knows, for
// example "host.example.org"; never cut short. May block like Resolve().
// Errors: as Resolve(), with the name in the message.
absl::StatusOr<std::string> LocalHostName();

}  // namespace fio

#endif  // FIO_SOCK_RESOLVE_H_
