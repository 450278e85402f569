#include "fio/sock/socket_address.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/hash/hash.h"
#include "absl/hash/hash_testing.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using ::testing::HasSubstr;

constexpr size_t kSunPathBytes = sizeof(sockaddr_un::sun_path);

// As a system call tells a Unix socket's name.
absl::StatusOr<SocketAddress> FromSunPath(std::string_view bytes) {
  sockaddr_storage storage = {};
  auto* local = reinterpret_cast<sockaddr_un*>(&storage);
  local->sun_family = AF_UNIX;
  std::copy(
      bytes.begin(), bytes.end(),
      reinterpret_cast<char*>(&storage) + offsetof(sockaddr_un, sun_path));
  return SocketAddress::FromSockaddr(
      reinterpret_cast<const sockaddr*>(&storage),
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + bytes.size()));
}

TEST(SocketAddress, PrintsAsItIsWritten) {
  EXPECT_EQ(SocketAddress::FromIp("127.0.0.1", 3000)->ToString(),
            "127.0.0.1:3000");
  EXPECT_EQ(SocketAddress::FromIp("::1", 0)->ToString(), "[::1]:0");
  EXPECT_EQ(SocketAddress::FromIp("fe80::1%2", 80)->ToString(),
            "[fe80::1%2]:80");
  EXPECT_EQ(SocketAddress::FromUnixPath("/run/x")->ToString(), "/run/x");
  EXPECT_EQ(SocketAddress::FromUnixPath("x")->ToString(), "unix:x");
  EXPECT_EQ(SocketAddress::FromUnixAbstract("x")->ToString(), "@x");
  EXPECT_EQ(FromSunPath("")->ToString(), "unix:");
}

TEST(SocketAddress, ParsesWhatItPrints) {
  for (const char* text :
       {"127.0.0.1:80", "0.0.0.0:0", "[::1]:65535", "[fe80::1%2]:80",
        "[2001:db8::7%4294967295]:1", "/run/x", "/", "/a\\nb\\\\", "@name", "@",
        "@\\x00\\x00", "@\\xff/", "unix:", "unix:x", "unix:@x",
        "unix:1.2.3.4:5", "unix:unix:"}) {
    const absl::StatusOr<SocketAddress> address = SocketAddress::Parse(text);
    ASSERT_TRUE(address.ok()) << address.status();
    EXPECT_EQ(address->ToString(), text);
    EXPECT_EQ(*SocketAddress::FromSockaddr(address->data(), address->size()),
              *address)
        << text;
  }
}

TEST(SocketAddress, ParsesNothingElse) {
  for (const char* text : {"",
                           "127.0.0.1",
                           "127.0.0.1:",
                           "127.0.0.1:080",
                           "127.0.0.1:+80",
                           "127.0.0.1: 80",
                           "127.0.0.1:65536",
                           "127.0.0.1:4294967376",
                           "::1:80",
                           "[127.0.0.1]:80",
                           "[::1]",
                           "[::1:80",
                           "::1]:80",
                           "[::0]:80",
                           "[::ffff:1.2.3.4]:80",
                           "[fe80::1%0]:80",
                           "[fe80::1%02]:80",
                           "[fe80::1%eth0]:80",
                           "localhost:80",
                           "tcp://127.0.0.1:80",
                           "name",
                           "./name",
                           "/a\nb",
                           "/a\\",
                           "/a\\x00",
                           "@\\X41",
                           "@\\101",
                           "unix:/x",
                           "unix:\\x00"}) {
    const absl::Status status = SocketAddress::Parse(text).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << text;
  }
}

TEST(SocketAddress, MappedIpv4IsIpv4) {
  const SocketAddress mapped = *SocketAddress::FromIp("::ffff:10.1.2.3", 7);
  EXPECT_EQ(mapped, *SocketAddress::FromIp("10.1.2.3", 7));
  EXPECT_EQ(mapped.family(), AF_INET);
  sockaddr_in6 told = {};
  told.sin6_family = AF_INET6;
  told.sin6_port = htons(7);
  told.sin6_addr = {{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 1, 2, 3}}};
  EXPECT_EQ(*SocketAddress::FromSockaddr(
                reinterpret_cast<const sockaddr*>(&told), sizeof(told)),
            mapped);
}

TEST(SocketAddress, TellsItsParts) {
  const SocketAddress ip = *SocketAddress::Parse("[fe80::1%2]:80");
  EXPECT_EQ(ip.family(), AF_INET6);
  EXPECT_EQ(ip.ip(), "fe80::1%2");
  EXPECT_EQ(ip.port(), 80);
  EXPECT_EQ(ip.path(), "");
  const SocketAddress path = *SocketAddress::Parse("/run/\\n");
  EXPECT_EQ(path.family(), AF_UNIX);
  EXPECT_EQ(path.path(), "/run/\n");
  EXPECT_EQ(path.ip(), "");
  EXPECT_EQ(path.port(), 0);
  EXPECT_EQ(SocketAddress::Parse("@name")->path(), "");
  EXPECT_EQ(SocketAddress::Parse("unix:")->path(), "");
}

TEST(SocketAddress, NoneIsEmpty) {
  const SocketAddress none;
  EXPECT_EQ(none.family(), AF_UNSPEC);
  EXPECT_EQ(none.port(), 0);
  EXPECT_EQ(none.size(), 0u);
  EXPECT_EQ(none.ip(), "");
  EXPECT_EQ(none.path(), "");
  EXPECT_EQ(none.ToString(), "");
  EXPECT_EQ(none, SocketAddress());
}

