// A TlsChoice answers what certificate a client is shown, now or later, from
// any thread. TlsServerOptions::choose gets one for each client:
//
//   options.choose = [&store](const fio::TlsClientHello& hello,
//                             fio::TlsChoice choice) {
//     store.Fetch(hello.server_name, [choice = std::move(choice)](
//                    std::shared_ptr<const fio::TlsContext> context) mutable {
//       std::move(choice).Use(std::move(context));
//     });
//   };
//
// Until the answer the handshake waits, within its time-out, and the loop
// serves others. An answer for a connection that has gone does nothing.
//
// Thread safety: one thread at a time.

#ifndef FIO_TLS_TLS_CHOICE_H_
#define FIO_TLS_TLS_CHOICE_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace fio {

class TlsContext;

namespace tls_internal {
class ChoiceState;
}

// What a client has said of itself. Valid during the call.
struct TlsClientHello {
  // The name that it asks for; empty if it has said none.
  std::string_view server_name;
  // The application protocols that it speaks, the preferred first.
  std::vector<std::string_view> alpn;
  // Whether it takes a certificate with an ECDSA key.
  bool takes_ecdsa = false;
  // The same for Ed25519.
  bool takes_ed25519 = false;
};

class TlsChoice {
 public:
  explicit TlsChoice(std::shared_ptr<tls_internal::ChoiceState> state);
  TlsChoice(TlsChoice&& other) noexcept = default;
  TlsChoice& operator=(TlsChoice&& other) noexcept;
  // Without an answer: as Refuse().
  ~TlsChoice();

  // The client is shown a certificate of `context`, by its rules for names; its
  // client_certificates, trust, alpn and key_log hold as well. Versions,
  // ciphers, groups and tickets stay those of the context that has asked. Null,
  // or a context of a client: as Refuse().
  void Use(std::shared_ptr<const TlsContext> context) &&;

  // The certificates of the context that has asked. If it has none: as
  // Refuse().
  void UseOwn() &&;

  // The handshake fails (alert unrecognized_name).
  void Refuse() &&;

 private:
  std::shared_ptr<tls_internal::ChoiceState> state_;
};

}  // namespace fio

#endif  // FIO_TLS_TLS_CHOICE_H_
