#include "fio/sock/proxy_header.h"

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "fio/sock/proxy_header_test_util.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using Kind = ProxyHeaderResult::Kind;
using Versions = ProxyHeaderOptions::Versions;

constexpr std::string_view kTcp4 =
    "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n";

std::string Ipv4Header(std::string_view tlvs) {
  return V2(0x21, 0x11, absl::StrCat(Ipv4Block(), tlvs));
}

struct Valid {
  std::string bytes;
  std::string source;  // Empty: the header has no addresses.
  std::string destination;
};

std::vector<Valid> ValidV1() {
  const std::string longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
  return {
      {std::string(kTcp4), "192.0.2.7:56324", "198.51.100.1:443"},
      {"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n", "0.0.0.0:0",
       "255.255.255.255:65535"},
      {"PROXY TCP6 2001:db8::7 ::1 56324 443\r\n", "[2001:db8::7]:56324",
       "[::1]:443"},
      {"PROXY TCP6 :: 2001:0DB8:0:0:0:0:00aB:7 1 2\r\n", "[::]:1",
       "[2001:db8::ab:7]:2"},
      {absl::StrCat("PROXY TCP6 ", longest, " ", longest, " 65535 65535\r\n"),
       absl::StrCat("[", longest, "]:65535"),
       absl::StrCat("[", longest, "]:65535")},
      // As a socket for both families tells its IPv4 peers.
      {"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:c000:201 1 2\r\n", "192.0.2.7:1",
       "192.0.2.1:2"},
      {"PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 1 2\r\n", "192.0.2.7:1",
       "[2001:db8::1]:2"},
      {"PROXY UNKNOWN\r\n", "", ""},
      {"PROXY UNKNOWN \r\n", "", ""},
      {"PROXY UNKNOWN 192.0.2.7 192.0.2.1 1 2\r\n", "", ""},
      {std::string("PROXY UNKNOWN \0\xff  PROXY TCP4\r\n", 30), "", ""},
      {absl::StrCat("PROXY UNKNOWN ", longest, " ", longest,
                    " 65535 65535\r\n"),
       "", ""},
  };
}

std::vector<Valid> ValidV2() {
  const std::string full(108, 'x');
  return {
      {Ipv4Header(""), "192.0.2.7:56324", "198.51.100.1:443"},
      {V2(0x21, 0x12, Ipv4Block()), "192.0.2.7:56324", "198.51.100.1:443"},
      {V2(0x21, 0x21, Ipv6Block()), "[2001:db8::7]:56324", "[2001:db8::1]:443"},
      {V2(0x21, 0x22, Ipv6Block()), "[2001:db8::7]:56324", "[2001:db8::1]:443"},
      {V2(0x21, 0x31, UnixBlock("/run/a", "b")), "/run/a", "unix:b"},
      {V2(0x21, 0x32, UnixBlock(std::string("\0name", 5), "")), "@name",
       "unix:"},
      {V2(0x21, 0x31,
          UnixBlock(full, std::string("/a\0rubbish behind the path", 26))),
       absl::StrCat("unix:", full), "/a"},
      {FullHeader(), "192.0.2.7:56324", "198.51.100.1:443"},
      {V2(0x21, 0x31, UnixBlock("/a", "/b") + Tlv(0x01, "h2")), "/a", "/b"},
      // Two NOOPs, one of them empty.
      {Ipv4Header(Tlv(0x04, "") + Tlv(0x04, std::string(9, '\xff'))),
       "192.0.2.7:56324", "198.51.100.1:443"},
      // Types that are not registered may be there twice.
      {Ipv4Header(Tlv(0xe0, "") + Tlv(0xe0, "") + Tlv(0, "0")),
       "192.0.2.7:56324", "198.51.100.1:443"},
      {Ipv4Header(Tlv(0x05, std::string(128, 'i'))), "192.0.2.7:56324",
       "198.51.100.1:443"},
      // LOCAL: nothing in the block counts.
      {V2(0x20, 0x00, ""), "", ""},
      {V2(0x20, 0x11, Ipv4Block()), "", ""},
      {V2(0x20, 0x11, "short"), "", ""},
      {V2(0x20, 0xff, Tlv(0x03, "wrong")), "", ""},
      // UNSPEC: no addresses. Without a family there may be TLVs.
      {V2(0x21, 0x00, ""), "", ""},
      {V2(0x21, 0x00, Tlv(0x02, "www.example")), "", ""},
      {V2(0x21, 0x01, "rubbish"), "", ""},
      {V2(0x21, 0x02, Tlv(0x02, "www.example")), "", ""},
      {V2(0x21, 0x10, Ipv4Block()), "", ""},
      {V2(0x21, 0x30, ""), "", ""},
  };
}

