// Urls that need TLS, and who makes the transport for them.

#include <sys/types.h>

#include <csignal>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/core/connector.h"
#include "fio/core/exit_with.h"
#include "fio/core/handshake_test_util.h"
#include "fio/core/listener.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/reactor.h"
#include "fio/core/reactor_test_util.h"
#include "fio/core/resolver.h"
#include "fio/core/test_cluster.h"
#include "fio/core/transport_factory.h"
#include "fio/sock/listen_socket.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using core_internal::TestCluster;
using core_internal::Threads;
using core_internal::Trace;
using core_internal::WordTransport;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Role = TransportRequest::Role;

constexpr const char* kSecureUrls[] = {"https://127.0.0.1:1", "wss://[::1]:1",
                                       "tls://127.0.0.1:1"};

class Ignore final : public Protocol {
 public:
  void OnData(Connection& connection) override { connection.Received(); }
};

void AttachIgnore(Connection& connection) {
  connection.Attach(std::make_unique<Ignore>());
}

TransportFactory Words(Role role) {
  return [role](const TransportRequest& request) {
    EXPECT_EQ(request.role, role);
    return role == Role::kServer
               ? std::make_unique<WordTransport>("welcome;", "hello;")
               : std::make_unique<WordTransport>("hello;", "welcome;");
  };
}

// Notes what it is called with, as "server URL".
struct Notes {
  SecureTransport Secure() {
    return
        [this](const Url& url, Role role) -> absl::StatusOr<TransportFactory> {
          called.push_back(absl::StrCat(
              role == Role::kServer ? "server " : "client ", url.ToString()));
          if (!error.ok()) return error;
          return makes_nothing ? nullptr : Words(role);
        };
  }
  std::vector<std::string> called = {};
  absl::Status error = absl::OkStatus();
  bool makes_nothing = false;
};

// What Listener and Connector answer, without doing anything.
absl::Status Check(Role role, std::string_view url,
                   const SecureTransport& secure,
                   const TransportFactory& transport = nullptr) {
  return role == Role::kServer
             ? Listener::Check(*Url::Parse(url), {.on_open = AttachIgnore,
                                                  .transport = transport,
                                                  .secure = secure})
             : Connector::Check(url, {.on_open = AttachIgnore,
                                      .transport = transport,
                                      .secure = secure});
}

class Secure : public ::testing::TestWithParam<Role> {};
INSTANTIATE_TEST_SUITE_P(Roles, Secure,
                         ::testing::Values(Role::kServer, Role::kClient));

TEST_P(Secure, IsMissedByUrlsThatNeedTls) {
  for (const char* url : kSecureUrls) {
    const absl::Status status = Check(GetParam(), url, nullptr);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(status.message(),
                HasSubstr(GetParam() == Role::kServer
                              ? "set ListenOptions::secure"
                              : "set ConnectorOptions::secure"));
    EXPECT_TRUE(Check(GetParam(), url, nullptr, Words(GetParam())).ok());
  }
}

TEST_P(Secure, IsAskedOnce) {
  for (const char* url : kSecureUrls) {
    Notes notes;
    EXPECT_TRUE(Check(GetParam(), url, notes.Secure()).ok());
    EXPECT_THAT(notes.called,
                ElementsAre(absl::StrCat(
                    GetParam() == Role::kServer ? "server " : "client ", url)));
  }
}

TEST_P(Secure, MayFail) {
  Notes notes = {.error = absl::NotFoundError("open cert.pem: no such file")};
  absl::Status status = Check(GetParam(), kSecureUrls[0], notes.Secure());
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("open cert.pem: no such file"));
  notes = {.makes_nothing = true};
  status = Check(GetParam(), kSecureUrls[0], notes.Secure());
  EXPECT_TRUE(absl::IsInternal(status)) << status;
}

TEST_P(Secure, IsNotAskedForPlainUrlsAndBesideATransport) {
  Notes notes;
  EXPECT_TRUE(Check(GetParam(), "http://127.0.0.1:1", notes.Secure()).ok());
  EXPECT_TRUE(Check(GetParam(), "unix:///x", notes.Secure()).ok());
  EXPECT_TRUE(
      Check(GetParam(), kSecureUrls[0], notes.Secure(), Words(GetParam()))
          .ok());
  EXPECT_THAT(notes.called, IsEmpty());
}

// Nobody would read them.
TEST_P(Secure, ATransportUsesNoKeys) {
  const absl::Status status = Check(GetParam(), "tls://127.0.0.1:1?alpn=h2",
                                    nullptr, Words(GetParam()));
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("'alpn' is not used"));
}

