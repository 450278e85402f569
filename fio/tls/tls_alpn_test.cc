// Application protocols: RFC 7301.

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "fio/tls/tls_context.h"
#include "fio/tls/tls_info.h"
#include "fio/tls/tls_options.h"
#include "fio/tls/tls_test_util.h"
#include "fio/tls/tls_version.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using tls_testing::Client;
using tls_testing::OurCertificate;
using tls_testing::Pair;
using tls_testing::Server;

TEST(Tls, AlpnCount) {
  EXPECT_EQ(Server()->alpn().size(), 0u);
  EXPECT_EQ(Server({.alpn = {"h2", "http/1.1"}})->alpn(),
            (std::vector<std::string>{"h2", "http/1.1"}));
  EXPECT_EQ(Client({.alpn = {"h2"}})->alpn().size(), 1u);
}

TEST(Tls, AlpnOrder) {
  for (const TlsVersion version : {TlsVersion::kTls12, TlsVersion::kTls13}) {
    Pair pair(Server({.max_version = version, .alpn = {"b", "a"}}),
              Client({.alpn = {"x", "a", "b"}}));
    ASSERT_TRUE(pair.Shake());
    EXPECT_EQ(pair.server_info().alpn(), "b");
    EXPECT_EQ(pair.client_info().alpn(), "b");
  }
}

TEST(Tls, AlpnMismatchAlert) {
  Pair pair(Server({.alpn = {"b", "a"}}), Client({.alpn = {"c"}}));
  EXPECT_FALSE(pair.Shake());
  EXPECT_EQ(pair.client_failure(),
            absl::PermissionDeniedError("the peer has refused: alert 120, no "
                                        "application protocol"));
  EXPECT_EQ(pair.server_failure().code(), absl::StatusCode::kInvalidArgument);
}

TEST(Tls, AlpnAbsentOnOneSide) {
  Pair old_client(Server({.alpn = {"a"}}), Client());
  ASSERT_TRUE(old_client.Shake());
  EXPECT_EQ(old_client.server_info().alpn(), "");
  Pair old_server(Server(), Client({.alpn = {"a"}}));
  ASSERT_TRUE(old_server.Shake());
  EXPECT_EQ(old_server.client_info().alpn(), "");
}

TEST(Tls, AlpnNamesHave1To255Bytes) {
  const auto made = [](std::vector<std::string> alpn) {
    return TlsContext::Server(
               {.alpn = std::move(alpn), .certificates = {OurCertificate()}})
        .status();
  };
  EXPECT_TRUE(made({std::string(255, 'x')}).ok());
  EXPECT_EQ(made({""}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(made({std::string(256, 'x')}).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(made(std::vector<std::string>(255, std::string(255, 'x'))).ok());
  EXPECT_EQ(made(std::vector<std::string>(256, std::string(255, 'x'))).code(),
            absl::StatusCode::kInvalidArgument);
  Pair pair(Server({.alpn = {std::string(255, 'x')}}),
            Client({.alpn = {"y", std::string(255, 'x')}}));
  ASSERT_TRUE(pair.Shake());
  EXPECT_EQ(pair.client_info().alpn(), std::string(255, 'x'));
}

}  // namespace
}  // namespace fio
