// How the two sides of a TLS connection are set up: see TlsContext, which is
// made of these.
//
// Thread safety: as a std::string; see the callbacks.

#ifndef FIO_TLS_TLS_OPTIONS_H_
#define FIO_TLS_TLS_OPTIONS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fio/tls/tls_certificate.h"
#include "fio/tls/tls_choice.h"
#include "fio/tls/tls_ticket_keys.h"
#include "fio/tls/tls_trust.h"
#include "fio/tls/tls_version.h"

namespace fio {

// What both sides offer by default: see TlsServerOptions. A client without AES
// in its processor prefers ChaCha20, and gets it.
inline constexpr const char* kTlsDefaultCiphers =
    "[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]:"
    "[ECDHE-RSA-AES128-GCM-SHA256|ECDHE-RSA-CHACHA20-POLY1305]:"
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384";
inline constexpr std::array<const char*, 4> kTlsDefaultGroups = {
    "X25519MLKEM768", "X25519", "P-256", "P-384"};

// What a server does with a client that asks for a name that no certificate
// has. A client that asks for no name gets the first certificate.
enum class TlsUnknownName : uint8_t {
  kFirst,   // It gets the first certificate, and decides itself.
  kRefuse,  // The handshake fails (alert unrecognized_name).
};

// Whether clients must show a certificate.
enum class TlsClientCertificates : uint8_t {
  kNone,      // They are not asked for one.
  kOptional,  // They may. One that is not trusted is refused.
  kRequired,  // They must (alert certificate_required).
};

struct TlsServerOptions {
  TlsVersion min_version = TlsVersion::kTls12;
  TlsVersion max_version = TlsVersion::kTls13;

  // The suites of TLS 1.2, the preferred first, in OpenSSL's notation. The
  // first one that the client has, too, is used; of several in brackets,
  // "[A|B]", the client decides. Those of TLS 1.3 are fixed: AES-GCM and
  // ChaCha20-Poly1305. A name that is not known is an error.
  std::string ciphers = kTlsDefaultCiphers;

  // The groups of the key exchange, the preferred first: the first one that the
  // client has, too, is used, though it may have guessed another one, which
  // costs a round trip. One that the library lacks is left out; if it has none
  // of them, that is an error. The first of the defaults holds against quantum
  // computers; TlsContext::groups() tells which are used.
  std::vector<std::string> groups = {kTlsDefaultGroups.begin(),
                                     kTlsDefaultGroups.end()};

  // The application protocols, the preferred first, as "h2" and "http/1.1"
  // (RFC 7301): at most 255 bytes each. A server takes its first one that the
  // client has, too, and refuses a client that has none of them (alert
  // no_application_protocol). Empty: the two do not talk of it.
  std::vector<std::string> alpn = {};

  // Called with the secrets of each connection, a line at a time without its
  // newline, in the format of key log files that Wireshark reads. A line is
  // enough to decrypt its connection. Null: secrets are not given out. Called
  // on the thread of the connection, several at a time if several threads use
  // the context.
  std::function<void(std::string_view line)> key_log = nullptr;

  // What the server shows: the one for the name that the client asks for, or
  // else the first. A certificate is for its names(): "example.org", and
  // "*.example.org" for one label more. An exact name wins over a wildcard. Of
  // several for the same name, the first is shown whose key_type() the client
  // takes: ECDSA and behind it RSA for old clients. At least one, unless
  // `choose` is set.
  std::vector<TlsCertificate> certificates = {};

  TlsUnknownName unknown_name = TlsUnknownName::kFirst;

  // Asked for each client instead, as when certificates are kept elsewhere; see
  // TlsChoice. Called on the thread of the connection, several at a time if
  // several threads use the context.
  std::function<void(const TlsClientHello& hello, TlsChoice choice)> choose =
      nullptr;

  TlsClientCertificates client_certificates = TlsClientCertificates::kNone;
  // Who may vouch for clients. Required, unless client_certificates is kNone.
  std::optional<TlsTrust> trust = std::nullopt;
  // The most that a client's certificate and those behind it may have together,
  // and so what each handshake may have in memory; beyond it, the handshake
  // fails before they are read. At least 16 KiB, which a client may always
  // send. 32 KiB is room for ten certificates with RSA or four that hold
  // against quantum computers, while 1,024 handshakes
  // (ListenOptions::max_handshakes) have no more than 32 MiB.
  size_t max_peer_chain_bytes = size_t{32} << 10;

  // Clients that come back may resume their session.
  bool tickets = true;
  // Null: keys of this context alone, made with it. Contexts that follow one
  // another, or that each worker makes for itself, need common ones.
  std::shared_ptr<TlsTicketKeys> ticket_keys = nullptr;

  // Takes what a client that resumes sends before the handshake is done (0-RTT,
  // RFC 8446, section 8). An attacker who has recorded those bytes can send
  // them again, and the server accepts them again. Use it only for requests
  // that may safely be repeated.
  // TlsInfo::is_early() tells. A stream that is ended before the rest of the
  // client's handshake has come ends without close_notify.
  bool early_data = false;
};

struct TlsClientOptions {
  // As of a server, see TlsServerOptions. A client offers them, and the server
  // decides; one that takes none of the protocols may go on without.
  TlsVersion min_version = TlsVersion::kTls12;
  TlsVersion max_version = TlsVersion::kTls13;
  std::string ciphers = kTlsDefaultCiphers;
  std::vector<std::string> groups = {kTlsDefaultGroups.begin(),
                                     kTlsDefaultGroups.end()};
  std::vector<std::string> alpn = {};
  std::function<void(std::string_view line)> key_log = nullptr;

  // Who may vouch for servers. Absent: TlsTrust::System(). The name of the host
  // is checked as well, unless it is Insecure().
  std::optional<TlsTrust> trust = std::nullopt;

  // As of a server. It is the client that has chosen whom to ask, and some
  // servers have certificates with hundreds of names.
  size_t max_peer_chain_bytes = size_t{100} << 10;

  // Shown to a server that asks for one.
  std::optional<TlsCertificate> certificate = std::nullopt;

  // What the server must be called, instead of the host that is connected to.
  std::string server_name = {};

  // Keeps the tickets of servers, for how many of them, and resumes sessions.
  // 0: none.
  size_t max_sessions = 1024;
};

}  // namespace fio

#endif  // FIO_TLS_TLS_OPTIONS_H_
