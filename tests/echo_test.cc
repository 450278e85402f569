// The echo example, run and talked to as a user would.

#include <sys/socket.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "fio/core/process/descriptor_limit.h"
#include "fio/sock/socket.h"
#include "fio/testing/loopback_pair.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/example.h"
#include "tests/subprocess.h"

namespace fio {
namespace {

using testing::ExpectRefusal;
using testing::ExpectServesWithoutStandardStreams;
using ::testing::HasSubstr;
using testing::ReadToEnd;
using testing::ReadUntil;
using testing::Send;
using testing::Subprocess;

constexpr char kProgram[] = "examples/echo";
constexpr char kFarewell[] = "Echo server shutting down\nGoodbye.\n";

class EchoServer : public testing::Server {
 public:
  explicit EchoServer(const std::vector<std::string>& flags = {})
      : Server(kProgram, flags) {}
};

// A client that was served, so that a worker has it.
Socket ConnectAndTalk(const EchoServer& server) {
  Socket client = server.Connect();
  Send(client, "hello");
  EXPECT_EQ(ReadUntil(client, 5), "hello");
  return client;
}

TEST(EchoExample, BytesComeBackUnchangedAndNothingPrecedesThem) {
  EchoServer server;
  Socket client = server.Connect();
  std::string bytes;
  for (int i = 0; i < 100'000; ++i) bytes += static_cast<char>(i % 256);
  Send(client, bytes);
  EXPECT_TRUE(ReadUntil(client, bytes.size()) == bytes);
}

TEST(EchoExample, ByeIsAnsweredAndClosed) {
  EchoServer server;
  for (const std::string bye : {"bye", "Bye\n", "BYE and more"}) {
    Socket client = server.Connect();
    Send(client, bye);
    EXPECT_EQ(ReadToEnd(client), bye + "Goodbye.\n");
  }
  Socket client = server.Connect();
  Send(client, "goodbye");
  EXPECT_EQ(ReadUntil(client, 7), "goodbye");
}

TEST(EchoExample, ASilentClientIsAskedAgainAndAgain) {
  EchoServer server({"--timeout=10ms"});
  Socket client = server.Connect();
  const std::string question = "Server: Are you there?\n";
  EXPECT_EQ(ReadUntil(client, 2 * question.size()), question + question);
  Send(client, "yes");
  EXPECT_THAT(ReadUntil(client, 3 + question.size()), HasSubstr("yes"));
}

TEST(EchoExample, SigtermEndsItWithAHundredClientsOpen) {
  for (const int signal : {SIGTERM, SIGINT}) {
    EchoServer server;
    std::vector<Socket> clients;
    for (int i = 0; i < 100; ++i) {
      clients.push_back(ConnectAndTalk(server));
    }
    server.process().Signal(signal);
    for (Socket& client : clients) EXPECT_EQ(ReadToEnd(client), kFarewell);
    EXPECT_EQ(server.process().Wait(), 0);
    EXPECT_EQ(server.process().ReadStderr(), "");
  }
}

TEST(EchoExample, SigtermEndsItThoughAClientNeverReads) {
  EchoServer server;
  Socket client = server.Connect();
  // Nonblocking from here, until neither side can take more.
  const std::string block(1 << 16, 'x');
  for (int full = 0; full < 100;) {
    const ssize_t sent =
        send(client.fd(), block.data(), block.size(), MSG_DONTWAIT);
    full = sent < 0 ? full + 1 : 0;
    if (sent < 0) {
      ASSERT_EQ(errno, EAGAIN);
      // Another client's round trip: the server has had a turn since.
      Socket other = server.Connect();
      Send(other, "x");
      ASSERT_EQ(ReadUntil(other, 1), "x");
    }
  }
  server.process().Signal(SIGTERM);
  server.process().Signal(SIGTERM);  // No grace.
  EXPECT_EQ(server.process().Wait(), 0);
}

TEST(EchoExample, SixtyFourClientsSixteenDeep) {
  EchoServer server;
  std::vector<Socket> clients;
  for (int i = 0; i < 64; ++i) clients.push_back(server.Connect());
  for (int round = 0; round < 100; ++round) {
    const auto message = [&](size_t client) {
      std::string sixteen;
      for (int i = 0; i < 16; ++i) {
        std::string one = absl::StrCat(client, "/", round, "/", i, ".");
        one.resize(64, static_cast<char>('a' + i));
        sixteen += one;
      }
      return sixteen;
    };
    for (size_t i = 0; i < clients.size(); ++i) Send(clients[i], message(i));
    for (size_t i = 0; i < clients.size(); ++i) {
      ASSERT_EQ(ReadUntil(clients[i], 16 * 64), message(i));
    }
  }
}

TEST(EchoExample, FiveThousandClientsAtOnce) {
  constexpr size_t kClients = 5'000;
  const absl::StatusOr<size_t> limit = RaiseDescriptorLimit(kClients + 100);
  ASSERT_TRUE(limit.ok()) << limit.status();
  ASSERT_GE(*limit, kClients + 100) << "the hard limit of descriptors";
  EchoServer server;
  std::vector<Socket> clients;
  for (size_t i = 0; i < kClients; ++i) {
    clients.push_back(server.Connect());
    Send(clients.back(), absl::StrCat(i));
  }
  for (size_t i = 0; i < kClients; ++i) {
    const std::string expected = absl::StrCat(i);
    ASSERT_EQ(ReadUntil(clients[i], expected.size()), expected);
  }
  server.process().Signal(SIGTERM);
  EXPECT_EQ(server.process().Wait(), 0);
}

// --- Several threads, several processes ---

TEST(EchoExample, ThreadsAndWorkersSayOnceWhereTheyListen) {
  for (const char* workers : {"--workers=1", "--workers=2"}) {
    EchoServer server({workers, "--threads=2"});
    std::vector<Socket> clients;
    for (int i = 0; i < 32; ++i) clients.push_back(ConnectAndTalk(server));
    server.process().Signal(SIGTERM);
    for (Socket& client : clients) EXPECT_EQ(ReadToEnd(client), kFarewell);
    EXPECT_EQ(server.process().ReadStdout(), "");
    EXPECT_EQ(server.process().Wait(), 0);
    EXPECT_EQ(server.process().ReadStderr(), "");
  }
}

TEST(EchoExample, ClientsOfReplacedWorkersAreSentOffAndMayComeBack) {
  EchoServer server({"--workers=2"});
  for (int round = 0; round < 3; ++round) {
    std::vector<Socket> clients;
    for (int i = 0; i < 16; ++i) clients.push_back(ConnectAndTalk(server));
    server.process().Signal(SIGUSR1);
    for (Socket& client : clients) EXPECT_EQ(ReadToEnd(client), kFarewell);
  }
  ConnectAndTalk(server);
  server.process().Signal(SIGTERM);
  EXPECT_EQ(server.process().Wait(), 0);
  EXPECT_EQ(server.process().ReadStderr(), "");
}

// --- What a user may expect, and get wrong ---

// Who tries an example is not to serve the whole network.
TEST(Echo, DefaultsToLoopback) {
  for (const char* name : {"echo", "embed", "first_server/first_server",
                           "http_hello", "proxy", "workers"}) {
    Subprocess help({absl::StrCat("examples/", name), "--help"});
    const std::string text = help.ReadStdout();
    const std::vector<std::string> words =
        absl::StrSplit(text, absl::ByAnyChar(" \n"), absl::SkipEmpty());
    EXPECT_THAT(absl::StrJoin(words, " "),
                HasSubstr("); default: \"tcp://127.0.0.1:3000\";"))
        << name;
    EXPECT_EQ(help.Wait(), 1) << name;
  }
}

TEST(EchoExample, AShortHelpIsHelp) {
  Subprocess help({kProgram, "-h"});
  EXPECT_THAT(help.ReadStdout(), HasSubstr("--timeout (how long"));
  help.Wait();
}

TEST(EchoExample, ServesWithoutStandardStreams) {
  ExpectServesWithoutStandardStreams(kProgram, "hello", "hello", kFarewell);
}

TEST(EchoExample, MistakesAreOneLineAndExitCodeOne) {
  ExpectRefusal(kProgram, {"--url=nonsense"},
                "listen: url 'nonsense': no '://'");
  ExpectRefusal(kProgram, {"--url=tcp://127.0.0.1:99999"}, "above 65535");
  ExpectRefusal(kProgram, {"--url=ftp://127.0.0.1:0"}, "tcp, tcp4, tcp6");
  ExpectRefusal(kProgram, {"--url=udp://127.0.0.1:0"},
                "datagrams make no connections");
  ExpectRefusal(kProgram, {"--url=tcp://192.0.2.1:0"},
                "bind 192.0.2.1:0: Cannot assign");
  ExpectRefusal(kProgram, {"--url=tcp://::1:3000"},
                "an IPv6 address goes in brackets, as in tcp://[::1]:3000");
  ExpectRefusal(kProgram, {"--timeout=soon"}, "timeout");
  ExpectRefusal(kProgram, {"--timeout=5"},
                "a time has a unit, as in 5s, 200ms or 1m");
  ExpectRefusal(kProgram, {"--timeout=-1s"}, "--timeout is negative");
  ExpectRefusal(kProgram, {"--threads=many"}, "threads");
  ExpectRefusal(kProgram, {"--no_such_flag"}, "no_such_flag");
  ExpectRefusal(kProgram, {"argument"}, "unexpected argument 'argument'");
}

TEST(EchoExample, APortInUseIsNamed) {
  EchoServer server;
  const std::string url = absl::StrCat("tcp://", server.address().ToString());
  ExpectRefusal(
      kProgram, {absl::StrCat("--url=", url)},
      absl::StrCat("listen ", url, ": bind ", server.address().ToString(),
                   ": Address already in use"));
}

}  // namespace
}  // namespace fio
