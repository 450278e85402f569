// A TlsPeerCertificate is what the other side of a connection has shown: see
// TlsInfo. Its fields say what is written in it, whether or not it is trusted.
//
// Thread safety: as a std::string.

#ifndef FIO_TLS_TLS_PEER_CERTIFICATE_H_
#define FIO_TLS_TLS_PEER_CERTIFICATE_H_

#include <string>
#include <vector>

#include "absl/time/time.h"

namespace fio {

struct TlsPeerCertificate {
  // As RFC 2253 writes it: "CN=example.org,O=Example".
  std::string subject;
  std::string issuer;
  // What it is for: names of hosts, in lower case, and IP addresses.
  std::vector<std::string> names;
  absl::Time not_before;
  absl::Time not_after;
  std::string serial;  // Hexadecimal digits.
  // SHA-256 of the certificate: 64 hexadecimal digits.
  std::string fingerprint;
  // All that was shown, this one first, in DER.
  std::vector<std::string> chain_der;
};

}  // namespace fio

#endif  // FIO_TLS_TLS_PEER_CERTIFICATE_H_
