// Bytes in both directions, under kernels without room.

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/types/span.h"
#include "fio/base/syscalls.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"
#include "fio/testing/fault_plan.h"
#include "fio/testing/loopback_pair.h"
#include "fio/tls/internal/boringssl.h"
#include "fio/tls/tls_certificate.h"
#include "fio/tls/tls_context.h"
#include "fio/tls/tls_options.h"
#include "fio/tls/tls_raw_client.h"
#include "fio/tls/tls_test_util.h"
#include "fio/tls/tls_transport.h"
#include "fio/tls/tls_version.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using testing::FaultPlan;
using testing::LoopbackPair;
using tls_testing::Client;
using tls_testing::Pair;
using tls_testing::RawPair;
using tls_testing::Server;

// Connections of which the kernel holds little.
LoopbackPair Narrow() {
  LoopbackPair pair = LoopbackPair::Unix();
  const int bytes = 4096;
  for (const int fd : {pair.near.fd(), pair.far.fd()}) {
    ABSL_CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)),
                  0);
  }
  return pair;
}

// Bytes that differ from place to place.
std::string Pattern(size_t size) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) {
    bytes[i] = static_cast<char>(i * 31 + (i >> 8) * 7);
  }
  return bytes;
}

// One end of an exchange: sends `out`, and expects `expected`.
struct End {
  bool is_complete() const {
    return received.size() == expected && !socket.has_pending() &&
           !socket.wants_write();
  }

  // False once it has failed.
  bool Step() {
    if (socket.wants_write() && socket.Flush().failed()) return false;
    char piece[3000];
    for (;;) {
      const IoResult read = socket.Read(absl::MakeSpan(piece));
      if (read.would_block()) break;
      if (read.bytes == 0) return false;
      received.append(piece, read.bytes);
    }
    return !socket.wants_write() || !socket.Flush().failed();
  }

  pollfd Asked() const {
    const int events = POLLIN | (socket.wants_write() ? POLLOUT : 0);
    return {.fd = socket.fd(),
            .events = static_cast<short>(events),  // NOLINT: of the API.
            .revents = 0};
  }

  Socket& socket;
  size_t expected;
  std::string received = {};
};

// Until both are complete, each woken only for what it asks for.
bool RunBoth(End& a, End& b) {
  for (;;) {
    if (!a.Step() || !b.Step()) return false;
    if (a.is_complete() && b.is_complete()) return true;
    pollfd asked[] = {a.Asked(), b.Asked()};
    poll(asked, 2, -1);
  }
}

void FillUp(Socket& socket, std::string_view bytes) {
  ASSERT_TRUE(socket.Write(bytes).ok());
  while (socket.Flush().ok() && socket.wants_write()) {
  }
  ASSERT_TRUE(socket.wants_write()) << "the kernel has taken all";
}

TEST(Tls, KeyUpdate) {
  Pair pair(Server(), Client());
  ASSERT_TRUE(pair.Shake());
  for (int i = 0; i < 40; ++i) {
    EXPECT_TRUE(pair.client_tls().UpdateKeys());
    EXPECT_TRUE(pair.CarriesBothWays());
    EXPECT_TRUE(pair.server_tls().UpdateKeys());
    EXPECT_TRUE(pair.CarriesBothWays());
  }
  Pair old(Server({.max_version = TlsVersion::kTls12}), Client());
  EXPECT_FALSE(old.client_tls().UpdateKeys());
  ASSERT_TRUE(old.Shake());
  EXPECT_FALSE(old.client_tls().UpdateKeys());
  EXPECT_TRUE(old.CarriesBothWays());
}

// What the other side has sent and received of them.
struct Updates {
  static void Count(int is_write, int /*version*/, int type, const void* bytes,
                    size_t size, SSL* ssl, void* /*unused*/) {
    if (type != SSL3_RT_HANDSHAKE || size == 0) return;
    if (*static_cast<const uint8_t*>(bytes) != SSL3_MT_KEY_UPDATE) return;
    auto& updates =
        *static_cast<Updates*>(SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), 0));
    ++(is_write != 0 ? updates.sent : updates.received);
  }

  int sent = 0, received = 0;
};

