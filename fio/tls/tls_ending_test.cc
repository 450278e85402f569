// How connections end.

#include <sys/socket.h>

#include <cerrno>
#include <csignal>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"
#include "fio/testing/fault_plan.h"
#include "fio/testing/loopback_pair.h"
#include "fio/tls/internal/boringssl.h"
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
using tls_testing::AwaitAny;
using tls_testing::CertificateFor;
using tls_testing::Client;
using tls_testing::Context;
using tls_testing::Pair;
using tls_testing::RawPair;
using tls_testing::Server;
using Handshake = Transport::Handshake;

constexpr TlsVersion kVersions[] = {TlsVersion::kTls12, TlsVersion::kTls13};

// What the next Read() returns that is not EAGAIN.
IoResult ReadNext(Socket& socket, std::string* bytes = nullptr) {
  char out[1000];
  for (;;) {
    const IoResult read = socket.Read(absl::MakeSpan(out));
    if (bytes != nullptr) bytes->assign(out, read.bytes);
    if (!read.would_block()) return read;
    AwaitAny(socket, socket);
  }
}

bool IsEnd(const IoResult& read) { return read.ok() && read.bytes == 0; }

TEST(Tls, CloseNotifySent) {
  for (const TlsVersion version : kVersions) {
    Pair pair(Server({.max_version = version}), Client());
    ASSERT_TRUE(pair.Shake());
    ASSERT_TRUE(pair.server().Write("the last").ok());
    pair.server().Close();
    EXPECT_TRUE(pair.server().Flush().ok());
    std::string bytes;
    EXPECT_TRUE(ReadNext(pair.client(), &bytes).ok());
    EXPECT_EQ(bytes, "the last");
    const IoResult end = ReadNext(pair.client());
    EXPECT_TRUE(end.ok());
    EXPECT_EQ(end.bytes, 0u);
    EXPECT_TRUE(pair.client_tls().status().ok());
  }
}

// As another implementation sees it.
TEST(Tls, CloseNotifyIsSeenByOthers) {
  RawPair pair(Server());
  ASSERT_EQ(pair.Shake(), SSL_ERROR_NONE);
  pair.server().socket().Close();
  EXPECT_TRUE(pair.server().socket().Flush().ok());
  int error = 0;
  EXPECT_EQ(pair.client().Read(&error), "");
  EXPECT_EQ(error, SSL_ERROR_ZERO_RETURN);
}

TEST(Tls, AnAbortSendsNone) {
  RawPair pair(Server());
  ASSERT_EQ(pair.Shake(), SSL_ERROR_NONE);
  ASSERT_EQ(shutdown(pair.server().socket().fd(), SHUT_RDWR), 0);
  pair.server().socket().Abort();
  int error = 0;
  EXPECT_EQ(pair.client().Read(&error), "");
  EXPECT_EQ(error, SSL_ERROR_SYSCALL);
}

TEST(Tls, HalfCloseBothWays) {
  for (const TlsVersion version : kVersions) {
    Pair pair(Server({.max_version = version}), Client());
    ASSERT_TRUE(pair.Shake());
    EXPECT_TRUE(pair.client().ShutdownWrite().ok());
    IoResult end = ReadNext(pair.server());
    EXPECT_TRUE(IsEnd(end)) << absl::StrCat(end);
    // Behind the peer's end we write, behind our own we read.
    EXPECT_TRUE(pair.Carries(pair.server(), pair.client(), "an answer"));
    EXPECT_TRUE(pair.server().ShutdownWrite().ok());
    end = ReadNext(pair.client());
    EXPECT_TRUE(IsEnd(end)) << absl::StrCat(end);
    // It says so again, if asked again.
    end = ReadNext(pair.client());
    EXPECT_TRUE(IsEnd(end)) << absl::StrCat(end);
  }
}

TEST(Tls, TruncationIsError) {
  for (const TlsVersion version : kVersions) {
    Pair pair(Server({.max_version = version}), Client());
    ASSERT_TRUE(pair.Shake());
    ASSERT_TRUE(pair.Carries(pair.server(), pair.client(), "some"));
    ASSERT_EQ(shutdown(pair.server().fd(), SHUT_WR), 0);
    EXPECT_EQ(ReadNext(pair.client()).error, EPROTO);
    EXPECT_EQ(pair.client_tls().status().code(), absl::StatusCode::kDataLoss);
    // Nothing goes on behind it.
    char byte = 'a';
    const iovec piece = {.iov_base = &byte, .iov_len = 1};
    EXPECT_EQ(pair.client_tls()
                  .Write(pair.client(), absl::MakeConstSpan(&piece, 1))
                  .error,
              EPROTO);
    EXPECT_EQ(
        pair.client_tls().Read(pair.client(), absl::MakeSpan(&byte, 1)).error,
        EPROTO);
  }
}

TEST(Tls, TruncationMayBeAnEnd) {
  Pair pair(Server(), Client(),
            {.server_name = "localhost", .truncation_is_end = true});
  ASSERT_TRUE(pair.Shake());
  ASSERT_TRUE(pair.server().Write("some").ok());
  ASSERT_TRUE(pair.server().Flush().ok());
  ASSERT_EQ(shutdown(pair.server().fd(), SHUT_WR), 0);
  EXPECT_EQ(ReadNext(pair.client()).bytes, 4u);
  const IoResult end = ReadNext(pair.client());
  EXPECT_TRUE(IsEnd(end)) << absl::StrCat(end);
}

