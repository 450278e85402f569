// Contexts that several threads use at once.

#include <atomic>
#include <latch>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "fio/testing/loopback_pair.h"
#include "fio/tls/tls_context.h"
#include "fio/tls/tls_info.h"
#include "fio/tls/tls_options.h"
#include "fio/tls/tls_test_util.h"
#include "fio/tls/tls_ticket_keys.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using testing::LoopbackPair;
using tls_testing::Client;
using tls_testing::Context;
using tls_testing::Pair;
using tls_testing::Server;

// Threads that shake and resume, while new contexts replace the server's.
TEST(TlsContext, SharedByThreads) {
  constexpr int kThreads = 4;
  constexpr int kConnections = 50;
  const auto keys = *TlsTicketKeys::Create();
  const Context client = Client();
  std::atomic<Context> server = Server({.ticket_keys = keys});
  std::atomic<int> resumed = 0, failed = 0;
  std::latch begin(kThreads);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      begin.arrive_and_wait();
      for (int n = 0; n < kConnections; ++n) {
        Pair pair(server.load(), client, {.server_name = "localhost"},
                  LoopbackPair::Unix());
        if (!pair.Shake() || !pair.CarriesBothWays()) ++failed;
        if (pair.server_info().is_resumed()) ++resumed;
        if (n % 10 == 0) server.store(Server({.ticket_keys = keys}));
        static_cast<void>(pair.client_tls().UpdateKeys());
        if (!pair.CarriesBothWays()) ++failed;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failed, 0);
  // Each takes a ticket that it, or another thread, was given.
  EXPECT_GT(resumed, kThreads * kConnections / 2);
  EXPECT_EQ(client->stats().handshakes,
            static_cast<uint64_t>(kThreads * kConnections));
}

// Each thread has buffers of its own, and a connection may change its thread.
TEST(Tls, AConnectionMayChangeItsThread) {
  Pair pair(Server(), Client(), {.server_name = "localhost"},
            LoopbackPair::Unix());
  for (int i = 0; i < 4; ++i) {
    std::thread([&] {
      EXPECT_TRUE(pair.Shake());
      EXPECT_TRUE(pair.CarriesBothWays());
    }).join();
  }
}

}  // namespace
}  // namespace fio
