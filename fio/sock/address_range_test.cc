#include "fio/sock/address_range.h"

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/sock/socket_address.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using ::testing::HasSubstr;

bool Contains(std::string_view range, std::string_view address) {
  const absl::StatusOr<AddressRange> parsed = AddressRange::Parse(range);
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  const absl::StatusOr<SocketAddress> one = SocketAddress::Parse(address);
  EXPECT_TRUE(one.ok()) << one.status();
  return parsed->Contains(*one);
}

TEST(AddressRange, ContainsWhatItsFirstBitsSay) {
  const struct {
    const char* range;
    const char* inside[3];
    const char* outside[3];
  } cases[] = {
      {"10.0.0.0/8",
       {"10.0.0.0:1", "10.255.255.255:1", "10.1.2.3:65535"},
       {"9.255.255.255:1", "11.0.0.0:1", "[::1]:1"}},
      {"192.0.2.128/25",
       {"192.0.2.128:1", "192.0.2.255:1", "192.0.2.200:1"},
       {"192.0.2.127:1", "192.0.3.128:1", "unix:"}},
      {"192.0.2.7",
       {"192.0.2.7:1", "192.0.2.7:2", "192.0.2.7:0"},
       {"192.0.2.6:1", "192.0.2.8:1", "[::1]:1"}},
      {"0.0.0.0/0",
       {"0.0.0.0:1", "255.255.255.255:1", "127.0.0.1:1"},
       {"[::1]:1", "[2001:db8::1]:1", "unix:"}},
      {"172.16.0.0/12",
       {"172.16.0.1:1", "172.31.255.255:1", "172.20.0.0:1"},
       {"172.15.255.255:1", "172.32.0.0:1", "173.16.0.0:1"}},
      {"fd00::/8",
       {"[fd00::1]:1", "[fdff::1]:1", "[fd12:3456::1]:1"},
       {"[fc00::1]:1", "[fe80::1]:1", "10.0.0.1:1"}},
      {"2001:db8:8000::/33",
       {"[2001:db8:8000::1]:1", "[2001:db8:ffff::1]:1", "[2001:db8:a000::]:1"},
       {"[2001:db8:7fff::1]:1", "[2001:db9:8000::1]:1", "[::1]:1"}},
      {"::1",
       {"[::1]:1", "[::1]:2", "[::1]:3"},
       {"[::2]:1", "[::]:1", "unix:"}},
      {"::/0",
       {"[::1]:1", "[ffff::1]:1", "[fe80::1%2]:1"},
       {"127.0.0.1:1", "0.0.0.0:1", "unix:"}},
      {"fe80::/10",
       {"[fe80::1%2]:1", "[febf::1]:1", "[fe80::1]:1"},
       {"[fec0::1]:1", "[fe7f::1]:1", "[::]:1"}},
      {"unix:",
       {"unix:", "@name", "/run/x.sock"},
       {"127.0.0.1:1", "[::1]:1", "0.0.0.0:0"}},
  };
  for (const auto& c : cases) {
    for (const char* address : c.inside) {
      EXPECT_TRUE(Contains(c.range, address)) << c.range << " " << address;
    }
    for (const char* address : c.outside) {
      EXPECT_FALSE(Contains(c.range, address)) << c.range << " " << address;
    }
  }
}

TEST(AddressRange, NoAddressIsInNone) {
  for (const char* range : {"0.0.0.0/0", "::/0", "unix:"}) {
    EXPECT_FALSE(AddressRange::Parse(range)->Contains(SocketAddress()));
  }
}

TEST(AddressRange, TextGoesBothWays) {
  for (const char* text : {"10.0.0.0/8", "192.0.2.7", "0.0.0.0/0", "fd00::/8",
                           "::1", "::/0", "unix:"}) {
    EXPECT_EQ(AddressRange::Parse(text)->ToString(), text);
    EXPECT_EQ(*AddressRange::Parse(AddressRange::Parse(text)->ToString()),
              *AddressRange::Parse(text));
  }
  EXPECT_EQ(AddressRange::Parse("192.0.2.7/32")->ToString(), "192.0.2.7");
}

TEST(AddressRange, RefusesWhatItCannotMean) {
  for (const std::string text : {"",
                                 "/",
                                 "/8",
                                 "10.0.0.0/",
                                 "10.0.0.0/33",
                                 "10.0.0.0/-1",
                                 "10.0.0.0/+8",
                                 "10.0.0.0/8/8",
                                 "10.0.0.0/ 8",
                                 "10.0.0.1/8",
                                 "10.0.0.0/08x",
                                 "10.0/8",
                                 "localhost",
                                 "10.0.0.0:80",
                                 "[::1]",
                                 "::1%1",
                                 "fe80::%1/10",
                                 "::/129",
                                 "fd00::1/8",
                                 "::ffff:10.0.0.0/104",
                                 "::ffff:10.0.0.1",
                                 "unix",
                                 "unix:/run/x",
                                 "*",
                                 "10.0.0.0/0x8"}) {
    const absl::Status status = AddressRange::Parse(text).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << text;
    EXPECT_THAT(status.message(), HasSubstr("'" + text + "'"));
  }
  EXPECT_LT(AddressRange::Parse(std::string(1'000'000, '\n'))
                .status()
                .message()
                .size(),
            500u);
}

}  // namespace
}  // namespace fio
