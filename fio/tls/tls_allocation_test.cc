// What a connection costs in memory. The library allocates a buffer for each
// record by itself, with malloc(3): four for a request and its answer, on both
// sides together. They do not count here.

#include <malloc.h>
#include <sys/resource.h>

#include <cstddef>
#include <cstdint>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"
#include "fio/testing/allocation_counter.h"
#include "fio/testing/loopback_pair.h"
#include "fio/tls/tls_context.h"
#include "fio/tls/tls_test_util.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using testing::AllocationCounter;
using testing::LoopbackPair;
using tls_testing::Client;
using tls_testing::Context;
using tls_testing::Pair;
using tls_testing::Server;
using tls_testing::Side;
using Handshake = Transport::Handshake;

bool Sends(Socket& from, Socket& to, std::string_view bytes) {
  char out[1000];
  if (from.TryWrite(bytes).bytes != bytes.size()) return false;
  if (!from.Flush().ok()) return false;
  return to.Read(absl::MakeSpan(out)).bytes == bytes.size();
}

TEST(Tls, ARequestAllocatesNothingOfOurs) {
  const std::string bytes(64, 'x');
  Pair pair(Server(), Client(), {.server_name = "localhost"},
            LoopbackPair::Unix());
  ASSERT_TRUE(pair.Shake());
  ASSERT_TRUE(pair.CarriesBothWays());
  constexpr int kRequests = 100;
  bool good = true;
  const AllocationCounter counter;
  for (int i = 0; i < kRequests; ++i) {
    good = good && Sends(pair.client(), pair.server(), bytes) &&
           Sends(pair.server(), pair.client(), bytes);
  }
  const int64_t ours = counter.allocations();
  EXPECT_TRUE(good);
  EXPECT_EQ(ours, 0);
}

// Of a server: the clients have gone when it is counted.
TEST(Tls, AnIdleConnectionIsSmall) {
  constexpr size_t kPairs = 1000;
  rlimit files;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &files), 0);
  files.rlim_cur = files.rlim_max;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &files), 0);
  const Context server = Server();
  const Context client = Client();
  {
    Pair first(server, client);  // Makes what is made once.
    ASSERT_TRUE(first.Shake() && first.CarriesBothWays());
  }
  std::vector<std::unique_ptr<Side>> servers;
  servers.reserve(kPairs);
  const size_t before = mallinfo2().uordblks;
  for (size_t i = 0; i < kPairs; ++i) {
    LoopbackPair sockets = LoopbackPair::Unix();
    servers.push_back(std::make_unique<Side>(std::move(sockets.near), server,
                                             TlsTransportOptions{}));
    Side other(std::move(sockets.far), client, {.server_name = "localhost"});
    while (!servers.back()->is_over()) {
      other.Shake();
      servers.back()->Shake();
    }
    ASSERT_EQ(servers.back()->state(), Handshake::kDone);
    ASSERT_TRUE(Sends(other.socket(), servers.back()->socket(), "a"));
    ASSERT_TRUE(Sends(servers.back()->socket(), other.socket(), "b"));
  }
  const size_t bytes = (mallinfo2().uordblks - before) / kPairs;
  std::cout << "An idle connection of a server: " << bytes << " bytes\n";
  EXPECT_LT(bytes, 6u << 10);  // 0 under a sanitizer.
}

}  // namespace
}  // namespace fio