// Bytes that came before an error are given first, and then the error.
TEST(Tls, BytesBeforeAnErrorAreGivenFirst) {
  Pair pair(Server(), Client(), {.server_name = "localhost"},
            LoopbackPair::Unix());
  ASSERT_TRUE(pair.Shake());
  ASSERT_TRUE(pair.CarriesBothWays());
  ASSERT_TRUE(pair.server().Write("some").ok());
  ASSERT_TRUE(pair.server().Flush().ok());
  ASSERT_EQ(::send(pair.server().fd(), "\x17\x03\x03\x00\x20", 5, 0), 5);
  ASSERT_EQ(::send(pair.server().fd(), std::string(32, 'x').data(), 32, 0), 32);
  EXPECT_EQ(ReadNext(pair.client()).bytes, 4u);
  EXPECT_TRUE(pair.client_tls().HasUnread());
  EXPECT_EQ(ReadNext(pair.client()).error, EPROTO);
  EXPECT_EQ(pair.client_tls().status().code(),
            absl::StatusCode::kInvalidArgument);
  // The peer is told: alert 20, bad_record_mac.
  EXPECT_EQ(ReadNext(pair.server()).error, EPROTO);
  EXPECT_EQ(pair.server_tls().status(),
            absl::PermissionDeniedError(
                "the peer has refused: alert 20, bad record mac"));
}

// Also if bytes of it are unread, which would make the kernel reset.
TEST(Tls, AlertReachesThePeer) {
  const Context server = Server({.min_version = TlsVersion::kTls13});
  const Context client = Client({.max_version = TlsVersion::kTls12});
  Pair pair(server, client);
  EXPECT_EQ(pair.ShakeClient(), Handshake::kMore);
  const std::string more(100'000, 'x');
  ASSERT_EQ(::send(pair.client().fd(), more.data(), more.size(), MSG_NOSIGNAL),
            100'000);
  AwaitAny(pair.server(), pair.server());
  EXPECT_EQ(pair.ShakeServer(), Handshake::kFailed);
  EXPECT_FALSE(pair.Shake());
  EXPECT_EQ(pair.client_failure(),
            absl::PermissionDeniedError(
                "the peer has refused: alert 70, protocol version"));
}

// The alert has to wait for room.
TEST(Tls, AlertReachesThePeerLater) {
  Pair pair(Server({.min_version = TlsVersion::kTls13}),
            Client({.max_version = TlsVersion::kTls12}),
            {.server_name = "localhost"}, LoopbackPair::Unix());
  EXPECT_EQ(pair.ShakeClient(), Handshake::kMore);
  {
    FaultPlan plan;
    plan.FailNextOn(pair.server().fd(), FaultPlan::Call::kSend, EAGAIN, 2);
    plan.FailNextOn(pair.server().fd(), FaultPlan::Call::kSendmsg, EAGAIN, 2);
    EXPECT_EQ(pair.ShakeServer(), Handshake::kFailed);
    EXPECT_EQ(pair.ShakeClient(), Handshake::kMore);
    EXPECT_TRUE(pair.server().wants_write());
  }
  static_cast<void>(pair.server().Flush());
  EXPECT_EQ(pair.ShakeClient(), Handshake::kFailed);
  EXPECT_EQ(pair.client_failure().code(), absl::StatusCode::kPermissionDenied);
}

TEST(Tls, NoSigPipe) {
  struct sigaction before;
  struct sigaction by_default = {};
  by_default.sa_handler = SIG_DFL;
  ASSERT_EQ(sigaction(SIGPIPE, &by_default, &before), 0);
  Pair pair(Server(), Client(), {.server_name = "localhost"},
            LoopbackPair::Unix());
  ASSERT_TRUE(pair.Shake());
  ASSERT_EQ(shutdown(pair.client().fd(), SHUT_RDWR), 0);
  ASSERT_TRUE(pair.server().Write("for nobody").ok());
  EXPECT_EQ(pair.server().Flush().error, EPIPE);
  ASSERT_EQ(sigaction(SIGPIPE, &before, nullptr), 0);
}

TEST(Tls, AResetIsTheKernelsError) {
  Pair pair(Server(), Client(), {.server_name = "localhost"},
            LoopbackPair::Unix());
  ASSERT_TRUE(pair.Shake());
  FaultPlan plan;
  plan.FailNextOn(pair.client().fd(), FaultPlan::Call::kRecv, ECONNRESET);
  EXPECT_EQ(ReadNext(pair.client()).error, ECONNRESET);
}

TEST(Tls, AResetInTheHandshakeIsTold) {
  Pair pair(Server(), Client(), {.server_name = "localhost"},
            LoopbackPair::Unix());
  pair.ShakeClient();
  FaultPlan plan;
  plan.FailNextOn(pair.server().fd(), FaultPlan::Call::kRecv, ECONNRESET);
  EXPECT_EQ(pair.ShakeServer(), Handshake::kFailed);
  EXPECT_NE(pair.server_failure().message().find("ECONNRESET"),
            std::string::npos)
      << pair.server_failure();
}

}  // namespace
}  // namespace fio
