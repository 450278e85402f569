// Thousands of handshakes, a third of which are cut at any byte. FIO_TLS_STORM
// is how many there are.

#include <malloc.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "fio/core/listener.h"
#include "fio/core/tls/tls_test_client.h"
#include "fio/core/tls/tls_test_loop.h"
#include "fio/sock/socket.h"
#include "fio/testing/fault_plan.h"
#include "fio/tls/tls_context.h"
#include "fio/tls/tls_test_util.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using testing::FaultPlan;
using tls_testing::Client;
using tls_testing::Context;
using tls_testing::Server;
using tls_testing::TestClient;
using tls_testing::TlsLoop;

constexpr std::string_view kQuestion = "a question";
constexpr int kAtOnce = 25;
// Of all that is allocated, however many there were.
constexpr size_t kMostGrowthBytes = size_t{32} << 10;

int HowMany() {
  int count = 3000;
  const char* const given = std::getenv("FIO_TLS_STORM");
  if (given != nullptr && !absl::SimpleAtoi(given, &count)) ADD_FAILURE();
  return count;
}

// Nothing at all under a sanitizer, which has a malloc() of its own.
size_t AllocatedBytes() {
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

// One of the many: shakes hands, asks, hears the answer, and goes.
struct OneOfMany {
  std::unique_ptr<TestClient> client;
  bool cut = false;
  bool asked = false;
  std::string answer;

  // False once it has gone.
  bool Step() {
    if (client == nullptr) return false;
    client->Shake();
    if (!client->is_over()) return true;
    if (client->is_done() && !asked) {
      client->Send(kQuestion);
      asked = true;
    }
    if (client->is_done()) answer += client->Take();
    if (client->socket().is_open() && answer.size() < kQuestion.size()) {
      return true;
    }
    client = nullptr;
    return false;
  }
};

class Tls : public TlsLoop {
 protected:
  uint64_t Draw(uint64_t most) { return random_() % (most + 1); }

  OneOfMany Begin(FaultPlan& plan) {
    OneOfMany one;
    one.client = std::make_unique<TestClient>(address(), client_);
    one.cut = Draw(2) == 0;
    const int fd = one.client->socket().fd();
    // A client sends some 400 bytes in all, and hears three times as many.
    if (one.cut && Draw(1) == 0) {
      plan.ResetAt(fd, Draw(400));
    } else if (one.cut) {
      plan.ResetAtRead(fd, Draw(1200));
    }
    return one;
  }

  // What is left of it, in any state, goes.
  void PlayMany(FaultPlan& plan) {
    std::vector<OneOfMany> many;
    for (int i = 0; i < kAtOnce; ++i) many.push_back(Begin(plan));
    EXPECT_TRUE(Until([&] {
      bool left = false;
      for (OneOfMany& one : many) {
        if (one.Step()) left = true;
        // Some end in the middle, though nothing cuts them.
        if (one.cut && one.client != nullptr && Draw(20) == 0) {
          if (Draw(1) == 0) one.client->socket().Abort();
          one.client = nullptr;
        }
      }
      return !left;
    }));
    for (const OneOfMany& one : many) {
      EXPECT_TRUE(one.cut || one.answer == kQuestion) << one.answer;
    }
  }

  // Until all have gone but the one that is served.
  void Storm(FaultPlan& plan, int count, TestClient& served) {
    for (int i = 0; i < count; i += kAtOnce) {
      PlayMany(plan);
      EXPECT_EQ(Ask(served, "still here"), "still here");
      CountFailures();
    }
    EXPECT_TRUE(Until([&] { return loop_->connection_count() == 1; }));
    CountFailures();
  }

  void CountFailures() {
    failures_ += refused_.size();
    refused_.clear();
  }

  // Begin() knows how much is said with this group.
  const Context client_ = Client({.groups = {"X25519"}});
  std::mt19937_64 random_{18};
  size_t failures_ = 0;
};

TEST_F(Tls, ThousandsCutAtAnyByte) {
  FaultPlan plan;
  const Context server = Server();
  Listen(Serving(server));
  {
    TestClient served(address(), Client());
    ASSERT_TRUE(Shake(served)) << served.failure();
    ASSERT_EQ(Ask(served, "x"), "x");
    const int64_t uses = server.use_count();
    const std::vector<int> descriptors = plan.open_descriptors();
    const int count = HowMany();
    Storm(plan, count / 10, served);  // Fills what is kept for reuse.
    const size_t allocated = AllocatedBytes();
    Storm(plan, count - count / 10, served);
    EXPECT_LT(AllocatedBytes(), allocated + kMostGrowthBytes)
        << "after " << allocated;
    EXPECT_EQ(server.use_count(), uses);
    EXPECT_EQ(plan.open_descriptors(), descriptors);
    const ListenerStats stats = listener_->stats();
    EXPECT_EQ(stats.handshakes_under_way, 0u);
    EXPECT_EQ(stats.accepted, static_cast<uint64_t>(opened_) + failures_);
    EXPECT_EQ(stats.handshakes_failed, failures_);
    EXPECT_EQ(server->stats().handshakes, static_cast<uint64_t>(opened_));
    // Neither all nor none was cut in its handshake.
    EXPECT_GT(failures_, stats.accepted / 20);
    EXPECT_LT(failures_, stats.accepted / 3);
  }
  ASSERT_TRUE(Until([&] { return loop_->connection_count() == 0; }));
  listener_ = nullptr;
  EXPECT_EQ(server.use_count(), 1) << "of this test";
}

}  // namespace
}  // namespace fio
