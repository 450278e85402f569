// The client example, run as a user would, against servers of the test's own
// and the echo example.

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/socket.h"
#include "fio/testing/loopback_pair.h"
#include "fio/testing/memory_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/example.h"
#include "tests/subprocess.h"

namespace fio {
namespace {

using testing::ExpectRefusal;
using ::testing::HasSubstr;
using testing::MemoryFile;
using testing::Port;
using testing::ReadToEnd;
using testing::ReadUntil;
using testing::Reset;
using testing::Send;
using testing::Server;
using testing::Subprocess;

constexpr char kProgram[] = "examples/client";

// The client, and the other end of its stdin.
class Client {
 public:
  explicit Client(const std::string& url, std::vector<std::string> flags = {})
      : Client(url, std::move(flags), CreatePipe()) {}

  // With `input` as its stdin.
  Client(const std::string& url, UniqueFd input)
      : process_({kProgram, "--url=" + url}, std::move(input)) {}

  void Type(std::string_view bytes) const {
    EXPECT_EQ(write(input_.get(), bytes.data(), bytes.size()), bytes.size());
  }
  void CloseInput() { input_.Reset(); }

  const UniqueFd& input() const { return input_; }
  Subprocess& process() { return process_; }

 private:
  struct PipeEnds {
    UniqueFd reader, writer;
  };

  static PipeEnds CreatePipe() {
    int fds[2];
    EXPECT_EQ(pipe2(fds, O_CLOEXEC), 0);
    return {.reader = UniqueFd(fds[0]), .writer = UniqueFd(fds[1])};
  }

  static std::vector<std::string> Arguments(const std::string& url,
                                            std::vector<std::string> flags) {
    flags.insert(flags.begin(), {kProgram, "--url=" + url});
    return flags;
  }

  Client(const std::string& url, std::vector<std::string> flags, PipeEnds pipe)
      : input_(std::move(pipe.writer)),
        process_(Arguments(url, std::move(flags)), std::move(pipe.reader)) {}

