// A Url names where to listen, connect or send: a transport, and a host and
// port or a path.
//
//   tcp://127.0.0.1:3000    tcp://example.org:80    tcp://[::1]:3000
//   tcp4://example.org:80   only IPv4 addresses of the name
//   tcp6://example.org:80   only IPv6 addresses of the name
//   tcp://:3000             no host: every IPv4 address of this machine
//   udp:// udp4:// udp6://  as tcp, for datagrams
//   tls://                  tcp, with TLS; it has no port of its own
//   http:// ws://           tcp, whose port is 80 if there is none
//   https:// wss://         tcp, with TLS, whose port is 443 if there is none
//   unix:///run/x.sock      a Unix socket; also without the scheme: /run/x.sock
//   unix://run/x.sock       one relative to the working directory
//   unix://@name            one in Linux's abstract namespace
//
// A url here is only an address: a user, path or fragment is an error, except
// for a "/" after http://host. The path of a Unix socket is taken byte by byte,
// without escapes.
//
// A query ("?key=value&key=value") is for streams over TCP. It says how to
// listen or connect:
//
//   proxy=v1, v2 or any       the peers are proxies; see
//   proxy_trust=10.0.0.0/8    fio/sock/proxy_options.h
//
// These are for listening; who connects, refuses them. The schemes that need
// TLS (tls, https, wss) have more keys, which with another scheme are an error:
//
//   cert=/etc/app/cert.pem    our certificate, with those that it builds on
//   key=/etc/app/key.pem      its private key
//   ca=/etc/app/ca.pem        who may have signed the peer's certificate
//   self_signed=...           our certificate is made at the start, and nobody
//                             has signed it; for listening only
//   server_name=example.org   the name of the server, if it is not the host
//   alpn=h2,http/1.1          protocols of the application, best first
//
// What a value may be, and what it means, is a matter of who uses it: here it
// is not checked. Another key is an error, and so is one that is there twice or
// has no value. There are no escapes: a '%' is an error, and a value may have
// any other printable character but '&' and '#'.
//
// "localhost", and every name that ends in ".localhost", is this machine: it
// means 127.0.0.1 and then ::1, of these the one that the scheme allows. The
// same holds for listening, connecting and resolving. No name server is asked
// and /etc/hosts is not read (RFC 6761, section 6.3). So a server at
// tcp://localhost:3000 listens on 127.0.0.1, if that can be bound, and a client
// of that url tries both.
//
// Only the text is checked here. Resolve() (fio/sock/resolve.h) finds the
// addresses.
//
// Thread safety: as a std::string.

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
  enum class Scheme : uint8_t {
    kTcp,
    kTcp4,
    kTcp6,
    kUdp,
    kUdp4,
    kUdp6,
    kTls,
    kHttp,
    kHttps,
    kWs,
    kWss,
    kUnix,
  };
  // The kind of socket: TCP, UDP, or a Unix stream.
  enum class Kind : uint8_t { kStream, kDatagram, kUnix };

  // Errors: kInvalidArgument, with `text` and what is wrong with it.
  static absl::StatusOr<Url> Parse(std::string_view text);

  // What is wrong with `text`, for a message that names it; empty if nothing.
  static std::string WhatIsWrong(std::string_view text);

  Scheme scheme() const { return scheme_; }
  Kind kind() const;

  // Without the brackets of an IPv6 literal; may be empty.
  const std::string& host() const { return host_; }
  // The port in the text, 0 to 65535, or absent.
  std::optional<uint16_t> port() const { return port_; }
  // Whether the host is "localhost" or ends in ".localhost", see above.
  bool is_localhost() const;
  // Whether the scheme needs TLS: tls, https, wss.
  bool is_secure() const;
  // The scheme's own port, 80 or 443, or absent.
  std::optional<uint16_t> default_port() const;

  // The path of a Unix socket, or "@" and its abstract name; otherwise empty.
  const std::string& path() const { return path_; }

  // The value of a key of the query, if it is there. Valid as long as the url.
  std::optional<std::string_view> Find(std::string_view key) const;
  // Without the '?'; empty if there is none.
  const std::string& query() const { return query_; }

  // Whom the keys of the query are for, see above.
  enum class Keys : uint8_t { kOfListening, kOfTls };
  // The first key of `keys` that the query has; empty if it has none. Valid for
  // ever.
  std::string_view FindAny(Keys keys) const;

  // The text; Parse() makes an equal Url of it.
  std::string ToString() const;

  // As ToString(), for absl::StrCat(), absl::StrFormat("%v") and logging.
  template <typename Sink>
  friend void AbslStringify(Sink& sink, const Url& url) {
    sink.Append(url.ToString());
  }

  friend bool operator==(const Url&, const Url&) = default;

 private:
  Url() = default;

  // Each returns what is wrong with the text, or nothing.
  std::string Set(std::string_view text);
  std::string SetHostAndPort(std::string_view text);
  std::string SetPath(std::string_view text);
  std::string SetQuery(std::string_view text);

  Scheme scheme_ = Scheme::kTcp;
  std::string host_;
  std::optional<uint16_t> port_;
  std::string path_;
  std::string query_;
};

}  // namespace fio

#endif  // FIO_SOCK_URL_H_
