#include "fio/sock/internal/datagram_control.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <cstring>

#include "fio/sock/datagram_socket.h"
#include "fio/sock/socket_address.h"

namespace fio::sock_internal {
namespace {

template <typename Info>
Info Contents(const cmsghdr* header) {
  Info info;
  std::memcpy(&info, CMSG_DATA(header), sizeof(info));
  return info;
}

SocketAddress AddressOf(const in_addr& ip) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr = ip;
  return SocketAddress::FromSockaddr(
             reinterpret_cast<const sockaddr*>(&address), sizeof(address))
      .value_or(SocketAddress());
}

SocketAddress AddressOf(const in6_addr& ip, unsigned interface_index) {
  sockaddr_in6 address = {};
  address.sin6_family = AF_INET6;
  address.sin6_addr = ip;
  if (IN6_IS_ADDR_LINKLOCAL(&ip)) address.sin6_scope_id = interface_index;
  return SocketAddress::FromSockaddr(
             reinterpret_cast<const sockaddr*>(&address), sizeof(address))
      .value_or(SocketAddress());
}

bool Is(const cmsghdr* header, int level, int type) {
  return header->cmsg_level == level && header->cmsg_type == type;
}

template <typename Info>
void WriteControl(msghdr& message, Control& control, int level, int type,
                  const Info& info) {
  std::memset(control.bytes, 0, sizeof(control.bytes));
  message.msg_control = control.bytes;
  message.msg_controllen = CMSG_SPACE(sizeof(info));
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = level;
  header->cmsg_type = type;
  header->cmsg_len = CMSG_LEN(sizeof(info));
  std::memcpy(CMSG_DATA(header), &info, sizeof(info));
}

}  // namespace

void ReadControl(msghdr& message, IncomingDatagram& datagram) {
  datagram.to = SocketAddress();
  datagram.interface_index = 0;
  datagram.ecn = Ecn::kNotEct;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (Is(header, IPPROTO_IP, IP_PKTINFO)) {
      const auto info = Contents<in_pktinfo>(header);
      datagram.interface_index = static_cast<unsigned>(info.ipi_ifindex);
      datagram.to = AddressOf(info.ipi_addr);
    } else if (Is(header, IPPROTO_IPV6, IPV6_PKTINFO)) {
      const auto info = Contents<in6_pktinfo>(header);
      datagram.interface_index = info.ipi6_ifindex;
      datagram.to = AddressOf(info.ipi6_addr, info.ipi6_ifindex);
    } else if (Is(header, IPPROTO_IP, IP_TOS)) {
      datagram.ecn = static_cast<Ecn>(Contents<uint8_t>(header) & 3);
    } else if (Is(header, IPPROTO_IPV6, IPV6_TCLASS)) {
      datagram.ecn = static_cast<Ecn>(Contents<int>(header) & 3);
    }
  }
}

void WriteSource(msghdr& message, Control& control, const SocketAddress& from) {
  if (from.family() == AF_INET) {
    in_pktinfo info = {};
    info.ipi_spec_dst =
        reinterpret_cast<const sockaddr_in*>(from.data())->sin_addr;
    WriteControl(message, control, IPPROTO_IP, IP_PKTINFO, info);
  } else {
    const auto* address = reinterpret_cast<const sockaddr_in6*>(from.data());
    in6_pktinfo info = {};
    info.ipi6_addr = address->sin6_addr;
    info.ipi6_ifindex = address->sin6_scope_id;
    WriteControl(message, control, IPPROTO_IPV6, IPV6_PKTINFO, info);
  }
}

}  // namespace fio::sock_internal