struct Wrong {
  std::string bytes;
  std::string what;  // The error, without "PROXY header, byte ".
};

std::vector<Wrong> InvalidV1() {
  const std::string no_protocol = "the protocol is none of TCP4, TCP6, UNKNOWN";
  const std::string no_port =
      "is no number from 0 to 65535 without leading zeros";
  const std::string no_end = "106: the line has no CRLF in its 107 bytes";
  const auto tcp4 = [](std::string_view fields) {
    return absl::StrCat("PROXY TCP4 ", fields, "\r\n");
  };
  const auto tcp6 = [](std::string_view address) {
    return absl::StrCat("PROXY TCP6 ", address, " ::1 1 2\r\n");
  };
  return {
      // The beginning.
      {"GET / HTTP/1.1\r\n", "0: no PROXY header begins like this"},
      {"POST", "1: no PROXY header begins like this"},
      {"proxy TCP4 ", "0: no PROXY header begins like this"},
      {"PROXY\tTCP4", "5: no PROXY header begins like this"},
      {"PROXY  TCP4", "6: " + no_protocol},
      {"PROXY tcp4 ", "6: " + no_protocol},
      {"PROXY TCP5 ", "9: " + no_protocol},
      {"PROXY UDP4 ", "7: " + no_protocol},
      {"PROXY TCP44 ", "10: " + no_protocol},
      {"PROXY UNKNOWNS\r\n", "13: " + no_protocol},
      {"PROXY \r\n", "6: " + no_protocol},
      // The end of the line.
      {"PROXY UNKNOWN\n", "13: " + no_protocol},
      {"PROXY UNKNOWN \n", "14: LF without CR before it"},
      {"PROXY UNKNOWN\rx", "13: CR without LF behind it"},
      {"PROXY UNKNOWN a\r\r\n", "15: CR without LF behind it"},
      {"PROXY UNKNOWN a\nb\r\n", "15: LF without CR before it"},
      {"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\n",
       "43: LF without CR before it"},
      {"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r ",
       "43: CR without LF behind it"},
      {"PROXY UNKNOWN " + std::string(92, 'x'), no_end},
      {"PROXY UNKNOWN " + std::string(92, 'x') + "\r\n", no_end},
      {"PROXY TCP4 " + std::string(1000, '1'), no_end},
      // The fields.
      {"PROXY TCP4\r\n", "10: the source address is missing"},
      {tcp4(""), "11: the source address is missing"},
      {tcp4("1.2.3.4"), "18: the destination address is missing"},
      {tcp4("1.2.3.4 5.6.7.8"), "26: the source port is missing"},
      {tcp4("1.2.3.4 5.6.7.8 1"), "28: the destination port is missing"},
      {tcp4("1.2.3.4 5.6.7.8 1 "), "29: the destination port is missing"},
      {tcp4(" 1.2.3.4 5.6.7.8 1 2"), "11: the source address is missing"},
      {tcp4("1.2.3.4  5.6.7.8 1 2"), "19: the destination address is missing"},
      {tcp4("1.2.3.4 5.6.7.8  1 2"), "27: the source port is missing"},
      {tcp4("1.2.3.4 5.6.7.8 1  2"), "29: the destination port is missing"},
      {tcp4("1.2.3.4 5.6.7.8 1 2 "),
       "30: the line goes on behind the destination port"},
      {tcp4("1.2.3.4 5.6.7.8 1 2 3"),
       "30: the line goes on behind the destination port"},
      // Numbers.
      {tcp4("1.2.3 5.6.7.8 1 2"),
       "11: the source address '1.2.3' is no IPv4 address"},
      {tcp4("1.2.3.4.5 5.6.7.8 1 2"),
       "11: the source address '1.2.3.4.5' is no IPv4 address"},
      {tcp4("1.2.3.256 5.6.7.8 1 2"),
       "11: the source address '1.2.3.256' is no IPv4 address"},
      {tcp4("1.2.3.04 5.6.7.8 1 2"),
       "11: the source address '1.2.3.04' is no IPv4 address"},
      {tcp4("1.2.3.4 0x5.6.7.8 1 2"),
       "19: the destination address '0x5.6.7.8' is no IPv4 address"},
      {tcp4("1.2.3.4 ::1 1 2"),
       "19: the destination address '::1' is no IPv4 address"},
      {tcp4("1.2.3.4\t5.6.7.8 1 2"),
       "11: the source address '1.2.3.4\\t5.6.7.8' is no IPv4 address"},
      {tcp4(std::string("1.2.3.4\0 5.6.7.8 1 2", 20)),
       "11: the source address '1.2.3.4\\x00' is no IPv4 address"},
      {tcp4("1.2.3.4 5.6.7.8 01 2"), "27: the source port '01' " + no_port},
      {tcp4("1.2.3.4 5.6.7.8 00 2"), "27: the source port '00' " + no_port},
      {tcp4("1.2.3.4 5.6.7.8 1 65536"),
       "29: the destination port '65536' " + no_port},
      {tcp4("1.2.3.4 5.6.7.8 1 4294967297"),
       "29: the destination port '4294967297' " + no_port},
      {tcp4("1.2.3.4 5.6.7.8 +1 2"), "27: the source port '+1' " + no_port},
      {tcp4("1.2.3.4 5.6.7.8 -1 2"), "27: the source port '-1' " + no_port},
      {tcp4("1.2.3.4 5.6.7.8 a 2"), "27: the source port 'a' " + no_port},
      {tcp6("1.2.3.4"), "11: the source address '1.2.3.4' is no IPv6 address"},
      {tcp6("[::1]"), "11: the source address '[::1]' is no IPv6 address"},
      {tcp6("::1%1"), "11: the source address '::1%1' is no IPv6 address"},
      {tcp6("1:2:3:4:5:6:7"),
       "11: the source address '1:2:3:4:5:6:7' is no IPv6 address"},
      {tcp6("1::2::3"), "11: the source address '1::2::3' is no IPv6 address"},
      {tcp6("00001::"), "11: the source address '00001::' is no IPv6 address"},
      {tcp6("g::"), "11: the source address 'g::' is no IPv6 address"},
      {tcp6(std::string(60, ':')), "11: the source address '" +
                                       std::string(60, ':') +
                                       "' is no IPv6 address"},
  };
}

