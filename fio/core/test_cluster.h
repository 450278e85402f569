// What tests of clusters share: a root process that a test forks, and a trace
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

// Of this process, which may be forked from another that has it, too.
class Trace {
 public:
  explicit Trace(int fd) : fd_(fd) {}

  // Appends one line, with the pid of this process; of up to 400 bytes. Also in
  // signal handlers.
  void Tell(std::string_view event) const;

  // Tells of all that happens to the process: "pre_start", "before_fork",
  // "after_fork", "in_child", "in_root", "start", "shutdown", "finish",
  // "parent_crash", "child_crash", "at_exit".
  void Follow(Lifecycle& lifecycle) const;

  // Listens on a free port of loopback, and tells "address" of it. A failure is
  // the end of the process.
  ListenerId Listen(Reactor& reactor, ListenOptions options,
                    std::string_view url = "tcp://127.0.0.1:0") const;

 private:
  const int fd_;
};

class TestCluster {
 public:
  // Forks a process that runs `root` and exits with what it returns, or, in
  // whatever processes it forks, does not return. Its descriptors are the
  // test's; it leads a process group of its own.
  explicit TestCluster(const std::function<int(const Trace& trace)>& root);
  TestCluster(const TestCluster&) = delete;
  TestCluster& operator=(const TestCluster&) = delete;
  // Kills what is left, and waits until all is gone.
  ~TestCluster();

  pid_t root() const { return root_; }

  // Sends a signal to the root, or to another process of the trace.
  void Signal(int signal) const { Signal(root_, signal); }
  void Signal(pid_t process, int signal) const;

  // Waits until the processes have told `count` times of `event`, and returns
  // who has, in order; more than `count` if more have by now. A failure of the
  // test, and fewer, if they end before or it takes too long.
  std::vector<pid_t> Await(std::string_view event, size_t count = 1);
  // Those that have told of it after the first `known`.
  std::vector<pid_t> AwaitMore(std::string_view event, size_t known,
                               size_t count);

  // Awaits "`name` VALUE", and returns the value of the first.
  std::string AwaitValue(std::string_view name);
  SocketAddress AwaitAddress();

  // What has been told by now: how often, or by one process, without waiting.
  size_t Count(std::string_view event);
  std::vector<std::string> TraceOf(pid_t process);
  // The values of all "`name` VALUE".
  std::vector<std::string> Values(std::string_view name);

  // Waits until all processes have ended, and returns the exit code of the
  // root, or 1000 and the signal that has ended it; -1, and a failure of the
  // test, if it takes too long.
  int AwaitEnd();

 private:
  struct Line {
    pid_t process;
    std::string event;
  };

  // Reads what is there, waiting for up to `timeout_ms`. False at the end of
  // all processes, or if nothing came.
  bool Read(int timeout_ms);
  void ReadAvailable();
  std::string Describe() const;

  pid_t root_ = 0;
  UniqueFd trace_;
  bool ended_ = false;  // All writers are gone.
  std::string partial_;
  std::vector<Line> lines_;
};

// A blocking client; no call of it takes longer than a test should.
class TestClient {
 public:
  explicit TestClient(const SocketAddress& address);

  // 0, or the errno of connect(2) or the first other call that has failed.
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
