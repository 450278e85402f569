// The proxy example between clients and servers of the test, and before the
// echo example.

#include <sys/socket.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "fio/sock/socket.h"
#include "fio/testing/loopback_pair.h"
#include "gtest/gtest.h"
#include "tests/example.h"
#include "tests/subprocess.h"

namespace fio {
namespace {

using testing::ExpectRefusal;
using testing::Port;
using testing::ReadToEnd;
using testing::ReadUntil;
using testing::Reset;
using testing::Send;
using testing::Server;

constexpr char kProgram[] = "examples/proxy";

// The proxy before a server of the test.
class Proxy {
 public:
  explicit Proxy(std::vector<std::string> flags = {}) {
    port_.Listen();
    flags.push_back("--to=" + port_.url());
    proxy_.emplace(kProgram, flags);
  }

  Socket Connect() const {
    Socket client = proxy_->Connect();
    client.AllowHalfOpen();
    return client;
  }
  Socket Accept() const { return port_.Accept(); }
  testing::Subprocess& process() { return proxy_->process(); }

 private:
  Port port_;
  std::optional<Server> proxy_;
};

void End(const Socket& socket) { ASSERT_EQ(shutdown(socket.fd(), SHUT_WR), 0); }

// Reads what comes, until there is an error.
int ErrorOf(const Socket& socket) {
  char buffer[4096];
  ssize_t size;
  do {
    size = recv(socket.fd(), buffer, sizeof(buffer), 0);
  } while (size > 0);
  return size == 0 ? 0 : errno;
}

TEST(ProxyExample, PassesBytesBothWays) {
  Proxy proxy;
  Socket client = proxy.Connect();
  Send(client, "question");
  Socket server = proxy.Accept();
  EXPECT_EQ(ReadUntil(server, 8), "question");
  Send(server, "answer");
  EXPECT_EQ(ReadUntil(client, 6), "answer");
}

TEST(ProxyExample, AServerMaySpeakFirst) {
  Proxy proxy;
  Socket client = proxy.Connect();
  Socket server = proxy.Accept();
  Send(server, "banner");
  EXPECT_EQ(ReadUntil(client, 6), "banner");
}

TEST(ProxyExample, EachSideMayEndFirst) {
  for (const bool client_ends_first : {true, false}) {
    Proxy proxy;
    Socket client = proxy.Connect();
    Socket server = proxy.Accept();
    Socket& first = client_ends_first ? client : server;
    Socket& second = client_ends_first ? server : client;
    Send(first, "last words");
    End(first);
    EXPECT_EQ(ReadToEnd(second), "last words");
    Send(second, "a long");
    EXPECT_EQ(ReadUntil(first, 6), "a long");
    Send(second, " answer");
    End(second);
    EXPECT_EQ(ErrorOf(first), 0);
    EXPECT_EQ(ErrorOf(second), 0);
  }
}

TEST(ProxyExample, AClientMayEndBeforeTheServerIsConnected) {
  Proxy proxy;
  Socket client = proxy.Connect();
  Send(client, "all");
  End(client);
  Socket server = proxy.Accept();
  EXPECT_EQ(ReadToEnd(server), "all");
  Send(server, "answer");
  server = Socket();
  EXPECT_EQ(ReadToEnd(client), "answer");
}

// A clean end would say that everything has arrived.
TEST(ProxyExample, AResetIsPassedOnAsAReset) {
  for (const bool client_resets : {true, false}) {
    Proxy proxy;
    Socket client = proxy.Connect();
    Socket server = proxy.Accept();
    Send(server, "hello");
    EXPECT_EQ(ReadUntil(client, 5), "hello");
    Reset(client_resets ? client : server);
    EXPECT_EQ(ErrorOf(client_resets ? server : client), ECONNRESET);
  }
}

TEST(ProxyExample, AResetAfterAnEndIsPassedOnToo) {
  Proxy proxy;
  Socket client = proxy.Connect();
  Socket server = proxy.Accept();
  End(client);
  EXPECT_EQ(ReadToEnd(server), "");
  Reset(server);
  EXPECT_EQ(ErrorOf(client), ECONNRESET);
}

TEST(ProxyExample, SilenceIsNoCleanEnd) {
  Proxy proxy({"--timeout=10ms"});
  Socket client = proxy.Connect();
  Socket server = proxy.Accept();
  EXPECT_EQ(ErrorOf(client), ECONNRESET);
  EXPECT_EQ(ErrorOf(server), ECONNRESET);
}

TEST(ProxyExample, WithoutAServerTheClientIsReset) {
  Port nobody;
  Server proxy(kProgram, {"--to=" + nobody.url()});
  EXPECT_EQ(ErrorOf(proxy.Connect()), ECONNRESET);
}

// Neither side is read from faster than the other one reads.
TEST(ProxyExample, ASlowReaderHoldsUpTheSender) {
  Proxy proxy;
  Socket client = proxy.Connect();
  Socket server = proxy.Accept();
  const std::string block(1 << 16, 'x');
  constexpr size_t kBound = size_t{256} << 20;
  size_t sent = 0;
  for (int full = 0; full < 100 && sent < kBound;) {
    const ssize_t n =
        send(client.fd(), block.data(), block.size(), MSG_DONTWAIT);
    if (n < 0) {
      ASSERT_EQ(errno, EAGAIN);
      ++full;
      // The other direction goes on, and the proxy has had a turn.
      Send(server, "x");
      ASSERT_EQ(ReadUntil(client, 1), "x");
    } else {
      full = 0;
      sent += static_cast<size_t>(n);
    }
  }
  EXPECT_LT(sent, kBound);
  End(client);
  EXPECT_EQ(ReadToEnd(server).size(), sent);
}

TEST(ProxyExample, SeveralThreadsAndWorkersServeManyClients) {
  Server echo("examples/echo");
  Server proxy(kProgram,
               {absl::StrCat("--to=tcp://", echo.address().ToString()),
                "--threads=2", "--workers=2"});
  std::vector<Socket> clients;
  std::vector<std::string> messages;
  for (int i = 0; i < 32; ++i) {
    clients.push_back(proxy.Connect());
    messages.emplace_back((size_t{1} << 16) + static_cast<size_t>(i),
                          static_cast<char>('A' + i));
    Send(clients.back(), messages.back());
  }
  for (size_t i = 0; i < clients.size(); ++i) {
    EXPECT_TRUE(ReadUntil(clients[i], messages[i].size()) == messages[i]) << i;
    End(clients[i]);
    EXPECT_EQ(ReadToEnd(clients[i]), "");
  }
  proxy.process().Signal(SIGTERM);
  EXPECT_EQ(proxy.process().Wait(), 0);
  EXPECT_EQ(proxy.process().ReadStderr(), "");
}

TEST(ProxyExample, AStopLetsConnectionsEnd) {
  Proxy proxy({"--grace=1h"});
  Socket client = proxy.Connect();
  Socket server = proxy.Accept();
  Send(client, "question");
  EXPECT_EQ(ReadUntil(server, 8), "question");
  proxy.process().Signal(SIGTERM);
  Send(server, "answer");
  End(server);
  EXPECT_EQ(ReadToEnd(client), "answer");
  End(client);
  EXPECT_EQ(ReadToEnd(server), "");
  EXPECT_EQ(proxy.process().Wait(), 0);
}

TEST(ProxyExample, AfterTheGraceConnectionsAreReset) {
  Proxy proxy({"--grace=10ms"});
  Socket client = proxy.Connect();
  Socket server = proxy.Accept();
  Send(client, "question");
  EXPECT_EQ(ReadUntil(server, 8), "question");
  proxy.process().Signal(SIGTERM);
  EXPECT_EQ(ErrorOf(client), ECONNRESET);
  EXPECT_EQ(ErrorOf(server), ECONNRESET);
  EXPECT_EQ(proxy.process().Wait(), 0);
}

TEST(ProxyExample, MistakesAreOneLineAndExitCodeOne) {
  ExpectRefusal(kProgram, {"--url=nonsense"}, "listen: url 'nonsense'");
  ExpectRefusal(kProgram, {"--to=nonsense"}, "connect nonsense: ");
  ExpectRefusal(kProgram, {"--to=tcp://127.0.0.1"}, "port");
  ExpectRefusal(kProgram, {"--timeout=-1s"}, "--timeout is negative");
  ExpectRefusal(kProgram, {"--grace=-1s"}, "--grace is negative");
  ExpectRefusal(kProgram, {"argument"}, "unexpected argument 'argument'");
}

}  // namespace
}  // namespace fio
