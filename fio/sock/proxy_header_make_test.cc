// MakeProxyHeader(), and that it and ParseProxyHeader() agree.

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "fio/sock/proxy_header.h"
#include "fio/sock/proxy_header_test_util.h"
#include "fio/sock/proxy_tlvs.h"
#include "fio/sock/socket_address.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using Command = ProxyHeader::Command;
using Kind = ProxyHeaderResult::Kind;
using SocketType = ProxyHeader::SocketType;
using Version = ProxyHeader::Version;

SocketAddress Address(std::string_view text) {
  return text.empty() ? SocketAddress() : *SocketAddress::Parse(text);
}

ProxyHeader Header(Version version, std::string_view source,
                   std::string_view destination) {
  ProxyHeader header;
  header.version = version;
  header.source = Address(source);
  header.destination = Address(destination);
  return header;
}

// The bytes, or the message of the error.
std::string Make(const ProxyHeader& header) {
  const absl::StatusOr<std::string> made = MakeProxyHeader(header);
  if (made.ok()) return *made;
  EXPECT_TRUE(absl::IsInvalidArgument(made.status()));
  return std::string(made.status().message());
}

TEST(ProxyHeader, VersionOneIsALine) {
  struct {
    std::string_view source;
    std::string_view destination;
    std::string_view line;
  } cases[] = {
      {"192.0.2.7:56324", "198.51.100.1:443",
       "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n"},
      {"[2001:db8::7]:1", "[::]:65535",
       "PROXY TCP6 2001:db8::7 :: 1 65535\r\n"},
      // No dots in IPv6 addresses, though inet_ntop() writes some.
      {"192.0.2.7:1", "[::1]:2", "PROXY TCP6 ::ffff:c000:207 ::1 1 2\r\n"},
      {"[::1]:1", "0.0.0.0:2", "PROXY TCP6 ::1 ::ffff:0:0 1 2\r\n"},
      {"[::1.2.3.4]:1", "[::1]:2", "PROXY TCP6 ::102:304 ::1 1 2\r\n"},
      // A scope has no meaning on another machine.
      {"[fe80::1%2]:1", "[fe80::2%2]:2", "PROXY TCP6 fe80::1 fe80::2 1 2\r\n"},
      {"", "", "PROXY UNKNOWN\r\n"},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(Make(Header(Version::kV1, c.source, c.destination)), c.line);
  }
}

TEST(ProxyHeader, VersionTwoIsBinary) {
  ProxyHeader header =
      Header(Version::kV2, "192.0.2.7:56324", "198.51.100.1:443");
  EXPECT_EQ(Make(header), V2(0x21, 0x11, Ipv4Block()));
  header.socket_type = SocketType::kDatagram;
  EXPECT_EQ(Make(header), V2(0x21, 0x12, Ipv4Block()));
  header = Header(Version::kV2, "[2001:db8::7]:56324", "[2001:db8::1]:443");
  EXPECT_EQ(Make(header), V2(0x21, 0x21, Ipv6Block()));
  header = Header(Version::kV2, "/run/a", "@b");
  EXPECT_EQ(Make(header),
            V2(0x21, 0x31, UnixBlock("/run/a", std::string("\0b", 2))));
  header = Header(Version::kV2, "unix:", "unix:" + std::string(108, 'x'));
  EXPECT_EQ(Make(header), V2(0x21, 0x31, UnixBlock("", std::string(108, 'x'))));
  EXPECT_EQ(Make(ProxyHeader()), V2(0x21, 0x00, ""));
  header = ProxyHeader();
  header.command = Command::kLocal;
  EXPECT_EQ(Make(header), V2(0x20, 0x00, ""));
}

TEST(ProxyHeader, AddressesOfBothFamiliesAreIpv6) {
  const std::string mapped =
      std::string(10, '\0') + "\xff\xff\xc0" + std::string("\0\x02\x07", 3);
  const std::string one = std::string(15, '\0') + "\x01";
  const std::string ports("\0\x01\0\x02", 4);
  EXPECT_EQ(Make(Header(Version::kV2, "192.0.2.7:1", "[::1]:2")),
            V2(0x21, 0x21, mapped + one + ports));
  EXPECT_EQ(Make(Header(Version::kV2, "[::1]:1", "192.0.2.7:2")),
            V2(0x21, 0x21, one + mapped + ports));
}

TEST(ProxyHeader, TlvsFollowTheChecksum) {
  ProxyHeader header =
      Header(Version::kV2, "192.0.2.7:56324", "198.51.100.1:443");
  header.checksum = true;
  ASSERT_TRUE(header.tlvs.Add(ProxyTlvs::kAlpn, "h2").ok());
  ASSERT_TRUE(header.tlvs.Add(ProxyTlvs::kAuthority, "www.example").ok());
  ASSERT_TRUE(header.tlvs.Add(ProxyTlvs::kUniqueId, "id-7").ok());
  ASSERT_TRUE(header.tlvs
                  .AddSsl({.client = 7,
                           .verify = 0,
                           .version = "TLSv1.3",
                           .common_name = "client.example",
                           .cipher = "AES128-SHA256",
                           .signature_algorithm = "SHA256",
                           .key_algorithm = "RSA2048"})
                  .ok());
  ASSERT_TRUE(header.tlvs.Add(ProxyTlvs::kNetns, "ns1").ok());
  ASSERT_TRUE(header.tlvs.Add(0xe0, std::string_view("a\0b", 3)).ok());
  EXPECT_EQ(Make(header), FullHeader());
}

