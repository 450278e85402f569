#include "fio/tls/tls_transport.h"

#include <string>

#include "fio/tls/tls_context.h"
#include "fio/tls/tls_info.h"
#include "fio/tls/tls_test_util.h"
#include "fio/tls/tls_version.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using tls_testing::Client;
using tls_testing::Pair;
using tls_testing::Server;

TEST(TlsTransport, CarriesBytes) {
  const auto client = Client();
  Pair pair(Server(), client);
  ASSERT_TRUE(pair.Shake())
      << pair.server_failure() << " / " << pair.client_failure();
  EXPECT_EQ(pair.client_info().version(), TlsVersion::kTls13);
  EXPECT_EQ(pair.client_info().cipher(), "TLS_AES_128_GCM_SHA256");
  EXPECT_EQ(pair.client_info().group(), client->groups()[0]);
  EXPECT_TRUE(pair.client_info().verification().ok());
  EXPECT_EQ(pair.server_info().server_name(), "localhost");
  EXPECT_TRUE(pair.CarriesBothWays());
  EXPECT_TRUE(
      pair.Carries(pair.server(), pair.client(), std::string(1'000'000, 'x')));
}

TEST(TlsTransport, ResumesASession) {
  const auto server = Server();
  const auto client = Client();
  {
    Pair pair(server, client);
    ASSERT_TRUE(pair.Shake());
    EXPECT_FALSE(pair.client_info().is_resumed());
    ASSERT_TRUE(pair.CarriesBothWays());
  }
  Pair pair(server, client);
  ASSERT_TRUE(pair.Shake())
      << pair.server_failure() << " / " << pair.client_failure();
  EXPECT_TRUE(pair.client_info().is_resumed());
  EXPECT_TRUE(pair.server_info().is_resumed());
  EXPECT_EQ(server->stats().resumed, 1u);
}

}  // namespace
}  // namespace fio
