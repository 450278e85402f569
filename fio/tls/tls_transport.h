// A TlsTransport encrypts one connection. With a Socket alone:
//
//   socket.SetTransport(std::make_unique<fio::TlsTransport>(
//       context, fio::TlsTransportOptions{.server_name = "example.org"}));
//   while (socket.Shake() == fio::Transport::Handshake::kMore) Wait(socket);
//   const fio::TlsInfo* tls = fio::TlsInfo::Of(socket.transport());
//
// With a loop, Connection::StartHandshake() does that; Listener and Connector
// take a factory (fio/core/tls).
//
// A graceful end says close_notify first, Abort() does not. Either side may end
// its stream and read on. An end of the peer's stream without close_notify is
// an error: an attacker on the network can cut a stream in this way.
//
// Cost: an idle connection keeps what the library needs, about 3 kB for a
// server, and the library allocates a buffer for each record while it is made
// or read. Ciphertext passes through two buffers of the thread; a connection
// has one of its own only while the kernel has no room or a record is
// incomplete.
//
// Thread safety: none; see Transport.

#ifndef FIO_TLS_TLS_TRANSPORT_H_
#define FIO_TLS_TLS_TRANSPORT_H_

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"
#include "fio/tls/internal/negotiation.h"
#include "fio/tls/internal/record_io.h"
#include "fio/tls/tls_context.h"
#include "fio/tls/tls_info.h"

struct ssl_st;

namespace fio {

struct TlsTransportOptions {
  // For a client: what the server must be called, a name or an IP address. A
  // context with a server_name has its own. Required, unless the trust is
  // Insecure().
  std::string server_name = {};

  // For a client: what tells apart servers of one name, as on several ports.
  // The tickets of a server are kept under its name and this.
  std::string session_key = {};

  // Called once, if the handshake had to wait for a choice
  // (TlsServerOptions::choose), when that has been made. It must make the owner
  // of the socket call Shake() again. It runs on the thread that has answered,
  // perhaps after the transport was destroyed. Null: the owner calls Shake()
  // again by itself.
  std::function<void()> resume = nullptr;

  // Takes an end of the stream without close_notify for a normal end. Only for
  // protocols that know by themselves whether all has come, such as HTTP with a
  // length.
  bool truncation_is_end = false;
};

class TlsTransport final : public Transport {
 public:
  // Server or client, as the context is. REQUIRES: `context` is not null.
  explicit TlsTransport(std::shared_ptr<const TlsContext> context,
                        TlsTransportOptions options = {});
  TlsTransport(const TlsTransport&) = delete;
  TlsTransport& operator=(const TlsTransport&) = delete;
  ~TlsTransport() override;

  // kSuspended while a choice is not made.
  Handshake Shake(Socket& socket) override;

  // Why it has failed, in words, with the library's reason. kUnauthenticated:
  // the peer's certificate is not to be trusted; kPermissionDenied: the peer
  // has refused, the message names its alert; kUnavailable: the peer has ended
  // its stream in the handshake; kDataLoss: it has ended later without
  // close_notify; kNotFound: no certificate for the name it asks for;
  // kInvalidArgument: what it sends is no TLS, or breaks the rules of it.
  absl::Status status() const override;
  std::string_view handshake_name() const override {
    return "the TLS handshake";
  }
  // Of TlsInfo::Of().
  const void* Info(const void* key) const override;

  // EPROTO: status() says why.
  IoResult Read(Socket& socket, absl::Span<char> out) override;
  bool HasUnread() const override;
  // Ciphertext, and what the library has of a record that is not read whole.
  HeldBytes held_bytes() const override;
  IoResult Write(Socket& socket, absl::Span<const iovec> pieces) override;
  IoResult Flush(Socket& socket) override;
  bool BeforeClose(Socket& socket) override;

  // Changes our keys, and asks the peer to change its own (RFC 8446, section
  // 4.6.3). It takes effect with the next write. False with TLS 1.2.
  bool UpdateKeys();

 private:
  struct DeleteSsl {
    void operator()(ssl_st* ssl) const;
  };

  void SetUp(const TlsTransportOptions& options);
  absl::Status SetServerName(const std::string& name);
  void ResumeSession();
  void ForgetSession();
  Handshake Step();
  Handshake AfterStep(int result);
  Handshake Done();
  Handshake Fail(absl::Status status);
  absl::Status ReasonOf() const;
  size_t ReadRecords(absl::Span<char> out, int* end);
  IoResult EndOfRead(int result);
  IoResult Broken(absl::Status status);
  size_t WriteRecords(absl::Span<const iovec> pieces);

  const std::shared_ptr<const TlsContext> context_;
  std::unique_ptr<tls_internal::Negotiation> negotiation_;
  std::shared_ptr<const TlsContext> chosen_;  // It has the certificate.
  tls_internal::RecordIo io_;
  std::unique_ptr<ssl_st, DeleteSsl> ssl_;
  TlsInfo info_;
  absl::Status status_;
  const bool truncation_is_end_;
  bool done_ = false;      // The handshake.
  bool end_read_ = false;  // The next Read() says so again.
};

}  // namespace fio

#endif  // FIO_TLS_TLS_TRANSPORT_H_
