// The ancillary data of datagrams: where one was sent to, from where one is to
// be sent, and ECN (cmsg(3), ip(7), ipv6(7)).

#ifndef FIO_SOCK_INTERNAL_DATAGRAM_CONTROL_H_
#define FIO_SOCK_INTERNAL_DATAGRAM_CONTROL_H_

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstddef>

#include "fio/sock/datagram_socket.h"
#include "fio/sock/socket_address.h"

namespace fio::sock_internal {

// Memory for that of one datagram: a destination, and ECN in the form of either
// family.
struct Control {
  static constexpr size_t kBytes =
      CMSG_SPACE(sizeof(in6_pktinfo)) + 2 * CMSG_SPACE(sizeof(int));
  alignas(cmsghdr) char bytes[kBytes];
};

// Sets `to`, `interface_index` and `ecn` of `datagram` to what recvmsg(2) has
// put into `message`; what it has not, to none.
void ReadControl(msghdr& message, IncomingDatagram& datagram);

// Has sendmsg(2) send `message` from there. `control` must live until then.
// REQUIRES: `from` is an IP address.
void WriteSource(msghdr& message, Control& control, const SocketAddress& from);

}  // namespace fio::sock_internal

#endif  // FIO_SOCK_INTERNAL_DATAGRAM_CONTROL_H_
