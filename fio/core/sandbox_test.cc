// Starts in a sandbox that refuses system calls: those that fio can do without
// are no matter, and the others are named.

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/core/exit_with.h"
#include "fio/core/listener.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/reactor.h"
#include "fio/core/reactor_options.h"
#include "fio/core/test_cluster.h"
#include "fio/sock/socket_address.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using core_internal::TestClient;
using core_internal::TestCluster;
using core_internal::Trace;
using ::testing::AllOf;
using ::testing::HasSubstr;

struct Refusal {
  std::string name;
  std::vector<int> calls;
};

// From here on `calls` fail with `error`, in this process and its children.
void Refuse(const std::vector<int>& calls, int error) {
  std::vector<sock_filter> program = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
  for (const int call : calls) {
    program.push_back(
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(call), 0, 1));
    program.push_back(BPF_STMT(
        BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<uint32_t>(error)));
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  const sock_fprog filter = {.len = static_cast<uint16_t>(program.size()),
                             .filter = program.data()};
  ABSL_CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
  ABSL_CHECK_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), 0);
}

class Echo final : public Protocol {
 public:
  void OnData(Connection& connection) override {
    connection.Write(connection.Received());
  }
};

// A server that can be asked for an echo; its start tells "failed MESSAGE" if
// it does.
int Serve(const Trace& trace, const ReactorOptions& options) {
  Reactor reactor(options);
  const absl::StatusOr<ListenerId> listener = reactor.Listen(
      "tcp://127.0.0.1:0", {.on_open = [](Connection& connection) {
        connection.Attach(std::make_unique<Echo>());
      }});
  absl::Status status = listener.status();
  if (status.ok()) {
    trace.Tell(
        absl::StrCat("address ", reactor.ListenAddress(*listener)->ToString()));
    status = reactor.Run();
  }
  if (!status.ok()) trace.Tell(absl::StrCat("failed ", status.message()));
  return ExitWith(status);
}

const ReactorOptions kThreads = {
    .threads = 2, .workers = 1, .linger_timeout = absl::ZeroDuration()};
const ReactorOptions kWorkers = {
    .threads = 1, .workers = 2, .linger_timeout = absl::ZeroDuration()};

std::vector<Refusal> Optional() {
  return {
      {"prlimit64", {SYS_prlimit64}},
      {"setrlimit", {SYS_prlimit64, SYS_setrlimit}},
      {"getrlimit", {SYS_prlimit64, SYS_setrlimit, SYS_getrlimit}},
      {"eventfd2", {SYS_eventfd2}},
      {"pipe2", {SYS_pipe2, SYS_eventfd2}},
      {"epoll_create1", {SYS_epoll_create1}},
      {"pidfd_open", {SYS_pidfd_open}},
      {"membarrier", {SYS_membarrier}},
      {"sched_getaffinity", {SYS_sched_getaffinity}},
      {"sched_yield", {SYS_sched_yield}},
      {"ppoll", {SYS_ppoll}},
      {"prctl", {SYS_prctl}},
      {"getrandom", {SYS_getrandom}},
      {"close_range", {SYS_close_range}},
      {"signalfd4", {SYS_signalfd4}},
      {"dup3", {SYS_dup3}},
      {"set_robust_list", {SYS_set_robust_list}},
      {"getdents64", {SYS_getdents64}},
      {"unshare", {SYS_getdents64, SYS_unshare}},
      {"openat", {SYS_openat}},
      {"sysinfo", {SYS_sysinfo}},
      {"uname", {SYS_uname}},
      {"sendfile", {SYS_sendfile}},
  };
}

TEST(Sandbox, EachOptionalCallRefused) {
  for (const Refusal& refusal : Optional()) {
    for (const int error : {EPERM, ENOSYS}) {
      for (const ReactorOptions* options : {&kThreads, &kWorkers}) {
        SCOPED_TRACE(absl::StrCat(refusal.name, ", errno ", error, ", ",
                                  options->workers, " workers"));
        TestCluster cluster([&](const Trace& trace) {
          Refuse(refusal.calls, error);
          return Serve(trace, *options);
        });
        const absl::StatusOr<SocketAddress> address =
            SocketAddress::Parse(cluster.AwaitValue("address"));
        if (!address.ok()) continue;  // AwaitValue() has failed the test.
        TestClient client(*address);
        client.Send("x");
        EXPECT_EQ(client.Receive(1), "x");
        client.Close();
        cluster.Signal(SIGTERM);
        EXPECT_EQ(cluster.AwaitEnd(), 0);
      }
    }
  }
}