std::vector<Wrong> InvalidV2() {
  const std::string no_beginning = "no PROXY header begins like this";
  const std::string limit(4096 - 28 - 3, 'x');
  const std::string crc(4, '\0');
  std::string short_length = Ipv4Header("");
  short_length[15] = 11;
  return {
      {"\r\n\r\n\r", "4: " + no_beginning},
      {std::string("\r\n\r\n\0\r\nQUIT\r", 12), "11: " + no_beginning},
      {V2(0x11, 0x11, Ipv4Block()), "12: version 1 instead of 2"},
      {V2(0x31, 0x11, Ipv4Block()), "12: version 3 instead of 2"},
      {V2(0x22, 0x11, Ipv4Block()),
       "12: command 2 is neither LOCAL (0) nor PROXY (1)"},
      {V2(0x2f, 0x11, Ipv4Block()),
       "12: command 15 is neither LOCAL (0) nor PROXY (1)"},
      {V2(0x21, 0x41, Ipv4Block()), "13: address family 4 is none of 0 to 3"},
      {V2(0x21, 0xf0, ""), "13: address family 15 is none of 0 to 3"},
      {V2(0x21, 0x13, Ipv4Block()), "13: transport 3 is none of 0 to 2"},
      {V2(0x21, 0x0f, ""), "13: transport 15 is none of 0 to 2"},
      {short_length,
       "14: the length is 11, but two IPv4 addresses have 12 bytes"},
      {V2(0x21, 0x22, Ipv6Block().substr(1)),
       "14: the length is 35, but two IPv6 addresses have 36 bytes"},
      {V2(0x21, 0x31, std::string(215, '\0')),
       "14: the length is 215, but two Unix addresses have 216 bytes"},
      {Ipv4Header(Tlv(0xe0, limit + "x")),
       "14: the header has 4097 bytes, but 4096 are the most"},
      {V2(0x20, 0, std::string(65535, 'x')).substr(0, 20),
       "14: the header has 65551 bytes, but 4096 are the most"},
      {Ipv4Header("\x01"),
       "28: a TLV has at least 3 bytes, but 1 is all that is left"},
      {Ipv4Header(Tlv(0x01, "h2") + std::string(2, '\0')),
       "33: a TLV has at least 3 bytes, but 2 is all that is left"},
      {Ipv4Header(std::string("\x01\0\x03h2", 5)),
       "28: TLV 0x01 has a value of 3 bytes, but 2 is all that is left"},
      {Ipv4Header(std::string("\xea\xff\xff", 3)),
       "28: TLV 0xea has a value of 65535 bytes, but 0 is all that is left"},
      {V2(0x21, 0x00, "rubbish"),
       "16: TLV 0x72 has a value of 30050 bytes, but 4 is all that is left"},
      {Ipv4Header(Tlv(0x01, "h2") + Tlv(0x02, "a") + Tlv(0x01, "h2")),
       "37: TLV 0x01 is there twice"},
      {Ipv4Header(Tlv(0x02, "a") + Tlv(0x02, "b")),
       "32: TLV 0x02 is there twice"},
      {Ipv4Header(Tlv(0x05, "") + Tlv(0x05, "")),
       "31: TLV 0x05 is there twice"},
      {Ipv4Header(Tlv(0x30, "") + Tlv(0x30, "")),
       "31: TLV 0x30 is there twice"},
      {Ipv4Header(Tlv(0x20, "12345") + Tlv(0x20, "12345")),
       "36: TLV 0x20 is there twice"},
      {Ipv4Header(Tlv(0x03, crc) + Tlv(0x03, crc)),
       "35: TLV 0x03 is there twice"},
      {Ipv4Header(Tlv(0x03, "12345")),
       "28: TLV 0x03 (CRC32c) has a value of 5 bytes instead of 4"},
      {Ipv4Header(Tlv(0x03, "")),
       "28: TLV 0x03 (CRC32c) has a value of 0 bytes instead of 4"},
      {WithCrc32c(Ipv4Header(Tlv(0x03, crc)), 31).replace(16, 1, "\xc1"),
       "31: the CRC32c says 548e28ff, but that of the header is edb56418"},
      {Ipv4Header(Tlv(0x05, std::string(129, 'i'))),
       "28: TLV 0x05 (unique id) has a value of 129 bytes, but 128 are the "
       "most"},
      {Ipv4Header(Tlv(0x20, "1234")),
       "28: TLV 0x20 (SSL) has a value of 4 bytes, but 5 are the least"},
      {Ipv4Header(Tlv(0x20, "12345\x21")),
       "28: in TLV 0x20 (SSL), at byte 5 of its value: a TLV has at least 3 "
       "bytes, but 1 is all that is left"},
      {Ipv4Header(Tlv(0x20, "12345" + Tlv(0x21, "a") + "\x22\1\1c")),
       "28: in TLV 0x20 (SSL), at byte 9 of its value: TLV 0x22 has a value of "
       "257 bytes, but 1 is all that is left"},
      {Ipv4Header(Tlv(0x20, "12345" + Tlv(0x21, "") + Tlv(0x21, ""))),
       "28: in TLV 0x20 (SSL), at byte 8 of its value: TLV 0x21 is there "
       "twice"},
  };
}

