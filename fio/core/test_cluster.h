// Helpers of tests of clusters: a root process that a test forks, and a trace
// that all its processes write and the test reads.
//
//   TestCluster cluster([](const Trace& trace) {
//     Reactor reactor({.workers = 2});
//     trace.Follow(reactor.lifecycle());
//     return ExitWith(reactor.Run());
//   });
//   cluster.Await("start", 2);
//   cluster.Signal(SIGTERM);
//   EXPECT_EQ(cluster.AwaitEnd(), 0);
//
// Thread safety: a Trace is for any thread; a TestCluster and a TestClient are
// for one.

#ifndef FIO_CORE_TEST_CLUSTER_H_
#define FIO_CORE_TEST_CLUSTER_H_

#include <sys/types.h>

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "fio/base/unique_fd.h"
#include "fio/core/listener.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/reactor.h"
#include "fio/sock/socket_address.h"

namespace fio::core_internal {

// Writes events of this process. Forked children inherit it.
class Trace {
 public:
  explicit Trace(int fd) : fd_(fd) {}

  // Appends one line of up to 400 bytes, with the pid of this process. May be
  // called in signal handlers.
  void Tell(std::string_view event) const;

  // Writes all lifecycle events of the process: "pre_start", "before_fork",
  // "after_fork", "in_child", "in_root", "start", "shutdown", "finish",
  // "parent_crash", "child_crash", "at_exit".
  void Follow(Lifecycle& lifecycle) const;

  // Listens on a free port of loopback, and writes "address VALUE". A failure
  // ends the process.
  ListenerId Listen(Reactor& reactor, ListenOptions options,
                    std::string_view url = "tcp://127.0.0.1:0") const;

 private:
  const int fd_;
};

class TestCluster {
 public:
  // Forks a process that runs `root` and exits with its result. In processes
  // that `root` forks, it need not return. The process inherits the test's
  // descriptors and leads its own process group.
  explicit TestCluster(const std::function<int(const Trace& trace)>& root);
  TestCluster(const TestCluster&) = delete;
  TestCluster& operator=(const TestCluster&) = delete;
  // Kills the processes that are left, and waits for their end.
  ~TestCluster();

  pid_t root() const { return root_; }

  // Sends a signal to the root, or to another process of the trace.
  void Signal(int signal) const { Signal(root_, signal); }
  void Signal(pid_t process, int signal) const;

  // Waits until the trace has `event` at least `count` times, and returns the
  // pids of all processes that wrote it, in order. If the processes end before,
  // or it takes too long, the test fails and fewer are returned.
  std::vector<pid_t> Await(std::string_view event, size_t count = 1);
  // The pids of those that wrote it after the first `known`.
  std::vector<pid_t> AwaitMore(std::string_view event, size_t known,
                               size_t count);

  // Waits for a line "`name` VALUE", and returns the value of the first one.
  std::string AwaitValue(std::string_view name);
  SocketAddress AwaitAddress();

  // Do not wait: how often `event` is in the trace, and the events of one
  // process.
  size_t Count(std::string_view event);
  std::vector<std::string> TraceOf(pid_t process);
  // The values of all "`name` VALUE".
  std::vector<std::string> Values(std::string_view name);

  // Waits until all processes have ended. Returns the exit code of the root, or
  // 1000 plus the signal that ended it. If it takes too long, the test fails
  // and this returns -1.
  int AwaitEnd();

 private:
  struct Line {
    pid_t process;
    std::string event;
  };

  // Reads lines; waits for them for up to `timeout_ms`. False if all processes
  // have ended or nothing came.
  bool Read(int timeout_ms);
  void ReadAvailable();
  std::string Describe() const;

  pid_t root_ = 0;
  UniqueFd trace_;
  bool ended_ = false;  // All writers have ended.
  std::string partial_;
  std::vector<Line> lines_;
};

// A blocking client whose calls have a time limit.
class TestClient {
 public:
  explicit TestClient(const SocketAddress& address);

  // 0, or the errno of the first call that failed.
  int error() const { return error_; }

  void Send(std::string_view bytes);
  // Reads until there are `bytes`, or the stream ends or fails.
  std::string Receive(size_t bytes);
  std::string ReceiveToEnd() { return Receive(std::string().max_size()); }
  void Close() { fd_.Reset(); }

 private:
  UniqueFd fd_;
  int error_ = 0;
};

}  // namespace fio::core_internal

#endif  // FIO_CORE_TEST_CLUSTER_H_
