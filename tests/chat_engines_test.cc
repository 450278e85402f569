// Two chats that share their rooms by a real Redis or NATS server.

#include <csignal>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/chat_room.h"
#include "tests/example.h"
#include "tests/servers/nats_server.h"
#include "tests/servers/redis_server.h"

namespace fio {
namespace {

using testing::ChatClient;
using testing::ExpectRefusal;
using ::testing::HasSubstr;
using testing::NatsServer;
using testing::RedisServer;
using testing::Server;
using ::testing::StartsWith;

constexpr char kProgram[] = "examples/chat/chat";

// Until `to` hears what `from` says: all between them knows who listens.
void WaitUntilHeard(ChatClient& from, ChatClient& to, std::string_view word) {
  for (int i = 0;; ++i) {
    from.Say(absl::StrCat(word, " ", i));
    from.Say("/who");
    from.WaitFor("* In");
    to.Say("/who");
    for (std::string line = to.NextLine(); !absl::StartsWith(line, "* In");
         line = to.NextLine()) {
      if (absl::StrContains(line, absl::StrCat(": ", word, " "))) return;
    }
  }
}

// `from` says many lines, which all of `to` hear once and in order.
void ExpectHeard(ChatClient& from, const std::vector<ChatClient*>& to,
                 std::string_view word) {
  constexpr int kLines = 200;
  for (int i = 1; i <= kLines; ++i) from.Say(absl::StrCat(word, i));
  const std::string beginning = absl::StrCat(from.name(), ": ", word);
  for (ChatClient* const client : to) {
    for (int i = 1; i <= kLines; ++i) {
      EXPECT_EQ(client->WaitFor(beginning), absl::StrCat(beginning, i));
    }
  }
}

// Two servers with that flag, each in two processes, and clients of both.
template <typename Outside>
void ExpectToShareRooms(Outside& outside, const std::string& flag,
                        std::string_view name) {
  Server one(kProgram, {flag, "--workers=2"});
  Server other(kProgram, {flag, "--workers=2"});
  ChatClient ann(one.address());
  ChatClient amy(one.address());
  ChatClient ben(other.address());
  WaitUntilHeard(ann, ben, "is-it");
  WaitUntilHeard(ben, amy, "it-is");
  WaitUntilHeard(ann, amy, "all-here");
  ExpectHeard(ann, {&amy, &ben}, "first-");
  ExpectHeard(ben, {&ann, &amy}, "second-");

  outside.Kill();
  EXPECT_THAT(one.process().ReadLine(),
              StartsWith(absl::StrCat(name, " is lost: ")));
  outside.Start();
  EXPECT_THAT(one.process().ReadLine(),
              StartsWith(absl::StrCat(name, " is back after ")));
  EXPECT_THAT(other.process().ReadLine(), HasSubstr(" is lost: "));
  EXPECT_THAT(other.process().ReadLine(), HasSubstr("; lost: "));
  ExpectHeard(ann, {&amy, &ben}, "third-");
  ExpectHeard(ben, {&ann, &amy}, "fourth-");
}

TEST(ChatEngines, RedisSharesTheRooms) {
  RedisServer redis;
  ExpectToShareRooms(
      redis, absl::StrCat("--redis=redis://127.0.0.1:", redis.port(), "/"),
      "redis");
}

TEST(ChatEngines, NatsSharesTheRooms) {
  NatsServer nats;
  ExpectToShareRooms(nats, absl::StrCat("--nats=", nats.url()), "nats");
}

// It starts, serves and ends as ever.
TEST(ChatEngines, AServerThatIsAwayHoldsNothingUp) {
  testing::Port nobody;
  const std::string address = nobody.url().substr(sizeof("tcp://") - 1);
  for (const std::string& flag :
       {absl::StrCat("--redis=redis://", address, "/"),
        absl::StrCat("--nats=nats://", address)}) {
    Server server(kProgram, {flag});
    ChatClient ann(server.address());
    ann.Say("/who");
    EXPECT_EQ(ann.WaitFor("* In"), "* In lobby: " + ann.name());
    EXPECT_THAT(server.process().ReadLine(), HasSubstr(" is lost: "));
    server.process().Signal(SIGTERM);
    EXPECT_EQ(server.process().Wait(), 0);
  }
}

TEST(ChatEngines, SayWhatIsWrongWithTheirUrls) {
  ExpectRefusal(kProgram, {"--redis=nowhere://x"}, "redis://");
  ExpectRefusal(kProgram, {"--nats=nowhere://x"}, "url nowhere");
  ExpectRefusal(kProgram, {"--redis=redis://x", "--nats=nats://x"}, "one of");
}

}  // namespace
}  // namespace fio
