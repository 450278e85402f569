// The header of the PROXY protocol, versions 1 and 2. A proxy that forwards a
// connection sends it before the first byte of its client, so that the server
// knows the client's address:
//
//   PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n        version 1, a line
//   \r\n\r\n\0\r\nQUIT\n and at least four bytes           version 2, binary
//
// Here are the header as a value, ParseProxyHeader(), which finds it in bytes,
// and MakeProxyHeader(), which makes its bytes. Nothing here reads or writes a
// socket.
//
// A header says whatever its sender likes. So accept it only from peers that
// are trusted, and demand it from each of them: a server that looks whether
// there is one lets every client choose its own address.
//
// Specification: proxy-protocol.txt of HAProxy.
//
// Thread safety: a ProxyHeader as a std::string; the functions any thread.

#ifndef FIO_SOCK_PROXY_HEADER_H_
#define FIO_SOCK_PROXY_HEADER_H_

#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/sock/proxy_tlvs.h"
#include "fio/sock/socket_address.h"

namespace fio {

struct ProxyHeader {
  enum class Version : uint8_t { kV1 = 1, kV2 = 2 };
  enum class Command : uint8_t {
    kLocal = 0,  // The proxy speaks for itself, for example to ask whether the
                 // server is alive. Version 2 only.
    kProxy = 1,  // It speaks for a client.
  };
  enum class SocketType : uint8_t { kStream = 1, kDatagram = 2 };

  // Whether `source` and `destination` are there, to be used instead of the
  // socket's own addresses. False for kLocal, and for a proxy that cannot say
  // them (UNKNOWN of version 1, UNSPEC of version 2).
  bool has_addresses() const {
    return command == Command::kProxy && source.family() != AF_UNSPEC;
  }

  friend bool operator==(const ProxyHeader&, const ProxyHeader&) = default;

  Version version = Version::kV2;
  Command command = Command::kProxy;
  // Of the client's connection to the proxy. Means nothing without addresses.
  SocketType socket_type = SocketType::kStream;
  // Version 2 only: whether a checksum (CRC32c) is in the header.
  bool checksum = false;
  // The client, and where it connected to. Both are IP addresses, or both are
  // Unix sockets, or neither is there. One may be IPv4 and the other IPv6.
  SocketAddress source = {};
  SocketAddress destination = {};
  // Version 2 only.
  ProxyTlvs tlvs = {};
};

struct ProxyHeaderOptions {
  enum class Versions : uint8_t { kV1 = 1, kV2 = 2, kBoth = 3 };

  // The longest header that can be accepted: a buffer of so many bytes is
  // enough.
  size_t max_bytes() const {
    return versions == Versions::kV1   ? kMaxV1Bytes
           : versions == Versions::kV2 ? max_v2_bytes
                                       : std::max(kMaxV1Bytes, max_v2_bytes);
  }

  // The specification's limit for version 1, with its CRLF.
  static constexpr size_t kMaxV1Bytes = 107;

  // Which versions are accepted.
  Versions versions = Versions::kBoth;

  // The limit of a whole header of version 2, whose length field would allow
  // 65551 bytes. Unix addresses and every registered TLV with a long value need
  // about 900 (the host 258, the unique id 131, SSL 200 to 300), and proxies
  // add TLVs of their own. It is also the memory that each connection can cost
  // before its header is whole.
  size_t max_v2_bytes = 4096;
};

// What ParseProxyHeader() found.
struct [[nodiscard]] ProxyHeaderResult {
  enum class Kind : uint8_t {
    kNeedsMore,  // So far this may become a header.
    kHeader,     // The bytes begin with a header.
    kInvalid,    // They do not, whatever follows. Close the connection.
  };

  Kind kind = Kind::kNeedsMore;
  // kHeader: the size of the header. What follows comes from the client.
  // kNeedsMore: the header has at least so many bytes, which is more than have
  // arrived. Who never reads more than this takes no byte of the client's.
  size_t bytes = 0;
  ProxyHeader header;  // kHeader.
  // kInvalid: kInvalidArgument, with the fault and its offset, as in "PROXY
  // header, byte 12: version 3 instead of 2".
  absl::Status error;
};

// Looks for a header at the beginning of `bytes`, which are all that have
// arrived on a connection so far. As long as it says kNeedsMore, call it again
// when there are more: they change no other answer. What is behind the header
// is not looked at.
//
// The time is bounded by the size of the header, and constant while a header of
// version 2 is not whole. kNeedsMore and a header without TLVs cost no
// allocation; all TLVs together cost one.
//
// What the specification leaves open is decided so:
// - The block behind the 16 bytes of a LOCAL header is skipped, whatever it is.
// - A header has no addresses if its family or its transport is UNSPEC. If both
//   are, the block must be TLVs. If one is, nobody can say where the addresses
//   end, and the block is skipped.
// - A registered TLV that is there twice is invalid: two readers could believe
//   two different things.
// - An IPv6 address of version 1 may be written "::ffff:192.0.2.7", as many
//   senders do. It is an IPv4 address then, as everywhere in SocketAddress.
// - A line of version 1 has one CR and one LF, at its end. That holds for the
//   ignored part of an UNKNOWN line, too.
ProxyHeaderResult ParseProxyHeader(std::string_view bytes,
                                   const ProxyHeaderOptions& options = {});

// Returns the bytes of `header`. ParseProxyHeader() makes an equal header of
// them, except that the scope of an IPv6 address is left out, since it has no
// meaning on another machine. The checksum is the first TLV: so a corrupted
// length that cuts off TLVs does not cut off the checksum with them.
//
// Errors: kInvalidArgument if
// - source and destination are of different kinds;
// - version 1 should say LOCAL, a datagram, Unix addresses, a checksum or TLVs;
// - LOCAL should have addresses, a checksum or TLVs;
// - it has more than 65551 bytes;
// - an abstract Unix name ends in a zero byte, which would look like padding.
absl::StatusOr<std::string> MakeProxyHeader(const ProxyHeader& header);

}  // namespace fio

#endif  // FIO_SOCK_PROXY_HEADER_H_
