#include <openssl/base.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>

#include <cstdint>

#include "gtest/gtest.h"

namespace {

TEST(BoringSsl, IsTheOneThatIsLinked) {
  // Only BoringSSL answers this.
  EXPECT_GT(BORINGSSL_API_VERSION, 0);
  uint8_t digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const uint8_t*>("abc"), 3, digest);
  EXPECT_EQ(digest[0], 0xba);  // FIPS 180-2, appendix B.1.
  EXPECT_EQ(digest[31], 0xad);
}

TEST(BoringSsl, MakesATlsContext) {
  const bssl::UniquePtr<SSL_CTX> context(SSL_CTX_new(TLS_method()));
  ASSERT_NE(context, nullptr);
  EXPECT_EQ(SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION), 1);
}

}  // namespace