TEST(SecureListener, ASocketHasNoUrl) {
  absl::StatusOr<std::unique_ptr<Loop>> loop = Loop::Create({});
  ASSERT_TRUE(loop.ok()) << loop.status();
  absl::StatusOr<ListenSocket> socket =
      ListenSocket::Listen(*SocketAddress::Parse("127.0.0.1:0"), {});
  ASSERT_TRUE(socket.ok()) << socket.status();
  Notes notes;
  const absl::Status status =
      Listener::Create(**loop,
                       std::make_shared<ListenSocket>(*std::move(socket)),
                       std::make_shared<const ListenOptions>(ListenOptions{
                           .on_open = AttachIgnore, .secure = notes.Secure()}))
          .status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("secure needs a url"));
}

// The reactor's errors are those of Listen() and Connect(), which open nothing.
TEST(SecureReactor, ErrorsNameCallAndUrl) {
  Reactor reactor(Threads(1));
  Notes notes = {.error = absl::NotFoundError("no certificate")};
  int finished = 0;
  const auto on_finish = [&] { ++finished; };
  EXPECT_EQ(reactor
                .Listen("tls://127.0.0.1:0", {.on_open = AttachIgnore,
                                              .on_finish = on_finish,
                                              .secure = notes.Secure()})
                .status()
                .message(),
            "listen tls://127.0.0.1:0: no certificate");
  EXPECT_EQ(reactor
                .Connect("wss://127.0.0.1", {.on_open = AttachIgnore,
                                             .on_finish = on_finish,
                                             .secure = notes.Secure()})
                .status()
                .message(),
            "connect wss://127.0.0.1: no certificate");
  EXPECT_EQ(finished, 2);
  EXPECT_THAT(notes.called, ElementsAre("server tls://127.0.0.1:0",
                                        "client wss://127.0.0.1"));
}

// Both ends are connections of the same Reactor, on several loops.
TEST(SecureReactor, BothEndsAreMadeOfTheirUrls) {
  Reactor reactor(Threads(2));
  Notes notes;
  const std::string listened = "tls://127.0.0.1:0?cert=c&key=k&alpn=h2";
  const absl::StatusOr<ListenerId> listener = reactor.Listen(
      listened, {.on_open = AttachIgnore, .secure = notes.Secure()});
  ASSERT_TRUE(listener.ok()) << listener.status();
  const std::string connected =
      absl::StrCat("tls://", reactor.ListenAddress(*listener)->ToString(),
                   "?ca=c&server_name=n");
  int opened = 0;
  const absl::StatusOr<ConnectorId> connector =
      reactor.Connect(connected, {.on_open =
                                      [&](Connection& connection) {
                                        ++opened;
                                        connection.Close();
                                        if (opened == 3) reactor.Stop();
                                      },
                                  .reconnect = true,
                                  .reconnect_delay = absl::Milliseconds(1),
                                  .secure = notes.Secure()});
  ASSERT_TRUE(connector.ok()) << connector.status();
  EXPECT_TRUE(reactor.Run().ok());
  EXPECT_EQ(opened, 3);
  EXPECT_THAT(notes.called,
              ElementsAre("server " + listened, "client " + connected));
}

TEST(SecureConnector, WhatIsPreparedIsNotAskedForAgain) {
  absl::StatusOr<std::unique_ptr<Loop>> loop = Loop::Create({});
  ASSERT_TRUE(loop.ok()) << loop.status();
  Resolver resolver;
  Notes notes;
  const std::string url = "tls://127.0.0.1:1?ca=c";
  ConnectorOptions options = {.on_open = AttachIgnore,
                              .secure = notes.Secure()};
  ASSERT_TRUE(Connector::Prepare(url, options).ok());
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(Connector::Create(**loop, resolver, url, options).ok());
  }
  EXPECT_THAT(notes.called, ElementsAre("client " + url));
}

// The root asks once, before it forks; workers and replacements have copies.
TEST(SecureCluster, TheRootAsksForAll) {
  TestCluster cluster([](const Trace& trace) {
    Reactor reactor({.threads = 1, .workers = 2});
    const SecureTransport secure = [&](const Url&, Role role) {
      trace.Tell(role == Role::kServer ? "secure server" : "secure client");
      return Words(role);
    };
    const ListenerId listener =
        trace.Listen(reactor, {.on_open = AttachIgnore, .secure = secure},
                     "tls://127.0.0.1:0?cert=c&key=k");
    const std::string url = absl::StrCat(
        "tls://", reactor.ListenAddress(listener)->ToString(), "?ca=c");
    const absl::Status connects =
        reactor
            .Connect(url, {.on_open =
                               [&](Connection& connection) {
                                 AttachIgnore(connection);
                                 trace.Tell("connected");
                               },
                           .reconnect = true,
                           .secure = secure})
            .status();
    return connects.ok() ? ExitWith(reactor.Run()) : ExitWith(connects);
  });
  cluster.Await("connected", 2);
  cluster.Signal(SIGUSR1);
  cluster.AwaitMore("connected", 2, 2);
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
  EXPECT_THAT(cluster.Await("secure server"), ElementsAre(cluster.root()));
  EXPECT_THAT(cluster.Await("secure client"), ElementsAre(cluster.root()));
}

}  // namespace
}  // namespace fio