std::vector<Valid> AllValid() {
  std::vector<Valid> all = ValidV1();
  for (Valid& valid : ValidV2()) all.push_back(valid);
  return all;
}

std::vector<Wrong> AllInvalid() {
  std::vector<Wrong> all = InvalidV1();
  for (Wrong& wrong : InvalidV2()) all.push_back(wrong);
  return all;
}

TEST(ProxyHeader, IsFound) {
  for (const Valid& valid : AllValid()) {
    const ProxyHeaderResult result = ParseCopy(valid.bytes);
    ASSERT_EQ(result.kind, Kind::kHeader)
        << absl::CHexEscape(valid.bytes) << result.error;
    EXPECT_EQ(result.bytes, valid.bytes.size());
    EXPECT_TRUE(result.error.ok());
    EXPECT_EQ(result.header.source.ToString(), valid.source);
    EXPECT_EQ(result.header.destination.ToString(), valid.destination);
    EXPECT_EQ(result.header.has_addresses(), !valid.source.empty());
    EXPECT_EQ(result.header.version, valid.bytes.starts_with('P')
                                         ? ProxyHeader::Version::kV1
                                         : ProxyHeader::Version::kV2);
  }
}

TEST(ProxyHeader, IsInvalidWithTheFaultAndItsOffset) {
  for (const Wrong& wrong : AllInvalid()) {
    const ProxyHeaderResult result = ParseCopy(wrong.bytes);
    ASSERT_EQ(result.kind, Kind::kInvalid) << absl::CHexEscape(wrong.bytes);
    EXPECT_TRUE(absl::IsInvalidArgument(result.error));
    EXPECT_EQ(result.error.message(), "PROXY header, byte " + wrong.what);
    EXPECT_EQ(result.header, ProxyHeader());
  }
}

