#include "tests/bench/server_process.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "fio/base/unique_fd.h"
#include "tests/bench/counters.h"
#include "tests/bench/cpu_time.h"
#include "tests/bench/servers.h"

namespace fio::bench {
namespace {

Counters& NewSharedCounters() {
  void* const page = mmap(nullptr, sizeof(Counters), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ABSL_CHECK(page != MAP_FAILED);
  return *new (page) Counters;
}

// The child, which writes its port when it listens.
[[noreturn]] void RunChild(ServerProcess::Serve serve, int cpu, pid_t parent,
                           Counters& counters, const UniqueFd& port_out) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);  // It was too late for the signal.
  if (cpu >= 0) RunOnCpu(cpu);
  CountInto(counters);
  serve([&port_out](uint16_t port) {
    if (write(port_out.get(), &port, sizeof(port)) != sizeof(port)) _exit(1);
  });
  _exit(1);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ServerProcess>> ServerProcess::Start(
    std::string name, Serve serve, int cpu) {
  std::unique_ptr<ServerProcess> server(new ServerProcess(std::move(name)));
  int pipe[2];
  if (pipe2(pipe, O_CLOEXEC) != 0) {
    return absl::InternalError(absl::ErrnoToStatus(errno, "pipe2").message());
  }
  const UniqueFd port_in(pipe[0]);
  UniqueFd port_out(pipe[1]);
  const pid_t parent = getpid();
  server->pid_ = fork();
  if (server->pid_ == 0) {
    RunChild(serve, cpu, parent, server->counters_, port_out);
  }
  if (server->pid_ < 0) {
    return absl::InternalError(absl::ErrnoToStatus(errno, "fork").message());
  }
  port_out.Reset();
  ssize_t got;
  do {
    got = read(port_in.get(), &server->port_, sizeof(server->port_));
  } while (got < 0 && errno == EINTR);
  if (got != sizeof(server->port_)) {
    return absl::InternalError(absl::StrCat(server->name_, " cannot listen"));
  }
  return server;
}

ServerProcess::ServerProcess(std::string name)
    : name_(std::move(name)), counters_(NewSharedCounters()) {}

ServerProcess::~ServerProcess() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  munmap(&counters_, sizeof(Counters));
}

Usage ServerProcess::ReadUsage() const {
  return {
      .cpu = CpuTime(pid_), .user = UserTime(pid_), .counts = counters_.Read()};
}

bool RunOnCpu(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  return sched_setaffinity(0, sizeof(set), &set) == 0;
}

}  // namespace fio::bench
