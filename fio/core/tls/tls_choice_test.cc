// Certificates that are chosen elsewhere, while the loop serves others.

#include "fio/tls/tls_choice.h"

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "fio/core/listener.h"
#include "fio/core/tls/tls_test_client.h"
#include "fio/core/tls/tls_test_loop.h"
#include "fio/sock/socket.h"
#include "fio/testing/fault_plan.h"
#include "fio/tls/tls_certificate.h"
#include "fio/tls/tls_context.h"
#include "fio/tls/tls_options.h"
#include "fio/tls/tls_test_util.h"
#include "fio/tls/tls_transport.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using tls_testing::CertificateFor;
using tls_testing::ClientTrusting;
using tls_testing::Context;
using tls_testing::Server;
using tls_testing::ServerWith;
using tls_testing::TestClient;
using tls_testing::TlsLoop;

class Tls : public TlsLoop {
 protected:
  // The choices wait in `asked_`.
  Context Asking() {
    TlsServerOptions options;
    options.choose = [this](const TlsClientHello& hello, TlsChoice choice) {
      EXPECT_EQ(hello.server_name, "chosen.test");
      asked_.push_back(std::move(choice));
    };
    return Server(std::move(options));
  }
  TestClient NewClient() {
    return TestClient(address(), ClientTrusting(chosen_.chain_pem()),
                      {.server_name = "chosen.test"});
  }
  // Until the server has asked for `client`, and waits.
  void AwaitQuestion(TestClient& client) {
    client.Shake();
    ASSERT_TRUE(Until([&] { return !asked_.empty(); }));
    Turn(3);
    client.Shake();
    EXPECT_FALSE(client.is_over());
  }

  const TlsCertificate chosen_ = CertificateFor("chosen.test");
  std::vector<TlsChoice> asked_;
};

TEST_F(Tls, AChoiceIsMadeByAnotherThread) {
  Listen(Serving(Asking()));
  TestClient client = NewClient();
  AwaitQuestion(client);
  EXPECT_EQ(opened_, 0);
  // Others come meanwhile, and the one that waits costs nothing.
  TestClient second = NewClient();
  second.Shake();
  ASSERT_TRUE(Until([&] { return asked_.size() == 2; }));
  Turn(5);
  {
    const testing::FaultPlan plan;
    Turn(10);
    EXPECT_EQ(plan.calls(testing::FaultPlan::Call::kRecv), 0u);
  }
  std::thread([&] { std::move(asked_[1]).Use(ServerWith(chosen_)); }).join();
  ASSERT_TRUE(Shake(second)) << second.failure();
  EXPECT_EQ(Ask(second, "second"), "second");
  client.Shake();
  EXPECT_FALSE(client.is_over());
  std::thread([&] { std::move(asked_[0]).Use(ServerWith(chosen_)); }).join();
  ASSERT_TRUE(Shake(client)) << client.failure();
  EXPECT_EQ(Ask(client, "first"), "first");
  EXPECT_THAT(client.info().peer_certificate()->names,
              ElementsAre("chosen.test"));
  EXPECT_EQ(opened_, 2);
}

// The answer comes from a thread that the loop does not wait for.
TEST_F(Tls, AChoiceWakesTheLoop) {
  Listen(Serving(Asking()));
  for (int i = 0; i < 20; ++i) {
    TestClient client = NewClient();
    AwaitQuestion(client);
    TlsChoice choice = std::move(asked_[0]);
    asked_.clear();
    std::thread answers([&] { std::move(choice).Use(ServerWith(chosen_)); });
    EXPECT_TRUE(Shake(client)) << client.failure();
    answers.join();
  }
}

TEST_F(Tls, AChoiceThatIsNeverMadeTimesOut) {
  ListenOptions options = Serving(Asking());
  options.handshake_timeout = absl::Seconds(3);
  Listen(std::move(options));
  TestClient client = NewClient();
  AwaitQuestion(client);
  Advance(absl::Seconds(3) - absl::Milliseconds(1));
  EXPECT_THAT(refused_, IsEmpty());
  Advance(absl::Milliseconds(1));
  ASSERT_THAT(refused_, SizeIs(1));
  EXPECT_TRUE(absl::IsDeadlineExceeded(refused_[0])) << refused_[0];
  EXPECT_FALSE(Shake(client));
  ASSERT_TRUE(Until([&] { return loop_->connection_count() == 0; }));
  // Too late.
  std::thread([&] { std::move(asked_[0]).Use(ServerWith(chosen_)); }).join();
  Turn(3);
  EXPECT_EQ(opened_, 0);
  EXPECT_THAT(refused_, SizeIs(1));
}

TEST_F(Tls, AConnectionMayEndWhileItsChoiceWaits) {
  Listen(Serving(Asking()));
  for (const bool reset : {false, true}) {
    SCOPED_TRACE(reset);
    refused_.clear();
    asked_.clear();
    auto client = std::make_unique<TestClient>(NewClient());
    AwaitQuestion(*client);
    if (reset) client->socket().Abort();
    client = nullptr;
    ASSERT_TRUE(Until([&] { return loop_->connection_count() == 0; }));
    ASSERT_THAT(refused_, SizeIs(1));
    EXPECT_TRUE(absl::IsUnavailable(refused_[0])) << refused_[0];
    std::thread([&] { std::move(asked_[0]).Use(ServerWith(chosen_)); }).join();
    Turn(3);
  }
  EXPECT_EQ(opened_, 0);
}

TEST_F(Tls, AChoiceMayOutliveTheLoop) {
  Listen(Serving(Asking()));
  TestClient client = NewClient();
  AwaitQuestion(client);
  listener_ = nullptr;
  loop_ = nullptr;
  ASSERT_THAT(refused_, SizeIs(1));
  EXPECT_TRUE(absl::IsCancelled(refused_[0])) << refused_[0];
  std::thread([&] { std::move(asked_[0]).Use(ServerWith(chosen_)); }).join();
}

TEST_F(Tls, AChoiceThatIsDroppedRefuses) {
  Listen(Serving(Asking()));
  TestClient client = NewClient();
  AwaitQuestion(client);
  asked_.clear();
  EXPECT_FALSE(Shake(client));
  EXPECT_TRUE(absl::IsPermissionDenied(client.failure())) << client.failure();
  ASSERT_TRUE(Until([&] { return refused_.size() == 1; }));
  EXPECT_TRUE(absl::IsNotFound(refused_[0])) << refused_[0];
}

}  // namespace
}  // namespace fio
