// An AddressRange is a block of IP addresses, such as 10.0.0.0/8, one address,
// or all Unix sockets: for lists of peers that are trusted.
//
//   absl::StatusOr<AddressRange> range = AddressRange::Parse("10.0.0.0/8");
//   if (range.ok() && range->Contains(peer)) ...
//
// Thread safety: as an int.

#ifndef FIO_SOCK_ADDRESS_RANGE_H_
#define FIO_SOCK_ADDRESS_RANGE_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "fio/sock/socket_address.h"

namespace fio {

class AddressRange {
 public:
  // "10.0.0.0/8", "192.0.2.7", "fd00::/8", "::1"; "0.0.0.0/0" and "::/0" are
  // all addresses of their family. "unix:" is every Unix socket, whatever its
  // name. Errors: kInvalidArgument, which quotes `text`, if it is none of
  // these, or if a bit behind the length is set ("10.0.0.1/8"). An IPv4 address
  // must not be written as an IPv6 one ("::ffff:10.0.0.0/104"): it is IPv4
  // everywhere in fio.
  static absl::StatusOr<AddressRange> Parse(std::string_view text);

  // Whether the IP address, or the Unix socket, is in it. The port and the
  // scope do not matter. False for no address.
  bool Contains(const SocketAddress& address) const;

  // As Parse() takes it, with the length, unless it is that of one address.
  std::string ToString() const;

  friend bool operator==(const AddressRange&, const AddressRange&) = default;

 private:
  AddressRange() = default;

  SocketAddress first_;
  int bits_ = 0;  // How many of the first ones count.
};

}  // namespace fio

#endif  // FIO_SOCK_ADDRESS_RANGE_H_
