#include "fio/core/pubsub/nats/internal/nkey.h"

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "gtest/gtest.h"

namespace fio::nats_internal {
namespace {

// The first test of RFC 8032, section 7.1.
constexpr std::string_view kSeed =
    "SUAJ2YNRTXX72WTAXKCEV5ES5QWMIRCJYVUXWMTJDFYDXLADDSXH6YALCA";

TEST(NKey, Signs) {
  const absl::StatusOr<NKey> key = NKey::Parse(kSeed);
  ASSERT_TRUE(key.ok()) << key.status();
  EXPECT_EQ(key->public_key(),
            "UDLVVGABQKYQVN6VJP7NHSLEA45A5YLS6PNKMIZFV4BBU2HXA5IRUVAL");
  std::string signature;
  ASSERT_TRUE(absl::WebSafeBase64Unescape(key->Sign(""), &signature));
  EXPECT_EQ(absl::BytesToHexString(signature),
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
            "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b");
  EXPECT_NE(key->Sign("x"), key->Sign(""));
}

TEST(NKey, RefusesOthers) {
  for (const std::string_view seed :
       {"", "SU",
        // A byte is another, too short, too long, in lower case.
        "SUAJ2YNRTXX73WTAXKCEV5ES5QWMIRCJYVUXWMTJDFYDXLADDSXH6YALCA",
        "SUAJ2YNRTXX72WTAXKCEV5ES5QWMIRCJYVUXWMTJDFYDXLADDSXH6YAL",
        "SUAJ2YNRTXX72WTAXKCEV5ES5QWMIRCJYVUXWMTJDFYDXLADDSXH6YALCAAA",
        "suaj2ynrtxx72wtaxkcev5es5qwmircjyvuxwmtjdfydxladdsxh6yalca",
        // The same of an account, and the public key.
        "SAAJ2YNRTXX72WTAXKCEV5ES5QWMIRCJYVUXWMTJDFYDXLADDSXH6YHY3Q",
        "UDLVVGABQKYQVN6VJP7NHSLEA45A5YLS6PNKMIZFV4BBU2HXA5IRUVAL"}) {
    const absl::Status status = NKey::Parse(seed).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << seed;
  }
}

}  // namespace
}  // namespace fio::nats_internal