TEST(Tls, KeyUpdatesReachThePeer) {
  Updates updates;
  RawPair pair(Server(), [&updates](SSL_CTX* context) {
    SSL_CTX_set_ex_data(context, 0, &updates);
    SSL_CTX_set_msg_callback(context, Updates::Count);
  });
  ASSERT_EQ(pair.Shake(), SSL_ERROR_NONE);
  Socket& socket = pair.server().socket();
  EXPECT_TRUE(pair.server().tls().UpdateKeys());
  EXPECT_EQ(socket.TryWrite("a").bytes, 1u);
  int error = 0;
  EXPECT_EQ(pair.client().Read(&error), "a");
  EXPECT_EQ(updates.received, 1);
  EXPECT_EQ(pair.client().Write("b"), 1);  // With its own update before.
  EXPECT_EQ(updates.sent, 1);
  char out[10];
  EXPECT_EQ(socket.Read(absl::MakeSpan(out)).bytes, 1u);
  // And the other way round.
  ASSERT_EQ(SSL_key_update(pair.client().ssl(), SSL_KEY_UPDATE_REQUESTED), 1);
  EXPECT_EQ(pair.client().Write("c"), 1);
  EXPECT_EQ(socket.Read(absl::MakeSpan(out)).bytes, 1u);
  EXPECT_TRUE(socket.Flush().ok());
  EXPECT_EQ(socket.TryWrite("d").bytes, 1u);
  EXPECT_EQ(pair.client().Read(&error), "d");
  EXPECT_EQ(updates.received, 2);
}

