#include "fio/tls/tls_certificate.h"

#include <sys/stat.h>

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/tls/internal/boringssl.h"
#include "fio/tls/internal/credential.h"
#include "fio/tls/tls_test_util.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using tls_testing::TempFile;
using tls_testing::TempPath;
using tls_testing::TestData;
using KeyType = TlsCertificate::KeyType;

absl::StatusOr<TlsCertificate> FromData(std::string_view chain,
                                        std::string_view key,
                                        std::string_view passphrase = "") {
  return TlsCertificate::FromPem(TestData(absl::StrCat(chain, ".pem")),
                                 TestData(absl::StrCat(key, ".key.pem")),
                                 passphrase);
}

std::string WhyNot(std::string_view chain, std::string_view key,
                   std::string_view passphrase = "") {
  const auto made = FromData(chain, key, passphrase);
  if (made.ok()) return "";
  EXPECT_EQ(made.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(made.status().message());
}

TEST(TlsCertificate, ReadsEveryKindOfKey) {
  EXPECT_EQ(FromData("rsa", "rsa")->key_type(), KeyType::kRsa);
  EXPECT_EQ(FromData("rsa", "rsa.traditional")->key_type(), KeyType::kRsa);
  for (const char* const curve : {"p256", "p384", "p521"}) {
    EXPECT_EQ(FromData(curve, curve)->key_type(), KeyType::kEcdsa) << curve;
  }
  EXPECT_EQ(FromData("p256", "p256.traditional")->key_type(), KeyType::kEcdsa);
  EXPECT_EQ(FromData("ed25519", "ed25519")->key_type(), KeyType::kEd25519);
}

TEST(TlsCertificate, ReadsEncryptedKeys) {
  for (const char* const key : {"p256.aes", "p256.des3", "p256.legacy"}) {
    SCOPED_TRACE(key);
    EXPECT_TRUE(FromData("p256", key, "sesame").ok());
    EXPECT_EQ(WhyNot("p256", key),
              "key: it is encrypted, and there is no passphrase");
    for (const std::string& wrong :
         {std::string("sesam"), std::string(2000, 'x')}) {
      EXPECT_EQ(WhyNot("p256", key, wrong)
                    .find("key: the passphrase is wrong, or the key is"),
                0u);
    }
  }
  EXPECT_NE(WhyNot("p256", "p256.scrypt", "sesame").find("not supported"),
            std::string::npos);
}

TEST(TlsCertificate, APassphraseForAKeyThatHasNoneIsPassedOver) {
  EXPECT_TRUE(FromData("p256", "p256", "sesame").ok());
}

TEST(Tls, CertKeyMismatch) {
  const std::string why = "key: it is not that of the first certificate";
  EXPECT_EQ(WhyNot("p256", "leaf"), why);
  EXPECT_EQ(WhyNot("rsa", "p256"), why);
  EXPECT_EQ(WhyNot("p384", "p521"), why);
}

TEST(TlsCertificate, TheOwnCertificateIsFirst) {
  EXPECT_TRUE(FromData("leaf.chain", "leaf").ok());
  EXPECT_EQ(WhyNot("leaf.wrong-order", "leaf"),
            "key: it is not that of the first certificate");
}

TEST(TlsCertificate, WeakKeysAreRefused) {
  EXPECT_EQ(WhyNot("rsa1024", "rsa1024"), "key: an RSA key needs 2048 bits");
  EXPECT_EQ(WhyNot("p224", "p224"),
            "key: it is neither of P-256 nor of P-384 nor of P-521");
}

TEST(TlsCertificate, WhatIsNoPemIsRefused) {
  const auto why = [](std::string_view chain, std::string_view key) {
    return std::string(TlsCertificate::FromPem(chain, key).status().message());
  };
  const std::string chain = TestData("p256.pem");
  const std::string key = TestData("p256.key.pem");
  EXPECT_EQ(why("", key), "certificate: there is no certificate in it");
  EXPECT_EQ(why("some text", key),
            "certificate: there is no certificate in it");
  EXPECT_EQ(why(key, key), "certificate: there is no certificate in it");
  EXPECT_EQ(why(chain, ""), "key: there is none in it");
  EXPECT_EQ(why(chain, chain), "key: there is none in it");
  EXPECT_EQ(why(chain + chain.substr(0, chain.size() / 2), key)
                .find("certificate: certificate 2 cannot be read"),
            0u);
  std::string damaged = key;
  damaged[40] = damaged[40] == 'A' ? 'B' : 'A';
  damaged[41] = '!';
  EXPECT_EQ(why(chain, damaged).find("key: it cannot be read: "), 0u);
}

TEST(Tls, MissingFileIsError) {
  const std::string missing = TempPath("missing");
  const std::string chain = TempFile("chain", TestData("p256.pem"));
  for (const absl::Status& status :
       {TlsCertificate::FromFiles(missing, missing).status(),
        TlsCertificate::FromFiles(chain, missing).status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
    EXPECT_NE(status.message().find(missing), std::string::npos) << status;
  }
}

TEST(TlsCertificate, ErrorsNameTheFile) {
  const std::string chain = TempFile("chain", TestData("p256.pem"));
  const std::string key = TempFile("key", TestData("leaf.key.pem"));
  const std::string empty = TempFile("empty", "");
  const std::string folder = TempPath("folder");
  ASSERT_EQ(mkdir(folder.c_str(), S_IRWXU), 0);
  const auto why = [](const std::string& c, const std::string& k) {
    return std::string(TlsCertificate::FromFiles(c, k).status().message());
  };
  EXPECT_EQ(why(chain, key),
            key + ": key: it is not that of the first certificate");
  EXPECT_EQ(why(empty, key),
            empty + ": certificate: there is no certificate in it");
  EXPECT_EQ(why(chain, empty), empty + ": key: there is none in it");
  EXPECT_EQ(why(folder, key), "read " + folder + ": it is no regular file");
  EXPECT_EQ(why(chain, folder), "read " + folder + ": it is no regular file");
}

TEST(TlsCertificate, AKeyIsNotForEverybody) {
  const std::string chain = TempFile("chain", TestData("p256.pem"), 0644);
  for (const mode_t mode : {0604, 0602, 0601, 0644}) {
    const std::string key =
        TempFile(absl::StrCat("key", mode), TestData("p256.key.pem"), mode);
    EXPECT_EQ(TlsCertificate::FromFiles(chain, key).status().code(),
              absl::StatusCode::kPermissionDenied);
  }
  const std::string key = TempFile("key", TestData("p256.key.pem"), 0640);
  EXPECT_TRUE(TlsCertificate::FromFiles(chain, key).ok());
}

TEST(TlsCertificate, TellsWhatItIs) {
  const auto leaf = FromData("leaf.chain", "leaf");
  EXPECT_EQ(leaf->names(), (std::vector<std::string>{"leaf.test", "*.leaf.test",
                                                     "127.0.0.1", "::1"}));
  EXPECT_GT(leaf->not_after(),
            absl::FromUnixSeconds(0) + absl::Hours(24 * 365 * 100));
  // What it writes, it reads.
  const auto again =
      TlsCertificate::FromPem(leaf->chain_pem(), leaf->key_pem());
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->chain_pem(), leaf->chain_pem());
  EXPECT_EQ(again->key_pem(), leaf->key_pem());
  // The chain is whole, and has no text beside.
  EXPECT_EQ(leaf->chain_pem(), TestData("leaf.chain.pem"));
}

TEST(Tls, SelfsignedHasSan) {
  const auto made = TlsCertificate::SelfSigned(
      {"Example.org", "*.example.org", "127.0.0.1", "::1"});
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(made->names(),
            (std::vector<std::string>{"example.org", "*.example.org",
                                      "127.0.0.1", "::1"}));
  EXPECT_EQ(made->key_type(), KeyType::kEcdsa);
  X509* const own = made->credential().chain.front().get();
  EXPECT_EQ(X509_get_version(own), X509_VERSION_3);
  EXPECT_EQ(X509_check_ca(own), 0);
  EXPECT_EQ(X509_get_extended_key_usage(own),
            static_cast<uint32_t>(XKU_SSL_SERVER | XKU_SSL_CLIENT));
  int days = 0, seconds = 0;
  ASSERT_EQ(ASN1_TIME_diff(&days, &seconds, X509_get0_notBefore(own),
                           X509_get0_notAfter(own)),
            1);
  EXPECT_EQ(days, 365);
  // Each is another.
  const auto other = TlsCertificate::SelfSigned({"example.org"});
  EXPECT_NE(other->key_pem(), made->key_pem());
  EXPECT_NE(other->chain_pem(), made->chain_pem());
}

TEST(TlsCertificate, SelfSignedNamesAreChecked) {
  for (const std::string& wrong :
       {std::string(), std::string("a b"), std::string("\xc3\xbc.org"),
        std::string(254, 'a'), std::string("a\0b", 3),
        std::string("http://a")}) {
    EXPECT_EQ(TlsCertificate::SelfSigned({wrong}).status().code(),
              absl::StatusCode::kInvalidArgument)
        << wrong;
  }
  EXPECT_EQ(TlsCertificate::SelfSigned({}).status().code(),
            absl::StatusCode::kInvalidArgument);
  // Longer than the field of the subject: it is in the other one.
  const std::string label(60, 'a');
  const auto made = TlsCertificate::SelfSigned({label + "." + label + ".org"});
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(made->names().front(), label + "." + label + ".org");
}

}  // namespace
}  // namespace fio
