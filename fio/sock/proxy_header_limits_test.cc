// What bounds a PROXY header, what it costs, and what happens to one whose
// bytes were corrupted on the way.

#include <sys/socket.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "fio/sock/proxy_header.h"
#include "fio/sock/proxy_header_test_util.h"
#include "fio/testing/allocation_counter.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using Kind = ProxyHeaderResult::Kind;
using testing::AllocationCounter;
using ::testing::StartsWith;

constexpr std::string_view kTcp4 =
    "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n";
constexpr std::string_view kTcp6 =
    "PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n";

// A header of `size` bytes.
std::string HeaderOfSize(size_t size) {
  return V2(0x21, 0x11,
            absl::StrCat(Ipv4Block(),
                         Tlv(0xe0, std::string(size - 16 - 12 - 3, 'x'))));
}

TEST(ProxyHeader, VersionTwoHasTheLimitOfItsOption) {
  for (const size_t limit : {31u, 232u, 4096u, 65551u}) {
    ProxyHeaderOptions options;
    options.max_v2_bytes = limit;
    const std::string longest = HeaderOfSize(limit);
    EXPECT_EQ(ParseCopy(longest, options).kind, Kind::kHeader);
    if (limit == 65551) continue;
    const std::string error =
        absl::StrCat("PROXY header, byte 14: the header has ", limit + 1,
                     " bytes, but ", limit, " are the most");
    const std::string longer = HeaderOfSize(limit + 1);
    EXPECT_EQ(ParseCopy(longer, options).error.message(), error);
    // Not only when the bytes have come.
    EXPECT_EQ(ParseCopy(longer.substr(0, 16), options).error.message(), error);
  }
  ProxyHeaderOptions none;
  none.max_v2_bytes = 15;
  EXPECT_EQ(ParseCopy(V2(0x20, 0, ""), none).kind, Kind::kInvalid);
}

TEST(ProxyHeader, TheDefaultLimitIs4096Bytes) {
  EXPECT_EQ(ParseCopy(HeaderOfSize(4096)).kind, Kind::kHeader);
  EXPECT_EQ(ParseCopy(HeaderOfSize(4097)).kind, Kind::kInvalid);
  EXPECT_EQ(ProxyHeaderOptions().max_bytes(), 4096u);
}

TEST(ProxyHeader, VersionOneHasALimitOf107Bytes) {
  const auto line = [](size_t size) {
    const std::string start = "PROXY UNKNOWN ";
    return absl::StrCat(start, std::string(size - start.size() - 2, 'x'),
                        "\r\n");
  };
  ProxyHeaderOptions options;
  options.max_v2_bytes = 16;  // Of no account.
  EXPECT_EQ(options.max_bytes(), 107u);
  EXPECT_EQ(ParseCopy(line(107), options).bytes, 107u);
  EXPECT_EQ(ParseCopy(line(107).substr(0, 106), options).bytes, 107u);
  EXPECT_EQ(ParseCopy(line(108), options).kind, Kind::kInvalid);
  // As soon as no CRLF can end it in time.
  EXPECT_EQ(ParseCopy(line(200).substr(0, 105), options).bytes, 107u);
  EXPECT_EQ(ParseCopy(line(200).substr(0, 106), options).kind, Kind::kInvalid);
}

TEST(ProxyHeader, NeedsMoreWithoutAllocations) {
  const std::string full = FullHeader();
  for (const std::string_view bytes : {kTcp4, kTcp6, std::string_view(full)}) {
    const AllocationCounter counter;
    for (size_t size = 0; size < bytes.size(); ++size) {
      ASSERT_EQ(ParseProxyHeader(bytes.substr(0, size)).kind, Kind::kNeedsMore);
    }
    EXPECT_EQ(counter.allocations(), 0);
  }
}

TEST(ProxyHeader, WithoutTlvsIsFoundWithoutAllocations) {
  const std::string ipv6 = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
  for (const std::string& bytes :
       {std::string(kTcp4), std::string(kTcp6),
        absl::StrCat("PROXY TCP6 ", ipv6, " ", ipv6, " 65535 65535\r\n"),
        std::string("PROXY UNKNOWN\r\n"), V2(0x20, 0, std::string(99, 'x')),
        V2(0x21, 0x11, Ipv4Block()), V2(0x21, 0x22, Ipv6Block()),
        V2(0x21, 0x31, UnixBlock("/run/a", "/run/b")),
        V2(0x21, 0x11, Ipv4Block() + Tlv(0x04, std::string(99, 'x')))}) {
    const AllocationCounter counter;
    EXPECT_EQ(ParseProxyHeader(bytes).kind, Kind::kHeader);
    EXPECT_EQ(counter.allocations(), 0) << absl::CHexEscape(bytes);
  }
}

