#include "fio/core/pubsub/nats/internal/nats_info.h"

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio::nats_internal {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

bool IsGood(std::string_view json) { return NatsInfo::Parse(json).ok(); }

TEST(NatsInfo, HasWhatAServerTells) {
  const absl::StatusOr<NatsInfo> info = NatsInfo::Parse(
      R"({"server_id":"NA","server_name":"n1","version":"2.9.10","proto":1,)"
      R"("git_commit":null,"go":"go1.19","host":"0.0.0.0","port":4222,)"
      R"("headers":true,"auth_required":true,"tls_required":true,)"
      R"("tls_available":true,"max_payload":1048576,"nonce":"q\u00e9\/",)"
      R"("x":{"y":[1,-2.5e+3,[],{}]},"ldm":true,)"
      R"("connect_urls":["a:1","[::1]:2"]} )");
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->server_id, "NA");
  EXPECT_EQ(info->server_name, "n1");
  EXPECT_EQ(info->version, "2.9.10");
  EXPECT_EQ(info->nonce, "q\xC3\xA9/");
  EXPECT_EQ(info->max_payload, 1048576u);
  EXPECT_TRUE(info->headers && info->auth_required && info->tls_required &&
              info->tls_available && info->lame_duck);
  EXPECT_THAT(info->connect_urls, ElementsAre("a:1", "[::1]:2"));
}

TEST(NatsInfo, MayTellNothing) {
  const absl::StatusOr<NatsInfo> info = NatsInfo::Parse(" { } ");
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->max_payload, 0u);
  EXPECT_FALSE(info->headers || info->tls_required || info->lame_duck);
  EXPECT_THAT(info->connect_urls, IsEmpty());
}

TEST(NatsInfo, RefusesWhatIsNoJson) {
  for (const std::string_view json : {"",
                                      "{",
                                      "}",
                                      "{}x",
                                      "[]",
                                      "1",
                                      "{\"a\"}",
                                      "{\"a\":}",
                                      "{\"a\":1,}",
                                      "{a:1}",
                                      "{\"a\":01}",
                                      "{\"a\":1.}",
                                      "{\"a\":1e}",
                                      "{\"a\":-}",
                                      "{\"a\":nul}",
                                      "{\"a\":True}",
                                      "{\"a\":\"x}",
                                      "{\"a\":\"\n\"}",
                                      "{\"a\":\"\\x\"}",
                                      "{\"a\":\"\\u12\"}",
                                      "{\"a\":\"\\ud800\"}",
                                      "{\"a\":\"\\ud800\\u0041\"}",
                                      "{\"a\":\"\\udc00\\udc00\"}",
                                      "{\"a\":[1}",
                                      "{\"a\":[1,]}",
                                      "{\"a\":1 \"b\":2}"}) {
    EXPECT_FALSE(IsGood(json)) << json;
  }
}

TEST(NatsInfo, RefusesOtherTypes) {
  for (const std::string_view json :
       {"{\"server_id\":1}", "{\"max_payload\":\"1\"}", "{\"max_payload\":-1}",
        "{\"max_payload\":1.5}", "{\"max_payload\":1e3}",
        "{\"max_payload\":99999999999999999999}", "{\"ldm\":1}",
        "{\"ldm\":null}", "{\"connect_urls\":\"a:1\"}",
        "{\"connect_urls\":[1]}"}) {
    EXPECT_FALSE(IsGood(json)) << json;
  }
}

TEST(NatsInfo, IsBounded) {
  const auto nested = [](int depth) {
    return absl::StrCat("{\"a\":", std::string(depth, '['),
                        std::string(depth, ']'), "}");
  };
  EXPECT_TRUE(IsGood(nested(NatsInfo::kMaxDepth)));
  EXPECT_FALSE(IsGood(nested(NatsInfo::kMaxDepth + 1)));
  EXPECT_FALSE(IsGood(nested(100'000)));
  std::string urls = "\"a:1\"";
  for (size_t i = 1; i < NatsInfo::kMaxServers; ++i) urls += ",\"a:1\"";
  EXPECT_TRUE(IsGood(absl::StrCat("{\"connect_urls\":[", urls, "]}")));
  EXPECT_FALSE(IsGood(absl::StrCat("{\"connect_urls\":[", urls, ",\"\"]}")));
}

TEST(NatsInfo, StringsComeBack) {
  const std::string text("a\"b\\c\x01\n\x00\xC3\xA9\x7F", 12);
  const std::string json = absl::StrCat("{\"nonce\":", JsonString(text), "}");
  const absl::StatusOr<NatsInfo> info = NatsInfo::Parse(json);
  ASSERT_TRUE(info.ok()) << json;
  EXPECT_EQ(info->nonce, text);
  EXPECT_EQ(NatsInfo::Parse(R"({"nonce":"\ud83d\ude00"})")->nonce,
            "\xF0\x9F\x98\x80");
}

}  // namespace
}  // namespace fio::nats_internal
