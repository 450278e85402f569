// What any engine has to do, against a real server.

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/log/absl_check.h"
#include "absl/strings/str_cat.h"
#include "fio/core/pubsub/pub_sub.h"
#include "fio/core/pubsub/redis/redis_engine.h"
#include "fio/core/pubsub/redis/redis_test_util.h"
#include "fio/pubsub/broker.h"
#include "fio/pubsub/engine.h"
#include "fio/testing/engine_conformance.h"
#include "gtest/gtest.h"
#include "tests/servers/redis_connection.h"
#include "tests/servers/redis_server.h"

namespace fio {
namespace {

using redis_testing::Node;
using testing::EngineUnderTest;
using testing::RedisConnection;
using testing::RedisReply;
using testing::RedisServer;

// The far side is two plain clients of the server.
class RedisUnderTest final : public EngineUnderTest {
 public:
  RedisUnderTest() {
    listener_.Add({"HELLO", "3"});
    listener_.Send();
    listener_.Read();
  }

  Broker& broker() override { return node_.pubsub().broker(); }
  Engine* engine() override { return &node_.engine(); }
  void Do(absl::FunctionRef<void()> task) override {
    node_.Do([task] { task(); });
  }
  bool IsConnected() override { return node_.engine().stats().connected; }

  void Listen(std::string_view channel) override {
    Ask({"SUBSCRIBE", channel}, "subscribe");
  }
  void Publish(std::string_view channel, std::string_view body) override {
    publisher_.Add({"PUBLISH", channel, body});
    publisher_.Send();
    ABSL_CHECK_EQ(publisher_.Read().type, ':');
  }
  std::vector<Heard> TakeHeard() override {
    Ask({"PING"}, "PONG");
    return std::exchange(heard_, {});
  }

 private:
  // Reads until that is answered; keeps the messages that come before.
  void Ask(std::initializer_list<std::string_view> command,
           std::string_view answer) {
    listener_.Add(command);
    listener_.Send();
    while (true) {
      const RedisReply reply = listener_.Read();
      if (reply.type != '>') {
        ABSL_CHECK_EQ(reply.text, answer);
        return;
      }
      if (reply.items[0].text == answer) return;
      ABSL_CHECK_EQ(reply.items[0].text, "message");
      heard_.push_back(
          {.channel = reply.items[1].text, .body = reply.items[2].text});
    }
  }

  const RedisServer server_;
  RedisConnection listener_{server_.path()};
  RedisConnection publisher_{server_.path()};
  Node node_{absl::StrCat("redis://127.0.0.1:", server_.port())};
  std::vector<Heard> heard_;
};

TEST(EngineConformance, Redis) {
  RedisUnderTest redis;
  testing::CheckEngine(redis);
}

}  // namespace
}  // namespace fio
