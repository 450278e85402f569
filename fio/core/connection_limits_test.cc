// Limits of the connections of a listener and of a connector.

#include "fio/core/connection_limits.h"

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/connector.h"
#include "fio/core/handshake_test_util.h"
#include "fio/core/listener.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/resolver.h"
#include "fio/core/transport_factory.h"
#include "fio/sock/file_range.h"
#include "fio/sock/url.h"
#include "fio/sock/watermarks.h"
#include "fio/testing/manual_clock.h"
#include "fio/testing/memory_file.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using core_internal::WordTransport;

constexpr size_t kLimit = 1000;

// Reads nothing of what it is shown.
class Hoarder final : public Protocol {
 public:
  explicit Hoarder(size_t& shown) : shown_(shown) {}
  void OnData(Connection& connection) override {
    shown_ = connection.Unread().size();
  }

 private:
  size_t& shown_;
};

// A client and a server on one loop, both with limits.
class Limits : public ::testing::TestWithParam<bool> {
 protected:
  Limits() {
    absl::StatusOr<std::unique_ptr<Loop>> loop =
        Loop::Create({.clock = &clock_});
    EXPECT_TRUE(loop.ok()) << loop.status();
    loop_ = *std::move(loop);
  }
  ~Limits() override { connector_ = nullptr; }

  void Run(const std::function<void(Connection&)>& at_server,
           const std::function<void(Connection&)>& at_client) {
    const ConnectionLimits limits = {
        .watermarks = Watermarks{.high_bytes = 10, .limit_bytes = kLimit},
        .unread_limit_bytes = 10};
    ListenOptions listen = {.on_open = at_server, .limits = limits};
    ConnectorOptions connect = {.on_open = at_client, .limits = limits};
    if (GetParam()) {
      listen.transport = [](const TransportRequest&) {
        return std::make_unique<WordTransport>("welcome;", "hello;");
      };
      connect.transport = [](const TransportRequest&) {
        return std::make_unique<WordTransport>("hello;", "welcome;");
      };
    }
    absl::StatusOr<std::unique_ptr<Listener>> listener = Listener::Create(
        *loop_, *Url::Parse("tcp://127.0.0.1:0"), std::move(listen));
    ASSERT_TRUE(listener.ok()) << listener.status();
    listener_ = *std::move(listener);
    absl::StatusOr<std::unique_ptr<Connector>> connector = Connector::Create(
        *loop_, resolver_,
        absl::StrCat("tcp://", listener_->local_address().ToString()),
        std::move(connect));
    ASSERT_TRUE(connector.ok()) << connector.status();
    connector_ = *std::move(connector);
  }
  void Until(const std::function<bool()>& so) {
    for (int i = 0; i < 1000 && !so(); ++i) Turn(10);
    EXPECT_TRUE(so());
  }
  void Turn(int wait_ms = 0) {
    const absl::Status turn =
        loop_->RunOnce(clock_.Now() + absl::Milliseconds(wait_ms));
    ASSERT_TRUE(turn.ok()) << turn;
  }

  testing::ManualClock clock_;
  Resolver resolver_;
  std::unique_ptr<Loop> loop_;
  std::unique_ptr<Listener> listener_;
  std::unique_ptr<Connector> connector_;
};

INSTANTIATE_TEST_SUITE_P(WithHandshake, Limits, ::testing::Bool());

TEST_P(Limits, AreInForceWhenOnOpenIsCalled) {
  int opened = 0;
  const auto exceed = [&](Connection& connection) {
    ++opened;
    EXPECT_TRUE(connection.Write(std::string(kLimit, 'x')));
    EXPECT_FALSE(connection.Write("x"));
    EXPECT_FALSE(connection.is_open());
  };
  Run(exceed, exceed);
  Until([&] { return opened == 2; });
  EXPECT_EQ(loop_->stats().over_limit, 2u);
}

TEST_P(Limits, BytesOfFilesAreNoMemory) {
  int opened = 0;
  const std::string bytes(100 * kLimit, 'f');
  const auto send = [&](Connection& connection) {
    ++opened;
    EXPECT_TRUE(connection.Write(*FileRange::Own(testing::MemoryFile(bytes))));
    EXPECT_EQ(connection.pending_bytes(), bytes.size());
    EXPECT_TRUE(connection.Write(std::string(kLimit, 'x')));
    EXPECT_TRUE(connection.is_open());
    connection.Close();
  };
  Run(send, send);
  Until([&] { return opened == 2; });
  EXPECT_EQ(loop_->stats().over_limit, 0u);
}

TEST_P(Limits, BoundWhatIsUnread) {
  size_t at_server = 0, at_client = 0;
  ConnectionId server, client;
  Run(
      [&](Connection& connection) {
        server = connection.id();
        connection.Attach(std::make_unique<Hoarder>(at_server));
        connection.Write("twelve bytes");
      },
      [&](Connection& connection) {
        client = connection.id();
        connection.Attach(std::make_unique<Hoarder>(at_client));
        connection.Write("twelve bytes");
      });
  Until([&] { return at_server > 0 && at_client > 0; });
  for (const ConnectionId id : {server, client}) {
    ASSERT_TRUE(loop_->Find(id)->Write("more"));
  }
  for (int i = 0; i < 5; ++i) Turn();
  EXPECT_EQ(at_server, 12u);
  EXPECT_EQ(at_client, 12u);
}

}  // namespace
}  // namespace fio
