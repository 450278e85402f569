// Helpers of the reactor's tests.

#ifndef FIO_CORE_REACTOR_TEST_UTIL_H_
#define FIO_CORE_REACTOR_TEST_UTIL_H_

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/time/time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/listener.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/reactor.h"
#include "fio/core/reactor_options.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"
#include "gtest/gtest.h"

namespace fio::core_internal {

// Echoes; writes "bye" in OnShutdown().
class Echo final : public Protocol {
 public:
  void OnData(Connection& connection) override {
    connection.Write(connection.Received());
  }
  absl::Duration OnShutdown(Connection& connection) override {
    connection.Write("bye");
    return absl::ZeroDuration();
  }
};

inline void AttachEcho(Connection& connection) {
  connection.Attach(std::make_unique<Echo>());
}

// The reactor handles no signals, so a test can.
inline SignalOptions NoSignals() {
  return {.stop = {}, .restart = {}, .ignore_sigpipe = false};
}

// A single process that handles no signal.
inline ReactorOptions Threads(int threads) {
  return {.threads = threads,
          .workers = 1,
          .signals = NoSignals(),
          .linger_timeout = absl::ZeroDuration()};
}

// Listens on a free port of loopback.
inline SocketAddress ListenOn(Reactor& reactor, ListenOptions options,
                              ListenerId* id = nullptr) {
  const absl::StatusOr<ListenerId> listener =
      reactor.Listen("tcp://127.0.0.1:0", std::move(options));
  EXPECT_TRUE(listener.ok()) << listener.status();
  if (!listener.ok()) return {};
  if (id != nullptr) *id = *listener;
  return *reactor.ListenAddress(*listener);
}

// A blocking client. It may run in the same thread as the reactor, because the
// kernel completes the connection. An empty Socket if it is refused.
inline Socket TryConnectTo(const SocketAddress& address) {
  UniqueFd fd(socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (connect(fd.get(), address.data(), address.size()) != 0) return Socket();
  return Socket(std::move(fd));
}

inline Socket ConnectTo(const SocketAddress& address) {
  Socket socket = TryConnectTo(address);
  EXPECT_GE(socket.fd(), 0) << address.ToString() << ": errno " << errno;
  return socket;
}

inline std::vector<Socket> ConnectMany(const SocketAddress& address,
                                       size_t count) {
  std::vector<Socket> sockets;
  sockets.reserve(count);
  for (size_t i = 0; i < count; ++i) sockets.push_back(ConnectTo(address));
  return sockets;
}

// Returns when each loop has begun and ended at least `turns` turns. Call it on
// a thread that runs no loop.
inline void AwaitTurns(const Reactor& reactor, int turns = 2) {
  const std::vector<LoopHandle> handles = reactor.handles();
  for (int i = 0; i < turns; ++i) {
    absl::BlockingCounter all(static_cast<int>(handles.size()));
    for (const LoopHandle& handle : handles) {
      EXPECT_TRUE(handle.Post([&all] { all.DecrementCount(); }));
    }
    all.Wait();
  }
}

// Runs `run` in a forked child. Returns what it writes to the pipe; `status` is
// its wait status: exit code 0, or 1 if an expectation failed there.
inline std::string InChild(const std::function<void(int pipe)>& run,
                           int& status) {
  int ends[2];
  EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
  UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  const pid_t child = fork();
  if (child == 0) {
    alarm(120);
    read_end.Reset();
    run(write_end.get());
    _exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  EXPECT_GT(child, 0);
  write_end.Reset();
  std::string written;
  std::array<char, 256> bytes;
  for (;;) {
    const ssize_t got = read(read_end.get(), bytes.data(), bytes.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    written.append(bytes.data(), static_cast<size_t>(got));
  }
  while (waitpid(child, &status, 0) < 0) {
    if (errno == EINTR) continue;
    ADD_FAILURE() << "waitpid: errno " << errno;
    break;
  }
  return written;
}

// The same for a child that writes nothing; expects exit code 0.
inline void ExpectChildPasses(const std::function<void()>& run) {
  int status = -1;
  InChild([&run](int) { run(); }, status);
  EXPECT_EQ(status, 0);
}

inline void WriteTo(int pipe, std::string_view text) {
  EXPECT_EQ(write(pipe, text.data(), text.size()),
            static_cast<ssize_t>(text.size()));
}

}  // namespace fio::core_internal

#endif  // FIO_CORE_REACTOR_TEST_UTIL_H_
