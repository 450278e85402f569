#include "fio/sock/proxy_transport.h"

#include <cerrno>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "fio/sock/proxy_header.h"
#include "fio/sock/proxy_header_test_util.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"
#include "fio/testing/loopback_pair.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using Handshake = Transport::Handshake;
using ::testing::HasSubstr;
using testing::LoopbackPair;
using testing::ReadAvailable;
using testing::ReadUntil;
using Versions = ProxyHeaderOptions::Versions;

constexpr std::string_view kTcp4 =
    "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n";

// A socket whose peer is the test.
class Served {
 public:
  explicit Served(const ProxyHeaderOptions& options = {}) {
    auto transport = std::make_unique<ProxyTransport>(options);
    proxy = transport.get();
    EXPECT_TRUE(pair.near.SetTransport(std::move(transport)).ok());
  }
  Handshake Shake(std::string_view bytes) {
    EXPECT_EQ(pair.far.TryWrite(bytes).bytes, bytes.size());
    return pair.near.Shake();
  }

  LoopbackPair pair = LoopbackPair::Unix();
  ProxyTransport* proxy;
};

TEST(ProxyTransport, ReadsAHeaderInOnePiece) {
  for (const std::string& bytes : {std::string(kTcp4), FullHeader()}) {
    Served served;
    EXPECT_EQ(served.Shake(absl::StrCat(bytes, "what follows")),
              Handshake::kDone);
    EXPECT_EQ(served.proxy->header().source.ToString(), "192.0.2.7:56324");
    EXPECT_EQ(served.proxy->header().destination.ToString(),
              "198.51.100.1:443");
    EXPECT_EQ(served.proxy->header(), ParseProxyHeader(bytes).header);
    EXPECT_EQ(ReadAvailable(served.pair.near), "what follows");
  }
}

TEST(ProxyTransport, ReadsAHeaderByteByByte) {
  for (const std::string& bytes : {std::string(kTcp4), FullHeader()}) {
    Served served;
    for (size_t i = 0; i + 1 < bytes.size(); ++i) {
      ASSERT_EQ(served.Shake(bytes.substr(i, 1)), Handshake::kMore) << i;
    }
    EXPECT_EQ(served.Shake(bytes.substr(bytes.size() - 1)), Handshake::kDone);
    EXPECT_EQ(served.proxy->header(), ParseProxyHeader(bytes).header);
    EXPECT_EQ(served.Shake(""), Handshake::kDone);
    EXPECT_EQ(ReadAvailable(served.pair.near), "");
  }
}

TEST(ProxyTransport, ReadsAHeaderOfManyPieces) {
  const std::string bytes = V2(
      0x21, 0x11, absl::StrCat(Ipv4Block(), Tlv(0xe0, std::string(3000, 'x'))));
  Served served;
  EXPECT_EQ(served.Shake(absl::StrCat(bytes, std::string(2000, 'y'))),
            Handshake::kDone);
  EXPECT_EQ(served.proxy->header(), ParseProxyHeader(bytes).header);
  EXPECT_EQ(ReadUntil(served.pair.near, 2000), std::string(2000, 'y'));
}

TEST(ProxyTransport, PassesEverythingThroughThen) {
  Served served;
  ASSERT_EQ(served.Shake(absl::StrCat(kTcp4, "a")), Handshake::kDone);
  EXPECT_EQ(ReadAvailable(served.pair.near), "a");
  ASSERT_TRUE(served.pair.far.TryWrite("b").ok());
  EXPECT_EQ(ReadAvailable(served.pair.near), "b");
  ASSERT_TRUE(served.pair.near.TryWrite("c").ok());
  EXPECT_EQ(ReadAvailable(served.pair.far), "c");
}

TEST(ProxyTransport, WhatFollowsIsForWhoTakesItsPlace) {
  for (const bool another : {false, true}) {
    Served served;
    ASSERT_EQ(served.Shake(absl::StrCat(kTcp4, "first")), Handshake::kDone);
    std::unique_ptr<Transport> next;
    if (another) next = std::make_unique<Transport>();
    ASSERT_TRUE(served.pair.near.SetTransport(std::move(next)).ok());
    ASSERT_TRUE(served.pair.far.TryWrite(" second").ok());
    EXPECT_EQ(ReadUntil(served.pair.near, 12), "first second");
    // Then nothing of it is left.
    EXPECT_EQ(served.pair.near.is_direct(), !another);
  }
}

