#include "fio/sock/socket_address.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

TEST(SocketAddress, PrintsAsItIsWritten) {
  EXPECT_EQ(SocketAddress::FromIp("127.0.0.1", 3000)->ToString(),
            "127.0.0.1:3000");
  EXPECT_EQ(SocketAddress::FromIp("::1", 0)->ToString(), "[::1]:0");
  EXPECT_EQ(SocketAddress::FromIp("::1", 80)->port(), 80);
}

TEST(SocketAddress, MappedIpv4ReadsAsIpv4) {
  EXPECT_EQ(SocketAddress::FromIp("::ffff:10.1.2.3", 7)->ToString(),
            "10.1.2.3:7");
}

TEST(SocketAddress, NoneIsEmpty) {
  const SocketAddress none;
  EXPECT_EQ(none.family(), AF_UNSPEC);
  EXPECT_EQ(none.port(), 0);
  EXPECT_EQ(none.size(), 0u);
  EXPECT_EQ(none.ToString(), "");
  EXPECT_EQ(none, SocketAddress());
}

TEST(SocketAddress, ComparesFamilyAddressAndPort) {
  const SocketAddress address = *SocketAddress::FromIp("127.0.0.1", 1);
  EXPECT_EQ(address, *SocketAddress::FromIp("127.0.0.1", 1));
  EXPECT_NE(address, *SocketAddress::FromIp("127.0.0.1", 2));
  EXPECT_NE(address, *SocketAddress::FromIp("127.0.0.2", 1));
  EXPECT_NE(address, *SocketAddress::FromIp("::1", 1));
  EXPECT_EQ(*SocketAddress::FromIp("::1", 1), *SocketAddress::FromIp("::1", 1));
}

TEST(SocketAddress, SystemFormRoundTrips) {
  for (const char* ip : {"192.0.2.7", "2001:db8::7"}) {
    const SocketAddress address = *SocketAddress::FromIp(ip, 443);
    const absl::StatusOr<SocketAddress> copy =
        SocketAddress::FromSockaddr(address.data(), address.size());
    ASSERT_TRUE(copy.ok()) << copy.status();
    EXPECT_EQ(*copy, address);
    EXPECT_EQ(copy->ip(), ip);
  }
}

TEST(SocketAddress, RefusesNamesAndForeignFamilies) {
  for (const char* text : {"localhost", "", "127.0.0.1:80", "[::1]", "1.2.3"}) {
    EXPECT_TRUE(
        absl::IsInvalidArgument(SocketAddress::FromIp(text, 1).status()))
        << text;
  }
  sockaddr_un local = {};
  local.sun_family = AF_UNIX;
  EXPECT_TRUE(absl::IsInvalidArgument(
      SocketAddress::FromSockaddr(reinterpret_cast<const sockaddr*>(&local),
                                  sizeof(local))
          .status()));
  const SocketAddress address = *SocketAddress::FromIp("::1", 1);
  EXPECT_TRUE(absl::IsInvalidArgument(
      SocketAddress::FromSockaddr(address.data(), address.size() - 1)
          .status()));
}

}  // namespace
}  // namespace fio
