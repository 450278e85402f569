// What any engine has to do, against a real server.

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/log/absl_check.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "fio/core/pubsub/nats/internal/nats_subject.h"
#include "fio/core/pubsub/nats/nats_engine.h"
#include "fio/core/pubsub/nats/nats_options.h"
#include "fio/core/pubsub/nats/nats_test_util.h"
#include "fio/core/pubsub/pub_sub.h"
#include "fio/pubsub/broker.h"
#include "fio/pubsub/engine.h"
#include "fio/testing/engine_conformance.h"
#include "gtest/gtest.h"
#include "tests/servers/nats_connection.h"
#include "tests/servers/nats_server.h"

namespace fio {
namespace {

using nats_internal::ChannelOf;
using nats_internal::NatsNode;
using nats_internal::SubjectOf;
using testing::EngineUnderTest;
using testing::NatsConnection;
using testing::NatsServer;

// The far side is a plain client of the server.
class NatsUnderTest final : public EngineUnderTest {
 public:
  explicit NatsUnderTest(NatsOptions options)
      : node_(server_.url(), std::move(options)) {}

  Broker& broker() override { return node_.pubsub().broker(); }
  Engine* engine() override { return &node_.engine(); }
  void Do(absl::FunctionRef<void()> task) override {
    node_.OnLoop([task] { task(); });
  }
  bool IsConnected() override { return node_.engine().stats().connected; }

  void Listen(std::string_view channel) override {
    ReadAll(
        absl::StrCat("SUB ", *SubjectOf(channel), " ", ++last_sid_, "\r\n"));
  }
  void Publish(std::string_view channel, std::string_view body) override {
    const std::string subject = *SubjectOf(channel);
    ReadAll(
        absl::StrCat("PUB ", subject, " ", body.size(), "\r\n", body, "\r\n"));
  }
  std::vector<Heard> TakeHeard() override {
    ReadAll();
    return std::exchange(heard_, {});
  }

 private:
  // Keeps what comes before the server has answered. One call sends all: the
  // second of two would wait for an acknowledgement of the first.
  void ReadAll(std::string_view command = "") {
    other_.Send(absl::StrCat(command, "PING\r\n"));
    while (true) {
      const std::string line = other_.ReadLine();
      ABSL_CHECK_NE(line, "END");
      if (line == "PONG") return;
      if (absl::StartsWith(line, "MSG ")) Keep(line);
    }
  }

  void Keep(const std::string& line) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ');
    size_t size = 0;
    ABSL_CHECK(absl::SimpleAtoi(words.back(), &size));
    std::string body = other_.ReadBytes(size + 2);
    body.resize(size);
    const std::optional<std::string> channel = ChannelOf(words[1]);
    ABSL_CHECK(channel.has_value()) << line;
    heard_.push_back({.channel = *channel, .body = std::move(body)});
  }

  const NatsServer server_;
  NatsConnection other_{server_.port()};
  NatsNode node_;
  int last_sid_ = 0;
  std::vector<Heard> heard_;
};

TEST(EngineConformance, Nats) {
  NatsUnderTest nats({});
  testing::CheckEngine(nats);
}

TEST(EngineConformance, NatsWithoutLocalEcho) {
  NatsUnderTest nats({.local_echo = false});
  testing::CheckEngine(nats);
}

}  // namespace
}  // namespace fio