TEST(SocketAddress, EqualAddressesHashAlike) {
  std::vector<SocketAddress> addresses = {SocketAddress()};
  for (const char* text :
       {"127.0.0.1:1", "127.0.0.1:2", "127.0.0.2:1", "[::1]:1", "[::1%1]:1",
        "/x", "/y", "/xx", "unix:x", "@x", "@x\\x00", "@", "unix:"}) {
    addresses.push_back(*SocketAddress::Parse(text));
  }
  addresses.push_back(*SocketAddress::FromIp("::ffff:127.0.0.1", 1));
  EXPECT_TRUE(absl::VerifyTypeImplementsAbslHashCorrectly(addresses));
  for (size_t i = 0; i + 1 < addresses.size(); ++i) {
    for (size_t j = 0; j < i; ++j) EXPECT_NE(addresses[i], addresses[j]);
  }
}

TEST(SocketAddress, WhatIsNotTheAddressDoesNotCount) {
  sockaddr_in ipv4 = {};
  ipv4.sin_family = AF_INET;
  std::fill(std::begin(ipv4.sin_zero), std::end(ipv4.sin_zero), 1);
  EXPECT_EQ(*SocketAddress::FromSockaddr(
                reinterpret_cast<const sockaddr*>(&ipv4), sizeof(ipv4)),
            *SocketAddress::FromIp("0.0.0.0", 0));
  sockaddr_in6 ipv6 = {};
  ipv6.sin6_family = AF_INET6;
  ipv6.sin6_flowinfo = 7;
  EXPECT_EQ(*SocketAddress::FromSockaddr(
                reinterpret_cast<const sockaddr*>(&ipv6), sizeof(ipv6)),
            *SocketAddress::FromIp("::", 0));
  EXPECT_EQ(*FromSunPath(std::string_view("/x\0junk", 7)),
            *SocketAddress::FromUnixPath("/x"));
}

TEST(SocketAddress, AbstractNamesAreAnyBytes) {
  const std::string_view name("a\0\0\n\xff\0", 6);
  const SocketAddress address = *SocketAddress::FromUnixAbstract(name);
  EXPECT_EQ(address, *FromSunPath(std::string("\0", 1).append(name)));
  EXPECT_EQ(address.ToString(), "@a\\x00\\x00\\n\\xff\\x00");
  EXPECT_EQ(*SocketAddress::Parse(address.ToString()), address);
}

TEST(SocketAddress, AFullSunPathIsAPath) {
  const std::string longest(kSunPathBytes, 'x');
  const SocketAddress address = *SocketAddress::FromUnixPath(longest);
  EXPECT_EQ(address.path(), longest);
  EXPECT_EQ(address.size(), sizeof(sockaddr_un));
  EXPECT_EQ(*FromSunPath(longest), address);
  // Linux adds a byte when it tells such a name: unix(7), BUGS.
  EXPECT_EQ(*FromSunPath(longest + '\0'), address);
}

TEST(SocketAddress, ALongerNameIsTooLong) {
  const std::string longest(kSunPathBytes, '/');
  const absl::Status statuses[] = {
      SocketAddress::FromUnixPath(longest + "/").status(),
      SocketAddress::FromUnixAbstract(longest).status(),
      SocketAddress::Parse(longest + "/").status(),
      SocketAddress::FromUnixPath(std::string(100'000, '\n')).status()};
  for (const absl::Status& status : statuses) {
    EXPECT_TRUE(absl::IsInvalidArgument(status));
    EXPECT_THAT(status.message(), HasSubstr("File name too long"));
    EXPECT_LT(status.message().size(), 1'500u);
  }
  EXPECT_TRUE(SocketAddress::FromUnixAbstract(longest.substr(1)).ok());
  EXPECT_FALSE(FromSunPath(longest + "//").ok());
}

TEST(SocketAddress, RefusesNamesAndBadPaths) {
  for (const std::string& text :
       {std::string("localhost"), std::string(), std::string("127.0.0.1:80"),
        std::string("[::1]"), std::string("1.2.3"), std::string("fe80::1%eth0"),
        std::string("::1%"), std::string("1.2.3.4%1"), std::string("::1%+1"),
        std::string("::1\0", 4), std::string("127.0.0.1\0x", 11)}) {
    EXPECT_TRUE(
        absl::IsInvalidArgument(SocketAddress::FromIp(text, 1).status()))
        << text;
  }
  EXPECT_FALSE(SocketAddress::FromUnixPath("").ok());
  EXPECT_FALSE(SocketAddress::FromUnixPath(std::string("/a\0b", 4)).ok());
}

TEST(SocketAddress, RefusesForeignFamiliesAndShortSizes) {
  const sockaddr netlink = {.sa_family = AF_NETLINK, .sa_data = {}};
  EXPECT_TRUE(absl::IsInvalidArgument(
      SocketAddress::FromSockaddr(&netlink, sizeof(netlink)).status()));
  for (const char* text : {"127.0.0.1:1", "[::1]:1"}) {
    const SocketAddress address = *SocketAddress::Parse(text);
    for (socklen_t size = 0; size < address.size(); ++size) {
      EXPECT_FALSE(SocketAddress::FromSockaddr(address.data(), size).ok());
    }
  }
}

}  // namespace
}  // namespace fio