  UniqueFd input_;
  Subprocess process_;
};

// A regular file, at its beginning.
UniqueFd File(std::string_view contents) {
  UniqueFd file = MemoryFile(contents);
  EXPECT_EQ(lseek(file.get(), 0, SEEK_SET), 0);
  return file;
}

std::string SomeMegabytes() {
  std::string bytes;
  for (int i = 0; bytes.size() < (size_t{5} << 20); ++i) {
    absl::StrAppend(&bytes, i, "\n");
  }
  return bytes;
}

TEST(ClientExample, SendsStdinAndPrintsWhatComesUntilBothHaveEnded) {
  Port port;
  port.Listen();
  Client client(port.url());
  Socket server = port.Accept();
  client.Type("one\n");
  EXPECT_EQ(ReadUntil(server, 4), "one\n");
  Send(server, "two\n");
  EXPECT_EQ(client.process().ReadLine(), "two");
  client.Type("three");
  client.CloseInput();
  EXPECT_EQ(ReadToEnd(server), "three");
  Send(server, "four\nfive");  // It still reads.
  server = Socket();
  EXPECT_EQ(client.process().ReadStdout(), "four\nfive");
  EXPECT_EQ(client.process().Wait(), 0);
  EXPECT_EQ(client.process().ReadStderr(), "");
}

TEST(ClientExample, EndsWhenTheServerDoes) {
  Port port;
  port.Listen();
  Client client(port.url());
  Socket server = port.Accept();
  Send(server, "bye\n");
  server = Socket();
  EXPECT_EQ(client.process().ReadStdout(), "bye\n");
  EXPECT_EQ(client.process().Wait(), 0);
}

// An echo server stops reading who does not read.
TEST(ClientExample, MegabytesThroughAnEchoServer) {
  const std::string bytes = SomeMegabytes();
  Server server("examples/echo");
  const std::string url = absl::StrCat("tcp://", server.address().ToString());
  // epoll(7) refuses a file, and takes a pipe.
  Client from_file(url, File(bytes));
  EXPECT_TRUE(from_file.process().ReadStdout() == bytes);
  EXPECT_EQ(from_file.process().Wait(), 0);

  Client from_pipe(url);
  std::thread writer([&] {
    from_pipe.Type(bytes);
    from_pipe.CloseInput();
  });
  EXPECT_TRUE(from_pipe.process().ReadStdout() == bytes);
  writer.join();
  EXPECT_EQ(from_pipe.process().Wait(), 0);
  EXPECT_EQ(from_pipe.process().ReadStderr(), "");
}

TEST(ClientExample, NothingAsStdin) {
  Port port;
  port.Listen();
  Client client(port.url(), UniqueFd(open("/dev/null", O_RDONLY | O_CLOEXEC)));
  Socket server = port.Accept();
  EXPECT_EQ(ReadToEnd(server), "");
  Send(server, "hello\n");
  server = Socket();
  EXPECT_EQ(client.process().ReadStdout(), "hello\n");
  EXPECT_EQ(client.process().Wait(), 0);
}

TEST(ClientExample, AUnixSocket) {
  char folder[] = "/tmp/client_XXXXXX";  // A short one, as its path has to be.
  ASSERT_NE(mkdtemp(folder), nullptr);
  const std::string url = absl::StrCat("unix://", folder, "/socket");
  Subprocess server({"examples/echo", "--url=" + url});
  EXPECT_EQ(server.ReadLine(),
            absl::StrCat("listening on ", folder, "/socket (process ",
                         server.pid(), ")"));
  Client client(url, File("hello\n"));
  EXPECT_EQ(client.process().ReadStdout(), "hello\n");
  EXPECT_EQ(client.process().Wait(), 0);
  server.Signal(SIGTERM);
  EXPECT_EQ(server.Wait(), 0);
  EXPECT_EQ(rmdir(folder), 0);  // The socket has gone.
}

// Nothing is read from stdin that the server does not take.
TEST(ClientExample, StdinWaitsForTheServer) {
  Port port;
  port.Listen();
  Client client(port.url());
  Socket server = port.Accept();
  ASSERT_EQ(fcntl(client.input().get(), F_SETFL, O_NONBLOCK), 0);
  const std::string block(1 << 16, 'x');
  constexpr size_t kBound = size_t{256} << 20;
  size_t typed = 0;
  for (int full = 0; full < 100 && typed < kBound;) {
    const ssize_t n = write(client.input().get(), block.data(), block.size());
    if (n < 0) {
      ASSERT_EQ(errno, EAGAIN);
      ++full;
      // What comes is printed all the same, and the client has had a turn.
      Send(server, "turn\n");
      ASSERT_EQ(client.process().ReadLine(), "turn");
    } else {
      full = 0;
      typed += static_cast<size_t>(n);
    }
  }
  EXPECT_LT(typed, kBound);
  client.CloseInput();
  EXPECT_EQ(ReadToEnd(server).size(), typed);
  server = Socket();
  EXPECT_EQ(client.process().Wait(), 0);
}

TEST(ClientExample, AStdoutThatNobodyReadsDoesNotKeepItFromEnding) {
  Port port;
  port.Listen();
  Client client(port.url());
  Socket server = port.Accept();
  Send(server, "first\n");
  EXPECT_EQ(client.process().ReadLine(), "first");
  Send(server, std::string(1 << 20, 'x'));  // More than a pipe holds.
  client.Type("second\n");
  EXPECT_EQ(ReadUntil(server, 7), "second\n");
  client.process().Signal(SIGTERM);
  EXPECT_EQ(client.process().Wait(), 0);
}

TEST(ClientExample, AClosedStdoutIsAnError) {
  Port port;
  port.Listen();
  Client client(port.url());
  client.process().CloseStdout();
  Socket server = port.Accept();
  Send(server, "hello\n");
  EXPECT_EQ(client.process().Wait(), 1);
  EXPECT_EQ(client.process().ReadStderr(),
            "write stdout: Broken pipe (EPIPE)\n");
}

TEST(ClientExample, AResetIsAnError) {
  Port port;
  port.Listen();
  Client client(port.url());
  Socket server = port.Accept();
  client.Type("hello");
  EXPECT_EQ(ReadUntil(server, 5), "hello");
  Reset(server);
  EXPECT_EQ(client.process().Wait(), 1);
  EXPECT_EQ(client.process().ReadStderr(),
            port.url() + ": Connection reset by peer (ECONNRESET)\n");
}

TEST(ClientExample, ReconnectsAndSaysSo) {
  Port port;
  Client client(port.url(), {"--reconnect"});
  const std::string connected = "connected to " + port.url();
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(client.process().ReadErrorLine(),
                HasSubstr("Connection refused"));
  }
  port.Listen();
  Socket server = port.Accept();
  std::string line = client.process().ReadErrorLine();
  while (line != connected && !line.empty()) {
    EXPECT_THAT(line, HasSubstr("Connection refused"));
    line = client.process().ReadErrorLine();
  }
  EXPECT_EQ(line, connected);
  client.Type("one\n");
  EXPECT_EQ(ReadUntil(server, 4), "one\n");
  server = Socket();
  EXPECT_EQ(client.process().ReadErrorLine(),
            port.url() + ": closed by the server");
  server = port.Accept();
  EXPECT_EQ(client.process().ReadErrorLine(), connected);
  client.Type("two\n");
  client.CloseInput();
  EXPECT_EQ(ReadToEnd(server), "two\n");
  server = Socket();
  EXPECT_EQ(client.process().Wait(), 0);
  EXPECT_EQ(client.process().ReadStderr(), "");
}

TEST(ClientExample, MistakesAreOneLineAndExitCodeOne) {
  Port port;
  ExpectRefusal(kProgram, {"--url=" + port.url()},
                absl::StrCat("connect ", port.url(), ": "));
  ExpectRefusal(kProgram, {"--url=" + port.url()}, "Connection refused");
  ExpectRefusal(kProgram, {"--url=nonsense"}, "connect nonsense: ");
  ExpectRefusal(kProgram, {"--url=tcp://127.0.0.1"}, "port");
  ExpectRefusal(kProgram, {"--url=unix:///no/such/socket"}, "No such file");
  ExpectRefusal(kProgram, {"--reconnect=perhaps"}, "reconnect");
  ExpectRefusal(kProgram, {"argument"}, "unexpected argument 'argument'");
}

}  // namespace
}  // namespace fio
