#include "tests/example.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"
#include "fio/testing/loopback_pair.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/subprocess.h"

namespace fio::testing {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

std::vector<std::string> Arguments(std::vector<std::string> first,
                                   const std::vector<std::string>& flags) {
  first.insert(first.end(), flags.begin(), flags.end());
  return first;
}

// A folder for one Unix socket. Its path is short, as those of sockets have to
// be.
class SocketFolder {
 public:
  SocketFolder() : events_(inotify_init1(IN_CLOEXEC)) {
    EXPECT_NE(mkdtemp(folder_), nullptr);
    EXPECT_GE(inotify_add_watch(events_.get(), folder_, IN_CREATE), 0);
  }
  SocketFolder(const SocketFolder&) = delete;
  SocketFolder& operator=(const SocketFolder&) = delete;
  ~SocketFolder() {
    EXPECT_EQ(rmdir(folder_), 0) << "the socket is still there";
  }

  std::string path() const { return absl::StrCat(folder_, "/socket"); }

  // Waits until there is a server.
  Socket Connect() const {
    char event[sizeof(inotify_event) + NAME_MAX + 1];
    EXPECT_GT(read(events_.get(), event, sizeof(event)), 0);
    UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const SocketAddress address = *SocketAddress::FromUnixPath(path());
    while (connect(fd.get(), address.data(), address.size()) != 0) {
      EXPECT_EQ(errno, ECONNREFUSED);  // It is bound, and listens soon.
      sched_yield();
    }
    return Socket(std::move(fd));
  }

 private:
  char folder_[20] = "/tmp/example_XXXXXX";
  const UniqueFd events_;
};

// What the descriptor of another process is; empty if it has none.
std::string LinkOf(pid_t pid, int fd) {
  char link[64];
  const ssize_t size = readlink(absl::StrCat("/proc/", pid, "/fd/", fd).c_str(),
                                link, sizeof(link));
  return size < 0 ? "" : std::string(link, static_cast<size_t>(size));
}

}  // namespace

SocketAddress ListeningAddress(std::string_view line, pid_t pid) {
  std::string_view port = line;
  uint32_t number = 0;
  EXPECT_TRUE(
      absl::ConsumePrefix(&port, "listening on ") &&
      (absl::ConsumePrefix(&port, "tcp://127.0.0.1:") ||
       absl::ConsumePrefix(&port, "http://127.0.0.1:") ||
       absl::ConsumePrefix(&port, "tls://127.0.0.1:")) &&
      absl::ConsumeSuffix(&port, absl::StrCat(" (process ", pid, ")")) &&
      absl::SimpleAtoi(port, &number))
      << line;
  return *SocketAddress::FromIp("127.0.0.1", static_cast<uint16_t>(number));
}

Socket ConnectTo(const SocketAddress& address) {
  UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(connect(fd.get(), address.data(), address.size()), 0)
      << address.ToString();
  const int on = 1;
  EXPECT_EQ(setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), 0);
  return Socket(std::move(fd));
}

Server::Server(const std::string& program,
               const std::vector<std::string>& flags)
    : process_(Arguments({program, "--url=tcp://127.0.0.1:0"}, flags)),
      address_(ListeningAddress(process_.ReadLine(), process_.pid())) {}

Port::Port() : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  const SocketAddress any = *SocketAddress::FromIp("127.0.0.1", 0);
  EXPECT_EQ(bind(fd_.get(), any.data(), any.size()), 0);
  sockaddr_in bound = {};
  socklen_t size = sizeof(bound);
  EXPECT_EQ(getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&bound), &size),
            0);
  url_ = absl::StrCat("tcp://127.0.0.1:", ntohs(bound.sin_port));
}

void Port::Listen() const { EXPECT_EQ(listen(fd_.get(), 16), 0); }

Socket Port::Accept() const {
  Socket socket(UniqueFd(accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC)));
  socket.AllowHalfOpen();
  return socket;
}

void Reset(Socket& socket) {
  const linger reset = {.l_onoff = 1, .l_linger = 0};
  EXPECT_EQ(
      setsockopt(socket.fd(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
  socket = Socket();
}

void Send(Socket& socket, std::string_view bytes) {
  ASSERT_EQ(socket.TryWrite(bytes).bytes, bytes.size());
}

std::string ReadLine(Socket& socket) {
  std::string line;
  for (;;) {
    const std::string byte = ReadUntil(socket, 1);
    if (byte.empty() || byte == "\n") return line;
    line += byte;
  }
}

void ExpectRefusal(const std::string& program,
                   const std::vector<std::string>& flags,
                   std::string_view message) {
  Subprocess process(Arguments({program}, flags));
  EXPECT_EQ(process.ReadLine(), "");
  EXPECT_EQ(process.Wait(), 1);
  const std::string error = process.ReadStderr();
  EXPECT_THAT(error, HasSubstr(message));
  EXPECT_EQ(std::count(error.begin(), error.end(), '\n'), 1) << error;
  EXPECT_TRUE(error.ends_with('\n')) << error;
}

void ExpectServesWithoutStandardStreams(const std::string& program,
                                        std::string_view request,
                                        std::string_view answer,
                                        std::string_view farewell) {
  const std::vector<std::vector<int>> cases = {{0}, {1}, {2}, {0, 1, 2}};
  for (const std::vector<int>& closed : cases) {
    const std::string message =
        absl::StrCat(program, " without ", absl::StrJoin(closed, ", "));
    const SocketFolder folder;
    Subprocess server({program, "--url=unix://" + folder.path()}, UniqueFd(),
                      closed);
    Socket client = folder.Connect();
    for (int i = 0; i < 2; ++i) {
      Send(client, request);
      EXPECT_EQ(ReadUntil(client, answer.size()), answer) << message;
      server.Signal(SIGUSR1);  // Is a warning in the log.
    }
    for (const int fd : closed) {
      EXPECT_THAT(LinkOf(server.pid(), fd), AnyOf("", "/dev/null")) << message;
    }
    if (::testing::Test::HasFailure()) return;  // It may not even end.
    server.Signal(SIGTERM);
    EXPECT_EQ(ReadToEnd(client), farewell) << message;
    EXPECT_EQ(server.Wait(), 0) << message;
  }
}

}  // namespace fio::testing
