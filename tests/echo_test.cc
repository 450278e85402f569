// The echo example, run and talked to as a user would.

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "fio/base/unique_fd.h"
#include "fio/core/process/descriptor_limit.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"
#include "fio/testing/loopback_pair.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/subprocess.h"

namespace fio {
namespace {

using ::testing::HasSubstr;
using testing::ReadToEnd;
using testing::ReadUntil;
using testing::Subprocess;

class EchoServer {
 public:
  explicit EchoServer(std::vector<std::string> flags = {})
      : process_(Arguments(std::move(flags))) {
    std::string line = process_.ReadLine();
    std::string_view port = line;
    uint32_t number = 0;
    EXPECT_TRUE(absl::ConsumePrefix(&port, "listening on tcp://127.0.0.1:") &&
                absl::SimpleAtoi(port, &number))
        << line;
    address_ =
        *SocketAddress::FromIp("127.0.0.1", static_cast<uint16_t>(number));
  }

  // A client whose reads wait in ReadUntil(), and whose writes block.
  Socket Connect() const {
    UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(connect(fd.get(), address_.data(), address_.size()), 0);
    return Socket(std::move(fd));
  }

  const SocketAddress& address() const { return address_; }
  Subprocess& process() { return process_; }

 private:
  static std::vector<std::string> Arguments(std::vector<std::string> flags) {
    std::vector<std::string> arguments = {"examples/echo",
                                          "--url=tcp://127.0.0.1:0"};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    return arguments;
  }

  Subprocess process_;
  SocketAddress address_;
};

void Send(Socket& socket, std::string_view bytes) {
  ASSERT_EQ(socket.TryWrite(bytes).bytes, bytes.size());
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
      clients.push_back(server.Connect());
      Send(clients.back(), "hello");
      EXPECT_EQ(ReadUntil(clients.back(), 5), "hello");
    }
    server.process().Signal(signal);
    for (Socket& client : clients) {
      EXPECT_EQ(ReadToEnd(client), "Echo server shutting down\nGoodbye.\n");
    }
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

// --- What a user may get wrong ---

void ExpectRefusal(const std::vector<std::string>& flags,
                   const std::string& message) {
  std::vector<std::string> arguments = {"examples/echo"};
  arguments.insert(arguments.end(), flags.begin(), flags.end());
  Subprocess process(arguments);
  EXPECT_EQ(process.ReadLine(), "");
  EXPECT_EQ(process.Wait(), 1);
  const std::string error = process.ReadStderr();
  EXPECT_THAT(error, HasSubstr(message));
  EXPECT_EQ(std::count(error.begin(), error.end(), '\n'), 1) << error;
  EXPECT_TRUE(error.ends_with('\n')) << error;
}

TEST(EchoExample, MistakesAreOneLineAndExitCodeOne) {
  ExpectRefusal({"--url=nonsense"}, "listen: url 'nonsense': no '://'");
  ExpectRefusal({"--url=tcp://127.0.0.1:99999"}, "0 to 65535");
  ExpectRefusal({"--url=ftp://127.0.0.1:0"}, "tcp, tcp4, tcp6");
  ExpectRefusal({"--url=udp://127.0.0.1:0"}, "datagrams make no connections");
  ExpectRefusal({"--url=tcp://192.0.2.1:0"}, "bind 192.0.2.1:0: Cannot assign");
  ExpectRefusal({"--timeout=soon"}, "timeout");
  ExpectRefusal({"--timeout=-1s"}, "--timeout is negative");
  ExpectRefusal({"--threads=many"}, "threads");
  ExpectRefusal({"--threads=2"}, "threads = 2");
  ExpectRefusal({"--workers=2"}, "workers = 2");
  ExpectRefusal({"--no_such_flag"}, "no_such_flag");
  ExpectRefusal({"argument"}, "unexpected argument 'argument'");
}

TEST(EchoExample, APortInUseIsNamed) {
  EchoServer server;
  const std::string url = absl::StrCat("tcp://", server.address().ToString());
  ExpectRefusal(
      {absl::StrCat("--url=", url)},
      absl::StrCat("listen ", url, ": bind ", server.address().ToString(),
                   ": Address already in use"));
}

}  // namespace
}  // namespace fio