// Commands and transports are told apart.
TEST(ProxyHeader, SaysWhoSpeaksAndOfWhat) {
  using Command = ProxyHeader::Command;
  using SocketType = ProxyHeader::SocketType;
  struct {
    std::string bytes;
    Command command;
    SocketType socket_type;
  } cases[] = {
      {"PROXY UNKNOWN\r\n", Command::kProxy, SocketType::kStream},
      {std::string(kTcp4), Command::kProxy, SocketType::kStream},
      {V2(0x20, 0x12, Ipv4Block()), Command::kLocal, SocketType::kStream},
      {V2(0x21, 0x00, ""), Command::kProxy, SocketType::kStream},
      {V2(0x21, 0x11, Ipv4Block()), Command::kProxy, SocketType::kStream},
      {V2(0x21, 0x12, Ipv4Block()), Command::kProxy, SocketType::kDatagram},
      {V2(0x21, 0x32, UnixBlock("", "")), Command::kProxy,
       SocketType::kDatagram},
  };
  for (const auto& c : cases) {
    const ProxyHeader header = ParseCopy(c.bytes).header;
    EXPECT_EQ(header.command, c.command) << absl::CHexEscape(c.bytes);
    EXPECT_EQ(header.socket_type, c.socket_type) << absl::CHexEscape(c.bytes);
  }
}

// Of each header: each prefix needs more, and says how much in such a way that
// nobody reads beyond the header.
TEST(ProxyHeader, NeedsMoreUntilItIsWhole) {
  for (const Valid& valid : AllValid()) {
    for (size_t size = 0; size < valid.bytes.size(); ++size) {
      const ProxyHeaderResult result =
          ParseCopy(std::string_view(valid.bytes).substr(0, size));
      ASSERT_EQ(result.kind, Kind::kNeedsMore)
          << absl::CHexEscape(valid.bytes) << " " << size << result.error;
      ASSERT_GT(result.bytes, size);
      ASSERT_LE(result.bytes, valid.bytes.size());
      ASSERT_EQ(result.header, ProxyHeader());
    }
  }
}

