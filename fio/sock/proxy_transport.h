// A ProxyTransport reads the PROXY header with which a trusted proxy begins a
// connection, and then passes everything through. What follows the header is
// the next to be read, so who has no use for the transport any more removes it,
// or sets another one, such as TLS, in its place:
//
//   auto transport = std::make_unique<fio::ProxyTransport>();
//   fio::ProxyTransport& proxy = *transport;
//   connection.StartHandshake(
//       std::move(transport), absl::Seconds(5),
//       [&proxy](fio::Connection& connection, const absl::Status& status) {
//         if (!status.ok()) return;
//         Use(proxy.header());
//         connection.SetTransport(nullptr).IgnoreError();
//       });
//
// A Listener does all of that: see ProxyOptions.
//
// It never guesses: a peer that begins with anything else than a header has
// failed. Ask only peers that are trusted for one.
//
// It reads pieces of 512 bytes. Until the header is whole it keeps at most
// ProxyHeaderOptions::max_bytes() and a piece in memory, usually nothing.
//
// Thread safety: none.

#ifndef FIO_SOCK_PROXY_TRANSPORT_H_
#define FIO_SOCK_PROXY_TRANSPORT_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "fio/sock/proxy_header.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"

namespace fio {

class ProxyTransport final : public Transport {
 public:
  explicit ProxyTransport(const ProxyHeaderOptions& options = {})
      : options_(options) {}

  // kMore until the header is whole, then kDone. What was read behind it is
  // given back to the socket. kFailed if there is none, with a status():
  // kInvalidArgument, as ParseProxyHeader() says; kUnavailable if the peer ends
  // its stream before; otherwise the errno of the read.
  Handshake Shake(Socket& socket) override;
  absl::Status status() const override { return status_; }
  std::string_view handshake_name() const override {
    return "the PROXY header";
  }
  HeldBytes held_bytes() const override { return {.unread = begun_.size()}; }

  // What was read. The default value until Shake() has returned kDone.
  const ProxyHeader& header() const { return header_; }

 private:
  Handshake Take(Socket& socket, std::string_view bytes);
  Handshake Fail(absl::Status status);

  const ProxyHeaderOptions options_;
  std::string begun_;  // A header that is not whole.
  bool done_ = false;
  ProxyHeader header_;
  absl::Status status_;
};

}  // namespace fio

#endif  // FIO_SOCK_PROXY_TRANSPORT_H_