TEST(ProxyHeader, TlvsCostOneAllocation) {
  const std::string full = FullHeader();
  ASSERT_EQ(ParseProxyHeader(full).kind, Kind::kHeader);  // CRC's tables.
  const AllocationCounter counter;
  EXPECT_EQ(ParseProxyHeader(full).kind, Kind::kHeader);
  EXPECT_EQ(counter.allocations(), 1);
}

// --- Corrupted bytes ---

// Calls `check` with the header after each change of one of its bytes to
// another value, and with the byte's offset.
template <typename Check>
void ForEachCorruption(std::string_view header, Check check) {
  for (size_t offset = 0; offset < header.size(); ++offset) {
    std::string corrupted(header);
    for (int change = 1; change < 256; ++change) {
      corrupted[offset] = static_cast<char>(header[offset] ^ change);
      check(corrupted, offset);
    }
  }
}

// Where each value has one spelling, each byte counts: a corrupted header is
// refused, waits for more, or is another header, whose spelling it is. What
// says that there are no addresses may have more in its block.
TEST(ProxyHeader, NoCorruptedByteIsOverlooked) {
  for (const std::string& header :
       {std::string(kTcp4), std::string("PROXY UNKNOWN\r\n"),
        V2(0x21, 0x11, Ipv4Block()), V2(0x21, 0x22, Ipv6Block()),
        V2(0x21, 0x31, UnixBlock(std::string(108, 'a'), "/b")),
        V2(0x21, 0x00, ""), V2(0x20, 0x00, ""),
        V2(0x21, 0x11, Ipv4Block() + Tlv(0xe0, "abc"))}) {
    const ProxyHeader intact = ParseCopy(header).header;
    ASSERT_EQ(*MakeProxyHeader(intact), header);
    ForEachCorruption(header, [&](const std::string& corrupted, size_t offset) {
      const ProxyHeaderResult result = ParseCopy(corrupted);
      if (result.kind == Kind::kInvalid) {
        EXPECT_THAT(std::string(result.error.message()),
                    StartsWith("PROXY header, byte "));
        return;
      }
      if (result.kind == Kind::kNeedsMore) {
        // A line's end, or a length.
        EXPECT_GT(result.bytes, corrupted.size());
        return;
      }
      if (!result.header.has_addresses()) return;
      // A TLV became a NOOP.
      if (result.header.tlvs.empty() && !intact.tlvs.empty()) return;
      // What is behind the end of a path does not count.
      if (result.header.source.family() == AF_UNIX) {
        ASSERT_TRUE(result.header != intact || offset >= 16 + 108 + 3);
        return;
      }
      EXPECT_EQ(*MakeProxyHeader(result.header),
                corrupted.substr(0, result.bytes))
          << absl::CHexEscape(corrupted);
    });
  }
}

TEST(ProxyHeader, ACorruptedBeginningIsNamed) {
  const std::string v2 = V2(0x21, 0x11, Ipv4Block());
  for (const std::string& header : {std::string(kTcp4), v2}) {
    const size_t size = header.starts_with('P') ? 6 : 12;
    ForEachCorruption(header.substr(0, size), [&](const std::string& start,
                                                  size_t offset) {
      const bool other_version =
          offset == 0 && (start.front() == 'P' || start.front() == '\r');
      EXPECT_EQ(ParseCopy(start + header.substr(size)).error.message(),
                absl::StrCat("PROXY header, byte ", other_version ? 1 : offset,
                             ": no PROXY header begins like this"));
    });
  }
}

// With a checksum each corrupted byte is found, but for those that take away
// the checksum itself.
TEST(ProxyHeader, AChecksumFindsEachCorruptedByte) {
  const std::string header = FullHeader();
  const ProxyHeader intact = ParseCopy(header).header;
  ASSERT_TRUE(intact.checksum);
  ForEachCorruption(header, [&](const std::string& corrupted, size_t offset) {
    const ProxyHeaderResult result = ParseCopy(corrupted);
    if (result.kind != Kind::kHeader) return;
    EXPECT_FALSE(result.header.checksum);
    if (offset == 12 || offset == 13) {
      // LOCAL or UNSPEC: the block is skipped.
      EXPECT_FALSE(result.header.has_addresses());
      EXPECT_TRUE(result.header.tlvs.empty());
    } else if (offset == 15) {
      // A length without any TLV.
      EXPECT_EQ(result.bytes, 16u + 12u);
    } else {
      // The type of the checksum.
      EXPECT_EQ(offset, 16u + 12u);
      EXPECT_EQ(result.header.source, intact.source);
      EXPECT_EQ(result.header.destination, intact.destination);
    }
  });
}

}  // namespace
}  // namespace fio
