// The server of docs/first-server.md, run and talked to as a user would.

#include <sys/socket.h>

#include <csignal>
#include <string>

#include "fio/sock/socket.h"
#include "fio/testing/loopback_pair.h"
#include "gtest/gtest.h"
#include "tests/example.h"
#include "tests/subprocess.h"

namespace fio {
namespace {

using testing::ExpectRefusal;
using testing::ReadLine;
using testing::ReadToEnd;
using testing::Send;
using testing::Server;

constexpr char kProgram[] = "examples/first_server/first_server";

TEST(FirstServerExample, AnswersWithThreadsAndWorkers) {
  for (const char* workers : {"--workers=1", "--workers=2"}) {
    Server server(kProgram, {"--threads=2", workers});
    for (int i = 0; i < 8; ++i) {
      Socket client = server.Connect();
      Send(client, "7\n8\nx\n");
      EXPECT_EQ(ReadLine(client), "7 is prime");
      EXPECT_EQ(ReadLine(client), "8 is not prime");
      EXPECT_EQ(ReadLine(client), "error: that is no number");
      Send(client, "quit\n");
      EXPECT_EQ(ReadToEnd(client), "bye\n");
    }
    server.process().Signal(SIGTERM);
    EXPECT_EQ(server.process().Wait(), 0);
    EXPECT_EQ(server.process().ReadStderr(), "");
  }
}

TEST(FirstServerExample, AnswersAClientThatHasEnded) {
  Server server(kProgram);
  Socket client = server.Connect();
  Send(client, "1000000007\n");
  ASSERT_EQ(shutdown(client.fd(), SHUT_WR), 0);
  EXPECT_EQ(ReadLine(client), "1000000007 is prime");
  EXPECT_EQ(ReadToEnd(client), "");
}

TEST(FirstServerExample, ARestartServesOn) {
  Server server(kProgram, {"--workers=2"});
  Socket old = server.Connect();
  Send(old, "7\n");
  EXPECT_EQ(ReadLine(old), "7 is prime");
  server.process().Signal(SIGUSR1);
  EXPECT_EQ(ReadToEnd(old), "bye\n");
  Socket client = server.Connect();
  Send(client, "7\n");
  EXPECT_EQ(ReadLine(client), "7 is prime");
  server.process().Signal(SIGTERM);
  EXPECT_EQ(server.process().Wait(), 0);
  EXPECT_EQ(server.process().ReadStderr(), "");
}

// The second signal that stops aborts the connection, and the work ends, too.
TEST(FirstServerExample, StopsThoughWorkRuns) {
  Server server(kProgram);
  Socket client = server.Connect();
  Send(client, "18446744073709551557\n");
  EXPECT_EQ(ReadLine(client), ".");
  server.process().Signal(SIGTERM);
  server.process().Signal(SIGINT);
  EXPECT_EQ(server.process().Wait(), 0);
}

TEST(FirstServerExample, MistakesAreOneLineAndExitCodeOne) {
  ExpectRefusal(kProgram, {"--url=nonsense"}, "listen: url 'nonsense'");
  ExpectRefusal(kProgram, {"argument"}, "unexpected argument 'argument'");
}

}  // namespace
}  // namespace fio