// An error comes as early as its fault, and stays the same.
TEST(ProxyHeader, InvalidStaysInvalid) {
  for (const Wrong& wrong : AllInvalid()) {
    bool was_invalid = false;
    for (size_t size = 0; size <= wrong.bytes.size(); ++size) {
      const ProxyHeaderResult result =
          ParseCopy(std::string_view(wrong.bytes).substr(0, size));
      if (was_invalid || size == wrong.bytes.size()) {
        ASSERT_EQ(result.kind, Kind::kInvalid);
      }
      was_invalid = result.kind == Kind::kInvalid;
      if (was_invalid) {
        ASSERT_EQ(result.error.message(), "PROXY header, byte " + wrong.what);
      } else {
        ASSERT_EQ(result.kind, Kind::kNeedsMore);
        ASSERT_GT(result.bytes, size);
      }
    }
  }
}

TEST(ProxyHeader, WhatFollowsIsNotLookedAt) {
  for (const Valid& valid : AllValid()) {
    const ProxyHeader header = ParseCopy(valid.bytes).header;
    for (const std::string& behind :
         {std::string("\r\n"), std::string("\n"), std::string(1, '\0'),
          std::string(5000, 'x'), valid.bytes}) {
      const ProxyHeaderResult result = ParseCopy(valid.bytes + behind);
      ASSERT_EQ(result.kind, Kind::kHeader) << result.error;
      EXPECT_EQ(result.bytes, valid.bytes.size());
      EXPECT_EQ(result.header, header);
    }
  }
}

TEST(ProxyHeader, AReaderOfWhatIsNeededReadsNoMore) {
  for (const Valid& valid : AllValid()) {
    const std::string arrived = valid.bytes + "GET / HTTP/1.1\r\n";
    ProxyHeaderResult result = ParseCopy("");
    size_t read = 0;
    int reads = 0;
    while (result.kind == Kind::kNeedsMore) {
      ASSERT_GT(result.bytes, read);
      read = result.bytes;
      result = ParseCopy(std::string_view(arrived).substr(0, read));
      ++reads;
    }
    ASSERT_EQ(result.kind, Kind::kHeader);
    EXPECT_EQ(result.bytes, valid.bytes.size());
    // 15 bytes could be a header of version 1; 16 have the length of version 2.
    if (valid.bytes.starts_with('\r')) {
      EXPECT_LE(reads, 3);
    }
  }
}

TEST(ProxyHeader, OnlyTheVersionsThatAreAccepted) {
  const std::string v1(kTcp4);
  const std::string v2 = Ipv4Header("");
  ProxyHeaderOptions options;
  EXPECT_EQ(ParseCopy(v1, options).kind, Kind::kHeader);
  EXPECT_EQ(ParseCopy(v2, options).kind, Kind::kHeader);
  options.versions = Versions::kV1;
  EXPECT_EQ(ParseCopy(v1, options).kind, Kind::kHeader);
  EXPECT_EQ(ParseCopy(v2, options).error.message(),
            "PROXY header, byte 0: version 2, but only version 1 is accepted");
  EXPECT_EQ(ParseCopy("", options).bytes, 15u);
  EXPECT_EQ(options.max_bytes(), 107u);
  options.versions = Versions::kV2;
  EXPECT_EQ(ParseCopy(v2, options).kind, Kind::kHeader);
  EXPECT_EQ(ParseCopy(v1, options).error.message(),
            "PROXY header, byte 0: version 1, but only version 2 is accepted");
  EXPECT_EQ(ParseCopy("", options).bytes, 16u);
  EXPECT_EQ(options.max_bytes(), 4096u);
}

}  // namespace
}  // namespace fio
