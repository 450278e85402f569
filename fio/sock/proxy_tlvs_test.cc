#include "fio/sock/proxy_tlvs.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "fio/sock/proxy_header.h"
#include "fio/sock/proxy_header_test_util.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using ::testing::ElementsAre;
using ::testing::Optional;
using ::testing::Pair;

std::vector<std::pair<int, std::string>> All(const ProxyTlvs& tlvs) {
  std::vector<std::pair<int, std::string>> all;
  for (const ProxyTlv& tlv : tlvs) all.emplace_back(tlv.type, tlv.value);
  return all;
}

TEST(ProxyHeader, TellsItsTlvs) {
  const ProxyHeaderResult result = ParseCopy(FullHeader());
  const ProxyTlvs& tlvs = result.header.tlvs;
  EXPECT_THAT(tlvs.alpn(), Optional(std::string_view("h2")));
  EXPECT_THAT(tlvs.authority(), Optional(std::string_view("www.example")));
  EXPECT_THAT(tlvs.unique_id(), Optional(std::string_view("id-7")));
  EXPECT_THAT(tlvs.netns(), Optional(std::string_view("ns1")));
  EXPECT_THAT(tlvs.Find(0xe0), Optional(std::string_view("a\0b", 3)));
  EXPECT_EQ(tlvs.Find(0xe1), std::nullopt);
  const std::optional<ProxySsl> ssl = tlvs.ssl();
  ASSERT_TRUE(ssl.has_value());
  EXPECT_EQ(ssl->client, 7);
  EXPECT_EQ(ssl->verify, 0u);
  EXPECT_TRUE(ssl->verified());
  EXPECT_EQ(ssl->version, "TLSv1.3");
  EXPECT_EQ(ssl->common_name, "client.example");
  EXPECT_EQ(ssl->cipher, "AES128-SHA256");
  EXPECT_EQ(ssl->signature_algorithm, "SHA256");
  EXPECT_EQ(ssl->key_algorithm, "RSA2048");
}

TEST(ProxyHeader, WithoutTlvsTellsNone) {
  const ProxyTlvs tlvs;
  EXPECT_TRUE(tlvs.empty());
  EXPECT_EQ(tlvs.alpn(), std::nullopt);
  EXPECT_EQ(tlvs.authority(), std::nullopt);
  EXPECT_EQ(tlvs.unique_id(), std::nullopt);
  EXPECT_EQ(tlvs.netns(), std::nullopt);
  EXPECT_FALSE(tlvs.ssl().has_value());
  EXPECT_THAT(All(tlvs), ElementsAre());
}

// The checksum and the padding are no TLVs of the list; all else stays, in
// order.
TEST(ProxyHeader, KeepsUnknownTlvs) {
  const std::string block = Ipv4Block() + Tlv(0xef, "1") + Tlv(0x04, "pad") +
                            Tlv(0x00, "") + Tlv(0xff, std::string("\0", 1)) +
                            Tlv(0x02, "") + Tlv(0xef, "2");
  const ProxyHeaderResult result = ParseCopy(V2(0x21, 0x11, block));
  EXPECT_THAT(All(result.header.tlvs),
              ElementsAre(Pair(0xef, "1"), Pair(0, ""),
                          Pair(0xff, std::string(1, '\0')), Pair(0x02, ""),
                          Pair(0xef, "2")));
  EXPECT_THAT(result.header.tlvs.Find(0xef), Optional(std::string_view("1")));
  EXPECT_THAT(result.header.tlvs.authority(), Optional(std::string_view("")));
}

TEST(ProxyHeader, SslMayLeaveNamesOutAndHaveMore) {
  ProxyTlvs tlvs;
  const std::string value = std::string("\x03\x01\x02\x03\x04", 5) +
                            Tlv(0x2f, "new") + Tlv(0x2f, "new") +
                            Tlv(0x23, "cipher");
  ASSERT_TRUE(tlvs.Add(ProxyTlvs::kSsl, value).ok());
  const std::optional<ProxySsl> ssl = tlvs.ssl();
  ASSERT_TRUE(ssl.has_value());
  EXPECT_EQ(ssl->client,
            ProxySsl::kUsesTls | ProxySsl::kCertificateOnConnection);
  EXPECT_EQ(ssl->verify, 0x01020304u);
  EXPECT_EQ(ssl->version, "");
  EXPECT_EQ(ssl->cipher, "cipher");
  EXPECT_THAT(tlvs.Find(ProxyTlvs::kSsl), Optional(std::string_view(value)));
}

// A zero says nothing if there was no certificate.
TEST(ProxyHeader, OnlyACertificateIsVerified) {
  EXPECT_FALSE((ProxySsl{.client = 0, .verify = 0}.verified()));
  EXPECT_FALSE((ProxySsl{.client = 1, .verify = 0}.verified()));
  EXPECT_TRUE((ProxySsl{.client = 3, .verify = 0}.verified()));
  EXPECT_TRUE((ProxySsl{.client = 5, .verify = 0}.verified()));
  EXPECT_FALSE((ProxySsl{.client = 7, .verify = 1}.verified()));
}

TEST(ProxyHeader, RefusesTlvsAndKeepsItsList) {
  const std::string longest(65535, 'x');
  ProxyTlvs tlvs;
  ASSERT_TRUE(tlvs.Add(ProxyTlvs::kAlpn, "h2").ok());
  ASSERT_TRUE(tlvs.Add(0xe0, longest).ok());
  ASSERT_TRUE(tlvs.Add(0xe0, "").ok());
  const ProxyTlvs before = tlvs;
  struct {
    uint8_t type;
    std::string value;
    std::string error;
  } cases[] = {
      {0xe0, longest + "x",
       "TLV 0xe0 has a value of 65536 bytes, but 65535 are the most"},
      {ProxyTlvs::kCrc32c, "1234", "TLV 0x03 is not kept in a list"},
      {ProxyTlvs::kNoop, "", "TLV 0x04 is not kept in a list"},
      {ProxyTlvs::kAlpn, "h2", "TLV 0x01 is there twice"},
      {ProxyTlvs::kUniqueId, std::string(129, 'i'),
       "TLV 0x05 (unique id) has a value of 129 bytes, but 128 are the most"},
      {ProxyTlvs::kSsl, "",
       "TLV 0x20 (SSL) has a value of 0 bytes, but 5 are the least"},
  };
  for (const auto& c : cases) {
    const absl::Status status = tlvs.Add(c.type, c.value);
    EXPECT_TRUE(absl::IsInvalidArgument(status));
    EXPECT_EQ(status.message(), c.error);
  }
  EXPECT_EQ(tlvs.AddSsl({.version = longest + "x"}).message(),
            "TLV 0x21 has a value of 65536 bytes, but 65535 are the most");
  EXPECT_EQ(tlvs.AddSsl({.cipher = longest}).message(),
            "TLV 0x20 has a value of 65543 bytes, but 65535 are the most");
  EXPECT_TRUE(tlvs == before);
}

}  // namespace
}  // namespace fio