// Of one record that the kernel takes in parts: what either side holds of it.
TEST(Tls, HeldBytesAreThoseThatWaitForTheRest) {
  const std::string bytes = Pattern(16'000);
  Pair pair(Server(), Client(), {.server_name = "localhost"}, Narrow());
  ASSERT_TRUE(pair.Shake());
  ASSERT_TRUE(pair.CarriesBothWays());
  EXPECT_EQ(pair.client().pending_bytes(), 0u);
  EXPECT_EQ(pair.server().memory_bytes(), 0u);
  ASSERT_EQ(pair.client().TryWrite(bytes).bytes, bytes.size());
  const size_t whole = bytes.size() + 22;  // RFC 8446, section 5.2.
  size_t unsent = pair.client_tls().held_bytes().unsent;
  EXPECT_GT(unsent, 1000u);
  EXPECT_LT(unsent, whole);
  EXPECT_EQ(pair.client().pending_bytes(), unsent);
  EXPECT_EQ(pair.client().pending_calls(), 0u);
  std::string out(bytes.size(), '\0');
  while (pair.server().Read(absl::MakeSpan(out)).would_block()) {
    EXPECT_EQ(pair.server_tls().held_bytes().unread, whole - unsent);
    EXPECT_EQ(pair.server().memory_bytes(), whole - unsent);
    ASSERT_GT(unsent, 0u);
    static_cast<void>(pair.client().Flush());
    unsent = pair.client_tls().held_bytes().unsent;
  }
  EXPECT_TRUE(out == bytes);
  EXPECT_EQ(pair.client().memory_bytes(), 0u);
  EXPECT_EQ(pair.server().memory_bytes(), 0u);
}

// Of records that were read further than asked for.
TEST(Tls, HeldBytesAreThoseReadAhead) {
  Pair pair(Server(), Client(), {.server_name = "localhost"},
            LoopbackPair::Unix());
  ASSERT_TRUE(pair.Shake());
  ASSERT_TRUE(pair.CarriesBothWays());
  for (int i = 0; i < 5; ++i) {
    ASSERT_EQ(pair.client().TryWrite(std::string(40, 'x')).bytes, 40u);
  }
  constexpr size_t kRecord = 40 + 22;
  size_t left = 5 * kRecord;
  for (int i = 0; i < 5; ++i) {
    char out[40];
    char rest[1];
    ASSERT_EQ(pair.server().Read(absl::MakeSpan(out, 39)).bytes, 39u);
    EXPECT_EQ(pair.server().memory_bytes(), left);  // One is not read whole.
    ASSERT_EQ(pair.server().Read(absl::MakeSpan(rest)).bytes, 1u);
    left -= kRecord;
    EXPECT_EQ(pair.server().memory_bytes(), left);
  }
}

// An update that is not read yet asks for no second one.
TEST(Tls, KeyUpdatesInARowAreFew) {
  Pair pair(Server(), Client(), {.server_name = "localhost"},
            LoopbackPair::Unix());
  ASSERT_TRUE(pair.Shake());
  for (int i = 0; i < 100; ++i) pair.client_tls().UpdateKeys();
  EXPECT_TRUE(pair.CarriesBothWays());
}

// Reading makes bytes to send: answers to key updates. Both sides have more
// bytes under way than the kernel holds.
TEST(Tls, WantWriteWhileReading) {
  const std::string bytes = Pattern(300'000);
  Pair pair(Server(), Client(), {.server_name = "localhost"}, Narrow());
  ASSERT_TRUE(pair.Shake());
  FillUp(pair.server(), bytes);
  ASSERT_TRUE(pair.client_tls().UpdateKeys());
  FillUp(pair.client(), bytes);
  End server = {pair.server(), bytes.size()};
  End client = {pair.client(), bytes.size()};
  ASSERT_TRUE(RunBoth(server, client));
  EXPECT_TRUE(server.received == bytes);
  EXPECT_TRUE(client.received == bytes);
}

// Writing needs what is read before: the handshake's tickets and key updates of
// the peer come between what it sends.
TEST(Tls, WantReadWhileWriting) {
  const std::string bytes = Pattern(200'000);
  Pair pair(Server(), Client(), {.server_name = "localhost"}, Narrow());
  ASSERT_TRUE(pair.Shake());
  End server = {pair.server(), 5 * bytes.size()};
  End client = {pair.client(), 5 * bytes.size()};
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(pair.server_tls().UpdateKeys());
    FillUp(pair.client(), bytes);
    FillUp(pair.server(), bytes);
    ASSERT_TRUE(pair.client_tls().UpdateKeys());
    ASSERT_TRUE(i % 2 != 0 || server.Step());
    ASSERT_TRUE(i % 3 != 0 || client.Step());
  }
  ASSERT_TRUE(RunBoth(server, client));
  std::string all;
  for (int i = 0; i < 5; ++i) all += bytes;
  EXPECT_TRUE(server.received == all);
  EXPECT_TRUE(client.received == all);
}

// A flight of the handshake that is larger than the kernel's buffers.
TEST(Tls, ALargeFlightArrives) {
  const TlsCertificate ours = tls_testing::OurCertificate();
  std::string chain = ours.chain_pem();
  for (int i = 0; i < 60; ++i) chain += tls_testing::TestData("rsa.pem");
  const auto large = TlsCertificate::FromPem(chain, ours.key_pem());
  ASSERT_TRUE(large.ok()) << large.status();
  Pair pair(Server({.certificates = {*large}}), Client(),
            {.server_name = "localhost"}, Narrow());
  ASSERT_TRUE(pair.Shake()) << pair.client_failure();
  EXPECT_TRUE(pair.CarriesBothWays());
}

// What the kernel has not taken is written again, from other addresses, and
// the peer sees each byte once.
TEST(Tls, MovedBufferIsRetried) {
  const std::string bytes = Pattern(1'000'000);
  Pair pair(Server(), Client(), {.server_name = "localhost"}, Narrow());
  ASSERT_TRUE(pair.Shake());
  std::string received;
  size_t sent = 0;
  while (received.size() < bytes.size()) {
    {
      const std::string moved = bytes.substr(sent, 100'001);
      if (!moved.empty()) sent += pair.server().TryWrite(moved).bytes;
    }
    static_cast<void>(pair.server().Flush());
    received += testing::ReadAvailable(pair.client());
  }
  EXPECT_TRUE(received == bytes);
}

TEST(Tls, FaultsOfTheKernelLoseNothing) {
  for (int seed = 1; seed <= 5; ++seed) {
    SCOPED_TRACE(seed);
    const std::string bytes = Pattern(100'000);
    LoopbackPair sockets = LoopbackPair::Unix();
    const int fds[] = {sockets.near.fd(), sockets.far.fd()};
    FaultPlan plan({.seed = static_cast<uint64_t>(seed),
                    .short_read = 0.5,
                    .short_write = 0.5,
                    .would_block = 0.2,
                    .interrupted = 0.2,
                    .no_buffers = 0.1,
                    .no_memory = 0.1});
    for (const int fd : fds) plan.Target(fd);
    Pair pair(Server(), Client(), {.server_name = "localhost"},
              std::move(sockets));
    // The client's last flight may be left to Flush().
    while (pair.ShakeServer() == Transport::Handshake::kMore) {
      pair.ShakeClient();
      ASSERT_FALSE(pair.client().Flush().failed());
    }
    ASSERT_TRUE(pair.Shake());
    ASSERT_TRUE(pair.server().Write(bytes).ok());
    ASSERT_TRUE(pair.client().Write(bytes).ok());
    std::string up, down;
    while (up.size() < bytes.size() || down.size() < bytes.size()) {
      ASSERT_FALSE(pair.server().Flush().failed());
      ASSERT_FALSE(pair.client().Flush().failed());
      up += testing::ReadAvailable(pair.server());
      down += testing::ReadAvailable(pair.client());
    }
    EXPECT_TRUE(up == bytes);
    EXPECT_TRUE(down == bytes);
  }
}

// The descriptor does not become ready when memory is there again, so whoever
// reads must be told.
TEST(Tls, NoMemoryForReadingIsTold) {
  Pair pair(Server(), Client(), {.server_name = "localhost"},
            LoopbackPair::Unix());
  ASSERT_TRUE(pair.Shake());
  ASSERT_TRUE(pair.server().Write("some").ok());
  ASSERT_TRUE(pair.server().Flush().ok());
  FaultPlan plan;
  plan.FailNextOn(pair.client().fd(), FaultPlan::Call::kRecv, ENOMEM);
  char out[100];
  const IoResult read = pair.client().Read(absl::MakeSpan(out));
  EXPECT_EQ(read.error, ENOMEM);
  EXPECT_FALSE(pair.client().is_drained());
  EXPECT_EQ(pair.client().Read(absl::MakeSpan(out)).bytes, 4u);
}

// It may have stopped before a descriptor that was passed, or the like.
TEST(Tls, AShortReadOfAUnixSocketIsNotTheEnd) {
  Pair pair(Server(), Client(), {.server_name = "localhost"},
            LoopbackPair::Unix());
  ASSERT_TRUE(pair.Shake());
  ASSERT_TRUE(pair.server().Write("some").ok());
  ASSERT_TRUE(pair.server().Flush().ok());
  FaultPlan plan({.short_read = 1});
  plan.Target(pair.client().fd());
  char out[100];
  EXPECT_EQ(pair.client().Read(absl::MakeSpan(out)).bytes, 4u);
}

// Records larger than the room of Read(): one edge, and all is read.
TEST(Tls, PendingIsDrained) {
  const std::string bytes = Pattern(50'000);
  Pair pair(Server(), Client(), {.server_name = "localhost"},
            LoopbackPair::Unix());
  ASSERT_TRUE(pair.Shake());
  ASSERT_TRUE(pair.server().Write(bytes).ok());
  ASSERT_TRUE(pair.server().Flush().ok());
  std::string received;
  do {
    char piece[1000];
    const IoResult read = pair.client().Read(absl::MakeSpan(piece));
    ASSERT_FALSE(read.failed());
    received.append(piece, read.bytes);
  } while (!pair.client().is_drained());
  EXPECT_TRUE(received == bytes);
  EXPECT_FALSE(pair.client_tls().HasUnread());
}

// Most requests are read by one system call, and leave nothing.
TEST(Tls, OneReceivePerRequest) {
  Pair pair(Server(), Client());
  ASSERT_TRUE(pair.Shake());
  ASSERT_TRUE(pair.CarriesBothWays());
  ASSERT_TRUE(pair.client().Write("a question").ok());
  uint64_t before = SystemCallsOfThisThread();
  ASSERT_TRUE(pair.client().Flush().ok());
  EXPECT_EQ(SystemCallsOfThisThread() - before, 1u);
  tls_testing::AwaitAny(pair.server(), pair.server());
  char out[4096];
  before = SystemCallsOfThisThread();
  EXPECT_EQ(pair.server().Read(absl::MakeSpan(out)).bytes, 10u);
  EXPECT_EQ(SystemCallsOfThisThread() - before, 1u);
  EXPECT_TRUE(pair.server().is_drained());
}

// Pieces of all sizes, gathered into records.
TEST(Tls, ManyPiecesAreOneStream) {
  Pair pair(Server(), Client(), {.server_name = "localhost"},
            LoopbackPair::Unix());
  ASSERT_TRUE(pair.Shake());
  const std::string bytes = Pattern(40'000);
  std::vector<iovec> pieces;
  size_t begin = 0;
  for (size_t size = 0; begin < bytes.size(); size = (size * 7 + 1) % 9001) {
    size = std::min(size, bytes.size() - begin);
    pieces.push_back(
        {.iov_base = const_cast<char*>(bytes.data()) + begin, .iov_len = size});
    begin += size;
  }
  ASSERT_EQ(pair.server().TryWrite(pieces).bytes, bytes.size());
  EXPECT_TRUE(pair.server().Flush().ok());
  EXPECT_TRUE(testing::ReadUntil(pair.client(), bytes.size()) == bytes);
}

}  // namespace
}  // namespace fio
