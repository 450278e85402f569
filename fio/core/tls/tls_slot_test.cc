// A context that changes while a server runs.

#include "fio/core/tls/tls_slot.h"

#include <atomic>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/core/listener.h"
#include "fio/core/reactor.h"
#include "fio/core/reactor_test_util.h"
#include "fio/core/tls/tls_factory.h"
#include "fio/core/tls/tls_test_client.h"
#include "fio/sock/socket_address.h"
#include "fio/tls/tls_test_util.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using core_internal::AttachEcho;
using core_internal::ListenOn;
using core_internal::Threads;
using ::testing::HasSubstr;
using tls_testing::Client;
using tls_testing::Context;
using tls_testing::Server;
using tls_testing::TestClient;

TEST(TlsSlot, HasWhatItsSourceGives) {
  absl::StatusOr<Context> next = Server();
  int asked = 0;
  auto slot = TlsSlot::Create([&] {
    ++asked;
    return next;
  });
  ASSERT_TRUE(slot.ok()) << slot.status();
  EXPECT_EQ((*slot)->current(), *next);
  EXPECT_EQ(asked, 1);
  next = Server();
  EXPECT_NE((*slot)->current(), *next);
  EXPECT_TRUE((*slot)->Reload().ok());
  EXPECT_EQ((*slot)->current(), *next);
  EXPECT_EQ(asked, 2);
}

TEST(TlsSlot, AnErrorKeepsTheOldOne) {
  absl::StatusOr<Context> next = Server();
  auto slot = TlsSlot::Create([&] { return next; });
  ASSERT_TRUE(slot.ok()) << slot.status();
  const Context old = *next;
  next = absl::NotFoundError("cert.pem");
  EXPECT_EQ((*slot)->Reload(), absl::NotFoundError("cert.pem"));
  EXPECT_EQ((*slot)->current(), old);
  next = nullptr;
  const absl::Status status = (*slot)->Reload();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("TlsSlot"));
  EXPECT_EQ((*slot)->current(), old);
}

TEST(TlsSlot, WithoutAContextThereIsNone) {
  EXPECT_EQ(TlsSlot::Create([]() -> absl::StatusOr<Context> {
              return absl::NotFoundError("cert.pem");
            }).status(),
            absl::NotFoundError("cert.pem"));
  EXPECT_TRUE(
      absl::IsInvalidArgument(TlsSlot::Create([]() -> absl::StatusOr<Context> {
                                return nullptr;
                              }).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(TlsSlot::Create(nullptr).status()));
}

// Four loops shake hands while the context is replaced again and again: no
// client notices.
TEST(TlsSlot, IsReplacedWhileLoopsServe) {
  constexpr int kClients = 3;
  constexpr int kRounds = 40;
  Reactor reactor(Threads(4));
  auto slot =
      TlsSlot::Create([]() -> absl::StatusOr<Context> { return Server(); });
  ASSERT_TRUE(slot.ok()) << slot.status();
  const SocketAddress address = ListenOn(
      reactor, {.on_open = AttachEcho, .transport = TlsFactory(*slot)});
  std::atomic<int> left = kClients;
  std::vector<std::thread> threads;
  const Context client = Client();
  for (int i = 0; i < kClients; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < kRounds; ++round) {
        TestClient one(address, client);
        EXPECT_TRUE(one.ShakeToEnd()) << one.failure();
        EXPECT_EQ(one.Ask("hello", 5), "hello");
      }
      if (--left == 0) reactor.Stop();
    });
  }
  threads.emplace_back([&] {
    while (left > 0) EXPECT_TRUE((*slot)->Reload().ok());
  });
  EXPECT_TRUE(reactor.Run().ok());
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace fio
