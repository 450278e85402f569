#include <cerrno>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "fio/core/connector.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/resolver.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"
#include "fio/testing/simulated_network.h"
#include "fio/testing/world.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio::testing {
namespace {

using ::testing::HasSubstr;

constexpr std::string_view kUrl = "tcp://10.0.0.1:80";

class Echo final : public Protocol {
 public:
  void OnData(Connection& connection) override {
    connection.Write(connection.Received());
  }
};

void AttachEcho(Connection& connection) {
  connection.Attach(std::make_unique<Echo>());
}

// Says what it was made for, ends its stream, and keeps the answer.
class Asker final : public Protocol {
 public:
  Asker(std::string question, std::string& answer)
      : question_(std::move(question)), answer_(answer) {}

  void OnOpen(Connection& connection) override {
    connection.Write(question_);
    connection.ShutdownWrite();
  }
  void OnData(Connection& connection) override {
    answer_ += connection.Received();
  }

 private:
  const std::string question_;
  std::string& answer_;
};

class WorldListenTest : public ::testing::Test {
 protected:
  std::unique_ptr<Connector> Connect(ConnectorOptions options,
                                     std::string_view url = kUrl) {
    options.on_failed = [this](const absl::Status& why) { failed_ = why; };
    options.jitter_seed = 1;
    if (options.on_open == nullptr) options.on_open = AttachEcho;
    return *Connector::Create(world_.loop(), resolver_, url, options);
  }

  World world_;
  Resolver resolver_;
  Peer server_;
  absl::Status failed_;
  const WorldListenOptions to_server_ = {
      .on_peer = [this](Peer peer) { server_ = std::move(peer); }};
};

TEST_F(WorldListenTest, ATestIsTheServer) {
  world_.Listen(kUrl, to_server_);
  const auto connector = Connect({});
  world_.RunUntilIdle();
  EXPECT_EQ(connector->stats().opened, 1u);
  server_.Send("hello");
  world_.RunUntilIdle();
  EXPECT_EQ(server_.received(), "hello");
  server_.Close();
  world_.RunUntilIdle();
  EXPECT_TRUE(server_.saw_end());
  EXPECT_EQ(world_.network().open_count(), 0u);
}

TEST_F(WorldListenTest, KnowsWhomItHasReached) {
  world_.Listen("tcp://[2001:db8::1]:80", to_server_);
  std::string reached;
  const auto connector =
      Connect({.on_open =
                   [&reached](Connection& connection) {
                     reached = connection.peer_address().ToString();
                     AttachEcho(connection);
                   }},
              "tcp://[2001:db8::1]:80");
  world_.RunUntilIdle();
  EXPECT_EQ(reached, "[2001:db8::1]:80");
}

TEST_F(WorldListenTest, RefusesWhereNobodyListens) {
  world_.Listen(kUrl, to_server_);
  const auto connector = Connect({}, "tcp://10.0.0.1:81");
  world_.RunUntilIdle();
  EXPECT_THAT(std::string(failed_.message()), HasSubstr("ECONNREFUSED"));
  EXPECT_EQ(world_.network().open_count(), 0u);
}

TEST_F(WorldListenTest, ASilentHostIsWaitedForInTheWorldsTime) {
  world_.Listen(kUrl, {});
  const auto connector = Connect({.timeout = absl::Seconds(20)});
  world_.Advance(absl::Seconds(20) - absl::Milliseconds(1));
  EXPECT_TRUE(failed_.ok());
  world_.Advance(absl::Milliseconds(1));
  EXPECT_TRUE(absl::IsDeadlineExceeded(failed_)) << failed_;
  EXPECT_EQ(world_.network().open_count(), 0u);
}

TEST_F(WorldListenTest, ReconnectsWhenTheServerIsBack) {
  world_.Listen(kUrl, to_server_);
  const auto connector = Connect({.reconnect = true});
  world_.RunUntilIdle();
  world_.StopListening(kUrl);
  server_.Reset();
  world_.Advance(absl::Seconds(10));
  EXPECT_GT(connector->stats().failed, 2u);
  world_.Listen(kUrl, to_server_);
  world_.Advance(absl::Seconds(30));
  EXPECT_EQ(connector->stats().opened, 2u);
}

TEST_F(WorldListenTest, AServerInTheWorldAnswersMoreThanAWindow) {
  world_.Listen(kUrl, {.on_open = AttachEcho});
  const std::string question(1'000'000, 'x');
  std::string answer;
  const auto connector = Connect({.on_open = [&](Connection& connection) {
    connection.Attach(std::make_unique<Asker>(question, answer));
  }});
  world_.RunUntilIdle();
  EXPECT_EQ(answer.size(), question.size());
  EXPECT_EQ(world_.loop().connection_count(), 0u);
  EXPECT_EQ(world_.network().open_count(), 0u);
}

// Keeps why its connection has ended.
class KeepsReason final : public Protocol {
 public:
  explicit KeepsReason(CloseReason& reason) : reason_(reason) {}
  void OnData(Connection& /*connection*/) override {}
  void OnClose(Connection& /*connection*/, const CloseReason& reason) override {
    reason_ = reason;
  }

 private:
  CloseReason& reason_;
};

TEST_F(WorldListenTest, AResetReachesTheOtherEnd) {
  world_.Listen(kUrl, {.on_open = [](Connection& server) { server.Abort(); }});
  CloseReason reason;
  const auto connector = Connect({.on_open = [&](Connection& connection) {
    connection.Attach(std::make_unique<KeepsReason>(reason));
  }});
  world_.RunUntilIdle();
  EXPECT_EQ(reason.error, ECONNRESET);
  EXPECT_EQ(world_.network().open_count(), 0u);
}

// The name is asked for on a thread.
TEST_F(WorldListenTest, RunUntilWaitsForAName) {
  world_.Listen(kUrl, to_server_);
  Resolver names([](const Url&) -> Resolver::Addresses {
    return std::vector<SocketAddress>{*SocketAddress::FromIp("10.0.0.1", 80)};
  });
  const auto connector = *Connector::Create(
      world_.loop(), names, "tcp://server.test:80", {.on_open = AttachEcho});
  world_.RunUntil([&] { return connector->stats().opened == 1; });
  EXPECT_TRUE(server_.is_connected());
}

TEST(WorldListen, TheSameSeedGivesTheSameRun) {
  const auto run = [] {
    World world({.seed = 5,
                 .network = {.short_read = 0.3,
                             .would_block = 0.3,
                             .segmented = 0.5,
                             .trace = true}});
    world.Listen(kUrl, {.on_open = AttachEcho});
    Resolver resolver;
    std::string answer;
    const auto connector = *Connector::Create(
        world.loop(), resolver, kUrl, {.on_open = [&](Connection& connection) {
          connection.Attach(
              std::make_unique<Asker>(std::string(10'000, 'x'), answer));
        }});
    world.RunUntilIdle();
    EXPECT_EQ(answer.size(), 10'000u);
    return world.trace();
  };
  EXPECT_EQ(run(), run());
}

}  // namespace
}  // namespace fio::testing
