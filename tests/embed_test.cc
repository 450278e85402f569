// The embed example, run and talked to as a user would.

#include <csignal>
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
using testing::ReadToEnd;
using testing::ReadUntil;
using testing::Send;
using testing::Server;

constexpr char kProgram[] = "examples/embed";

TEST(EmbedExample, EchoesAndEndsInOrder) {
  Server server(kProgram);
  Socket client = server.Connect();
  std::string bytes;
  for (int i = 0; i < 100'000; ++i) bytes += static_cast<char>(i % 256);
  Send(client, bytes);
  EXPECT_TRUE(ReadUntil(client, bytes.size()) == bytes);
  server.process().Signal(SIGTERM);
  EXPECT_EQ(ReadToEnd(client), "");
  EXPECT_EQ(server.process().ReadStdout(), "");
  EXPECT_EQ(server.process().Wait(), 0);
  EXPECT_EQ(server.process().ReadStderr(), "");
}

TEST(EmbedExample, HearsItsOwnDescriptorBesideTheLoops) {
  Server server(kProgram, {"--report=1h"});
  std::vector<Socket> clients;
  for (int i = 0; i < 300; ++i) {
    clients.push_back(server.Connect());
    Send(clients.back(), "x");
    ASSERT_EQ(ReadUntil(clients.back(), 1), "x");
    if (i % 100 != 99) continue;
    server.process().Signal(SIGUSR1);
    EXPECT_EQ(server.process().ReadLine(), absl::StrCat("clients: ", i + 1));
  }
  server.process().Signal(SIGINT);
  EXPECT_EQ(server.process().Wait(), 0);
}

TEST(EmbedExample, TheLoopsTimerGoesOnWithAndWithoutEvents) {
  Server server(kProgram, {"--report=10ms"});
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(server.process().ReadLine(), "clients: 0");
  }
  Socket client = server.Connect();
  Send(client, "x");
  EXPECT_EQ(ReadUntil(client, 1), "x");
  while (server.process().ReadLine() == "clients: 0") {
  }
  EXPECT_EQ(server.process().ReadLine(), "clients: 1");
  client = Socket();
  while (server.process().ReadLine() == "clients: 1") {
  }
  EXPECT_EQ(server.process().ReadLine(), "clients: 0");
}

TEST(EmbedExample, MistakesAreOneLineAndExitCodeOne) {
  ExpectRefusal(kProgram, {"--url=nonsense"}, "url 'nonsense'");
  ExpectRefusal(kProgram, {"--url=udp://127.0.0.1:0"}, "datagrams");
  ExpectRefusal(kProgram, {"--report=0"}, "--report is not positive");
  ExpectRefusal(kProgram, {"--report=soon"}, "report");
  ExpectRefusal(kProgram, {"--report=5"}, "a time has a unit, as in 5s");
  ExpectRefusal(kProgram, {"argument"}, "unexpected argument 'argument'");
  Server server(kProgram);
  ExpectRefusal(kProgram,
                {absl::StrCat("--url=tcp://", server.address().ToString())},
                "Address already in use");
}

}  // namespace
}  // namespace fio
