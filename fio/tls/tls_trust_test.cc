#include "fio/tls/tls_trust.h"

#include <sys/stat.h>

#include <cstdlib>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "fio/tls/internal/trust_store.h"
#include "fio/tls/tls_test_util.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using tls_testing::OurCertificate;
using tls_testing::TempFile;
using tls_testing::TempPath;
using tls_testing::TestData;

TEST(TlsTrust, InsecureHasNoStore) {
  EXPECT_TRUE(TlsTrust::Insecure().is_insecure());
  EXPECT_EQ(TlsTrust::Insecure().store(), nullptr);
}

TEST(TlsTrust, TextBesideCertificatesIsPassedOver) {
  const auto trust = TlsTrust::FromPem(
      absl::StrCat("# ours\n", TestData("root.pem"), "# another\n",
                   TestData("p256.both.pem"), TestData("root.pem"), "end"));
  ASSERT_TRUE(trust.ok()) << trust.status();
  EXPECT_FALSE(trust->is_insecure());
  EXPECT_EQ(trust->store()->authorities.size(), 3u);
}

TEST(TlsTrust, NoCertificateIsAnError) {
  EXPECT_EQ(TlsTrust::FromPem("").status(),
            absl::InvalidArgumentError("trust: there is no certificate in it"));
  EXPECT_EQ(TlsTrust::FromPem(TestData("p256.key.pem")).status().code(),
            absl::StatusCode::kInvalidArgument);
  std::string damaged = TestData("root.pem");
  damaged.replace(100, 4, "!!!!");
  EXPECT_EQ(TlsTrust::FromPem(TestData("p256.pem") + damaged).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(TlsTrust::FromPem(damaged).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(TlsTrust, ErrorsNameTheFile) {
  const std::string missing = TempPath("missing");
  const absl::Status status = TlsTrust::FromFile(missing).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_NE(status.message().find(missing), std::string::npos);
  const std::string empty = TempFile("empty", "");
  EXPECT_EQ(TlsTrust::FromFile(empty).status(),
            absl::InvalidArgumentError(
                empty + ": trust: there is no certificate in it"));
  const std::string folder = TempPath("folder");
  ASSERT_EQ(mkdir(folder.c_str(), S_IRWXU), 0);
  EXPECT_EQ(TlsTrust::FromFile(folder).status().code(),
            absl::StatusCode::kInvalidArgument);
  // Authorities are no secret.
  EXPECT_TRUE(
      TlsTrust::FromFile(TempFile("all", TestData("root.pem"), 0644)).ok());
}

TEST(TlsTrust, OfManyAuthoritiesNoneIsNamed) {
  std::string many;
  for (int i = 0; i < 65; ++i) many += TestData("root.pem");
  const auto trust = TlsTrust::FromPem(many);
  ASSERT_TRUE(trust.ok());
  EXPECT_TRUE(trust->store()->authorities.empty());
  EXPECT_NE(trust->store()->fingerprint,
            TlsTrust::FromPem(TestData("root.pem"))->store()->fingerprint);
}

TEST(TlsTrust, SystemIsTheFileOfTheEnvironment) {
  const std::string file = TempFile("ours", TestData("root.pem"));
  setenv("SSL_CERT_FILE", file.c_str(), 1);
  const auto trust = TlsTrust::System();
  unsetenv("SSL_CERT_FILE");
  ASSERT_TRUE(trust.ok()) << trust.status();
  EXPECT_EQ(trust->store()->authorities.size(), 1u);
}

}  // namespace
}  // namespace fio
