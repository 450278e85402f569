// A Url names where to listen or connect: a transport, a host and a port.
//
//   tcp://127.0.0.1:3000    tcp://example.org:80    tcp://[::1]:3000
//   tcp4://localhost:3000   only IPv4 addresses of the name
//   tcp6://localhost:3000   only IPv6 addresses of the name
//   tcp://:3000             no host: every IPv4 address of this machine
//
// Only the text is checked here; Resolve() (fio/sock/resolve.h) asks the system
// what a host means.
//
// Thread safety: a value.

#ifndef FIO_SOCK_URL_H_
#define FIO_SOCK_URL_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace fio {

class Url {
 public:
  enum class Scheme : uint8_t { kTcp, kTcp4, kTcp6 };

  // Errors: kInvalidArgument, with `text` and what is wrong with it.
  static absl::StatusOr<Url> Parse(std::string_view text);

  Scheme scheme() const { return scheme_; }
  // Without the brackets of an IPv6 literal; may be empty.
  const std::string& host() const { return host_; }
  // 0 to 65535, or absent.
  std::optional<uint16_t> port() const { return port_; }

  // What Parse() takes and gives back as an equal Url.
  std::string ToString() const;

  friend bool operator==(const Url&, const Url&) = default;

 private:
  Url() = default;

  Scheme scheme_ = Scheme::kTcp;
  std::string host_;
  std::optional<uint16_t> port_;
};

}  // namespace fio

#endif  // FIO_SOCK_URL_H_
