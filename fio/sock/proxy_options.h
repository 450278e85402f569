// ProxyOptions say that the peers of a listener are proxies, which say in a
// PROXY header (fio/sock/proxy_header.h) who their client is. See
// docs/proxy-protocol.md.
//
//   fio::ListenOptions options;
//   options.proxy = {.trusted = {*fio::AddressRange::Parse("10.0.0.0/8")}};
//
// or, with the same meaning, on the url:
//
//   tcp://0.0.0.0:80?proxy=any&proxy_trust=10.0.0.0/8,fd00::/8
//
// Whoever is trusted can claim any address. So nobody is trusted that is not
// named here, not even this machine or a private network.
//
// Thread safety: as a std::vector.

#ifndef FIO_SOCK_PROXY_OPTIONS_H_
#define FIO_SOCK_PROXY_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "fio/sock/address_range.h"
#include "fio/sock/proxy_header.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"

namespace fio {

struct ProxyOptions {
  // What is done with a peer that is not trusted.
  enum class Others : uint8_t {
    kRefused,  // It is closed at once, as by AcceptVerdict::Reject().
    kPlain,    // It is a client without a header. What it sends is never taken
               // for one.
  };

  // Whether the peer with this address, of the socket itself, is trusted. Each
  // of them must send a header.
  bool Trusts(const SocketAddress& peer) const;

  // kInvalidArgument, with the name of the option: nobody is trusted, `timeout`
  // is not positive, or max_v2_bytes holds no header.
  absl::Status Check() const;

  // Which versions are accepted, and how long a header may be.
  ProxyHeaderOptions header = {};

  // The proxies. At least one; there is no default.
  std::vector<AddressRange> trusted = {};

  Others others = Others::kRefused;

  // How long the header may take. Proxies send it at once.
  absl::Duration timeout = absl::Seconds(5);
};

// Puts what the url says into `options`: `proxy` (v1, v2 or any) into
// `header.versions`, `proxy_trust` (ranges, with commas between them) instead
// of `trusted`. A url that says nothing changes nothing. Errors:
// kInvalidArgument, which names the key, for another value, or for
// `proxy_trust` if neither the url nor `options` ask for a header.
absl::Status ApplyQuery(const Url& url, std::optional<ProxyOptions>& options);

}  // namespace fio

#endif  // FIO_SOCK_PROXY_OPTIONS_H_