TEST(ProxyTransport, MayBeRemovedInsideOfShake) {
  class Removes final : public Transport {
   public:
    Handshake Shake(Socket& socket) override {
      const Handshake state = proxy_.Shake(socket);
      if (state == Handshake::kDone) {
        EXPECT_TRUE(socket.SetTransport(nullptr).ok());
      }
      return state;
    }

   private:
    ProxyTransport proxy_;
  };
  LoopbackPair pair = LoopbackPair::Unix();
  ASSERT_TRUE(pair.near.SetTransport(std::make_unique<Removes>()).ok());
  ASSERT_TRUE(pair.far.TryWrite(absl::StrCat(kTcp4, "rest")).ok());
  EXPECT_EQ(pair.near.Shake(), Handshake::kDone);
  EXPECT_FALSE(pair.near.has_transport());
  EXPECT_EQ(ReadAvailable(pair.near), "rest");
}

TEST(ProxyTransport, RefusesWhatIsNoHeader) {
  Served served;
  EXPECT_EQ(served.Shake("GET / HTTP/1.1\r\n"), Handshake::kFailed);
  EXPECT_TRUE(absl::IsInvalidArgument(served.proxy->status()));
  EXPECT_THAT(served.proxy->status().message(), HasSubstr("PROXY header"));
  // It stays so, whatever comes.
  EXPECT_EQ(served.Shake(kTcp4), Handshake::kFailed);
}

TEST(ProxyTransport, RefusesAnotherVersion) {
  Served one({.versions = Versions::kV2});
  EXPECT_EQ(one.Shake(kTcp4), Handshake::kFailed);
  Served two({.versions = Versions::kV1});
  EXPECT_EQ(two.Shake(FullHeader()), Handshake::kFailed);
}

TEST(ProxyTransport, RefusesWhatIsTooLongBeforeItHasCome) {
  Served v1;
  EXPECT_EQ(v1.Shake(absl::StrCat("PROXY UNKNOWN ", std::string(93, 'x'))),
            Handshake::kFailed);
  Served v2({.max_v2_bytes = 100});
  const std::string bytes = V2(0x21, 0x11, std::string(85, 'x'));
  EXPECT_EQ(v2.Shake(bytes.substr(0, 15)), Handshake::kMore);
  EXPECT_EQ(v2.Shake(bytes.substr(15, 1)), Handshake::kFailed);
}

TEST(ProxyTransport, ThePeersEndIsNoHeader) {
  for (const std::string_view begun : {"", "PROXY TC"}) {
    Served served;
    EXPECT_EQ(served.Shake(begun), Handshake::kMore);
    served.pair.far.Close();
    EXPECT_EQ(served.pair.near.Shake(), Handshake::kFailed);
    EXPECT_TRUE(absl::IsUnavailable(served.proxy->status()))
        << served.proxy->status();
  }
  LoopbackPair pair = LoopbackPair::Tcp();
  auto transport = std::make_unique<ProxyTransport>();
  ProxyTransport& proxy = *transport;
  ASSERT_TRUE(pair.near.SetTransport(std::move(transport)).ok());
  pair.far.Abort();
  EXPECT_EQ(pair.near.Shake(), Handshake::kFailed);
  EXPECT_THAT(proxy.status().message(), HasSubstr("ECONNRESET"));
}

// The end that follows the header is not the transport's.
TEST(ProxyTransport, TheEndBehindTheHeaderIsRead) {
  Served served;
  EXPECT_TRUE(served.pair.far.TryWrite(absl::StrCat(kTcp4, "x")).ok());
  served.pair.far.Close();
  EXPECT_EQ(served.pair.near.Shake(), Handshake::kDone);
  char bytes[8];
  EXPECT_EQ(served.pair.near.Read(bytes).bytes, 1u);
  const IoResult end = served.pair.near.Read(bytes);
  EXPECT_TRUE(end.ok());
  EXPECT_EQ(end.bytes, 0u);
}

}  // namespace
}  // namespace fio