// A value that any CRC32c must give, and where it stands.
TEST(ProxyHeader, TheChecksumIsCrc32c) {
  ASSERT_EQ(Crc32c("123456789"), 0xe3069283);
  ProxyHeader header =
      Header(Version::kV2, "192.0.2.7:56324", "198.51.100.1:443");
  header.checksum = true;
  EXPECT_EQ(
      absl::BytesToHexString(Make(header)),
      "0d0a0d0a000d0a515549540a21110013c0000207c6336401dc0401bb030004548e28ff");
}

TEST(ProxyHeader, IsNotMadeOfWhatItCannotSay) {
  const auto with = [](ProxyHeader header, auto change) {
    change(header);
    return header;
  };
  const ProxyHeader v1 = Header(Version::kV1, "192.0.2.7:1", "192.0.2.1:2");
  const ProxyHeader v2 = Header(Version::kV2, "192.0.2.7:1", "192.0.2.1:2");
  const ProxyHeader none = ProxyHeader();
  const auto local = [](ProxyHeader& h) { h.command = Command::kLocal; };
  const auto checksum = [](ProxyHeader& h) { h.checksum = true; };
  const auto datagram = [](ProxyHeader& h) {
    h.socket_type = SocketType::kDatagram;
  };
  const auto tlv = [](ProxyHeader& h) { EXPECT_TRUE(h.tlvs.Add(1, "").ok()); };
  const std::string not_local = "LOCAL has no addresses, checksum or TLVs";
  const std::string padding = " ends in a zero byte, which would be padding";
  struct {
    ProxyHeader header;
    std::string what;
  } cases[] = {
      {with(v1, local), "version 1 cannot say LOCAL"},
      {with(v1, checksum), "version 1 cannot say a checksum"},
      {with(v1, datagram), "version 1 cannot say a datagram"},
      {with(v1, tlv), "version 1 cannot say TLVs"},
      {Header(Version::kV1, "/a", "/b"), "version 1 cannot say Unix addresses"},
      {with(v2, local), not_local},
      {with(with(none, local), checksum), not_local},
      {with(with(none, local), tlv), not_local},
      {Header(Version::kV2, "192.0.2.7:1", "/b"),
       "source '192.0.2.7:1' and destination '/b' are of different kinds"},
      {Header(Version::kV1, "", "[::1]:1"),
       "source '' and destination '[::1]:1' are of different kinds"},
      {Header(Version::kV2, "@a\\x00", "/b"), "@a\\x00" + padding},
      {Header(Version::kV2, "/b", "@"), "@" + padding},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(Make(c.header), "PROXY header: " + c.what);
  }
}

TEST(ProxyHeader, IsNotMadeLongerThanItsLengthCanSay) {
  ProxyHeader header = Header(Version::kV2, "192.0.2.7:1", "192.0.2.1:2");
  ASSERT_TRUE(header.tlvs.Add(0xe0, std::string(65535 - 12 - 3, 'x')).ok());
  EXPECT_EQ(Make(header).size(), 65551u);
  header.checksum = true;
  EXPECT_EQ(Make(header),
            "PROXY header: it would have 65558 bytes, but 65551 are the most");
  header.checksum = false;
  ASSERT_TRUE(header.tlvs.Add(0xe0, "").ok());
  EXPECT_EQ(Make(header),
            "PROXY header: it would have 65554 bytes, but 65551 are the most");
}

TEST(ProxyHeader, IsParsedAsItWasMade) {
  const std::string_view addresses[] = {"0.0.0.0:0",
                                        "255.255.255.255:65535",
                                        "[::]:0",
                                        "[::1]:1",
                                        "[::1.2.3.4]:80",
                                        "[ffff:ffff::ffff]:65535",
                                        "192.0.2.7:1",
                                        "/run/x",
                                        "unix:relative",
                                        "@abstract",
                                        "@\\x00z",
                                        "unix:",
                                        ""};
  int made = 0;
  for (const Version version : {Version::kV1, Version::kV2}) {
    for (const Command command : {Command::kLocal, Command::kProxy}) {
      for (const SocketType type :
           {SocketType::kStream, SocketType::kDatagram}) {
        for (const int tlvs : {0, 1, 2, 3}) {
          for (const std::string_view source : addresses) {
            for (const std::string_view destination : addresses) {
              ProxyHeader header = Header(version, source, destination);
              header.command = command;
              if (header.has_addresses()) header.socket_type = type;
              header.checksum = (tlvs & 1) != 0;
              if ((tlvs & 2) != 0) {
                ASSERT_TRUE(header.tlvs.Add(2, "www.example").ok());
                ASSERT_TRUE(header.tlvs.Add(0xff, "").ok());
              }
              const absl::StatusOr<std::string> bytes = MakeProxyHeader(header);
              if (!bytes.ok()) continue;
              ++made;
              const ProxyHeaderResult result = ParseCopy(*bytes);
              ASSERT_EQ(result.kind, Kind::kHeader) << result.error;
              ASSERT_EQ(result.bytes, bytes->size());
              ASSERT_TRUE(result.header == header) << absl::CHexEscape(*bytes);
            }
          }
        }
      }
    }
  }
  // Pairs: 49 of IP, 25 of Unix, one of none. Version 1: those of IP as
  // streams, UNKNOWN for each type. Version 2: each with each kind of TLVs;
  // LOCAL.
  EXPECT_EQ(made, (49 + 2) + (49 + 25 + 1) * 2 * 4 + 2);
}

}  // namespace
}  // namespace fio