class Hang final : public Protocol {
 public:
  explicit Hang(const Trace& trace) : trace_(trace) {}
  void OnData(Connection& /*connection*/) override {
    trace_.Tell("hangs");
    for (;;) pause();
  }

 private:
  const Trace trace_;
};

// A root whose helper, a forked child, has a copy of all of its descriptors. It
// cannot open pidfds.
int RunWithHelper(const Trace& trace, ReactorOptions options) {
  Refuse({SYS_pidfd_open}, ENOSYS);
  Reactor reactor(std::move(options));
  trace.Follow(reactor.lifecycle());
  reactor.lifecycle().Add(LifecycleEvent::kInRoot, [] {
    if (fork() != 0) return;
    for (;;) pause();
  });
  trace.Listen(reactor, {.on_open = [trace](Connection& connection) {
                 connection.Attach(std::make_unique<Hang>(trace));
               }});
  return ExitWith(reactor.Run());
}

TEST(Sandbox, RootDeathIsHeardWithoutPidFds) {
  TestCluster cluster([](const Trace& trace) {
    return RunWithHelper(trace, {.threads = 1, .workers = 2});
  });
  cluster.Await("start", 2);
  cluster.Signal(SIGKILL);
  cluster.Await("parent_crash", 2);
  cluster.Await("at_exit", 2);
}

// Its watchdog hears it: a client that waits is refused.
TEST(Sandbox, RootDeathIsHeardByAHungWorkerWithoutPidFds) {
  TestCluster cluster([](const Trace& trace) {
    return RunWithHelper(
        trace, {.threads = 1, .workers = 1, .supervise_single_worker = true});
  });
  TestClient client(cluster.AwaitAddress());
  client.Send("hang");
  cluster.Await("hangs");
  TestClient waits(cluster.AwaitAddress());
  cluster.Signal(SIGKILL);
  EXPECT_EQ(waits.ReceiveToEnd(), "");
  EXPECT_EQ(waits.error(), ECONNRESET);
}

TEST(Sandbox, NeededCallsAreNamed) {
  struct Needed {
    std::string call;
    std::vector<int> refused;
    const ReactorOptions* options;
  };
  const Needed kNeeded[] = {
      {"socket", {SYS_socket}, &kThreads},
      {"bind", {SYS_bind}, &kThreads},
      {"listen", {SYS_listen}, &kThreads},
      {"getsockname 127.0.0.1:0", {SYS_getsockname}, &kThreads},
      {"getsockname 127.0.0.1:0", {SYS_getsockname}, &kWorkers},
      {"setsockopt", {SYS_setsockopt}, &kThreads},
      {"epoll_ctl", {SYS_epoll_ctl}, &kThreads},
      {"pipe", {SYS_eventfd2, SYS_pipe2, SYS_pipe}, &kThreads},
      {"sigaction", {SYS_rt_sigaction}, &kThreads},
      {"pthread_create", {SYS_clone, SYS_clone3}, &kThreads},
      {"fork", {SYS_clone, SYS_clone3}, &kWorkers},
      {"socketpair", {SYS_socketpair}, &kWorkers},
  };
  for (const Needed& needed : kNeeded) {
    SCOPED_TRACE(needed.call);
    TestCluster cluster([&](const Trace& trace) {
      Refuse(needed.refused, EPERM);
      return Serve(trace, *needed.options);
    });
    EXPECT_THAT(cluster.AwaitValue("failed"),
                AllOf(HasSubstr(needed.call), HasSubstr("EPERM")));
    EXPECT_EQ(cluster.AwaitEnd(), 1);
  }
}

}  // namespace
}  // namespace fio
