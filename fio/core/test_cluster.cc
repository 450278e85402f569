#include "fio/core/test_cluster.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__linux__)
#include <sys/prctl.h>
#endif

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/log/absl_check.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "fio/base/syscalls.h"
#include "fio/base/unique_fd.h"
#include "fio/core/listener.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/reactor.h"
#include "fio/sock/socket_address.h"
#include "gtest/gtest.h"

namespace fio::core_internal {
namespace {

// How long nothing may happen; only a test that fails waits for it.
constexpr int kPatienceMs = 20'000;
constexpr size_t kTraceBytes = size_t{1} << 20;

struct Told {
  LifecycleEvent event;
  const char* name;
};
constexpr Told kTold[] = {{LifecycleEvent::kPreStart, "pre_start"},
                          {LifecycleEvent::kBeforeFork, "before_fork"},
                          {LifecycleEvent::kAfterFork, "after_fork"},
                          {LifecycleEvent::kInChild, "in_child"},
                          {LifecycleEvent::kInRoot, "in_root"},
                          {LifecycleEvent::kOnStart, "start"},
                          {LifecycleEvent::kOnShutdown, "shutdown"},
                          {LifecycleEvent::kOnFinish, "finish"},
                          {LifecycleEvent::kOnParentCrash, "parent_crash"},
                          {LifecycleEvent::kOnChildCrash, "child_crash"},
                          {LifecycleEvent::kAtExit, "at_exit"}};

}  // namespace

// --- Trace ---

void Trace::Tell(std::string_view event) const {
  std::array<char, 512> line;
  char* end = std::to_chars(line.data(), line.data() + 32, int{getpid()}).ptr;
  *end++ = ' ';
  const size_t length = std::min<size_t>(event.size(), 400);
  std::memcpy(end, event.data(), length);
  end += length;
  *end++ = '\n';
  const auto size = static_cast<size_t>(end - line.data());
  const int saved_errno = errno;
  ssize_t written = 0;
  do {
    written = write(fd_, line.data(), size);
  } while (written < 0 && errno == EINTR);
  errno = saved_errno;
}

void Trace::Follow(Lifecycle& lifecycle) const {
  for (const auto& [event, name] : kTold) {
    lifecycle.Add(event, [trace = *this, name = name] { trace.Tell(name); });
  }
}

ListenerId Trace::Listen(Reactor& reactor, ListenOptions options,
                         std::string_view url) const {
  const absl::StatusOr<ListenerId> id = reactor.Listen(url, std::move(options));
  ABSL_CHECK_OK(id);
  Tell(absl::StrCat("address ", reactor.ListenAddress(*id)->ToString()));
  return *id;
}

// --- TestCluster ---

TestCluster::TestCluster(const std::function<int(const Trace&)>& root) {
  int ends[2];
  ABSL_CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
  trace_ = UniqueFd(ends[0]);
  UniqueFd writer(ends[1]);
#if defined(__linux__)
  // So that no process waits for the test to read.
  fcntl(writer.get(), F_SETPIPE_SZ, int{kTraceBytes});
#endif
  std::fflush(nullptr);
  root_ = fork();
  ABSL_CHECK_GE(root_, 0);
  if (root_ != 0) {
    setpgid(root_, root_);  // Whoever comes first.
    return;
  }
#if defined(__linux__)
  prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
  setpgid(0, 0);
  const rlimit no_core = {};
  setrlimit(RLIMIT_CORE, &no_core);
  trace_.Reset();
  std::exit(root(Trace(writer.get())));
}

// The root is reaped last: until then no other process group has its number.
TestCluster::~TestCluster() {
  kill(-root_, SIGKILL);
  while (!ended_ && Read(kPatienceMs)) continue;
  EXPECT_TRUE(ended_) << "processes are left behind" << Describe();
  while (waitpid(root_, nullptr, 0) < 0 && errno == EINTR) continue;
}

void TestCluster::Signal(pid_t process, int signal) const {
  ABSL_CHECK_GT(process, 1);
  EXPECT_EQ(kill(process, signal), 0) << std::strerror(errno);
}

bool TestCluster::Read(int timeout_ms) {
  if (ended_) return false;
  pollfd ready = {.fd = trace_.get(), .events = POLLIN, .revents = 0};
  int polled = 0;
  do {
    polled = Sys().poll(&ready, 1, timeout_ms);
  } while (polled < 0 && errno == EINTR);
  if (polled == 0) return false;
  std::array<char, 16 * 1024> bytes;
  const ssize_t got = read(trace_.get(), bytes.data(), bytes.size());
  if (got <= 0) {
    ended_ = true;
    return false;
  }
  partial_.append(bytes.data(), static_cast<size_t>(got));
  size_t begin = 0;
  for (size_t end = partial_.find('\n'); end != std::string::npos;
       end = partial_.find('\n', begin)) {
    const std::string_view line(partial_.data() + begin, end - begin);
    const size_t space = line.find(' ');
    pid_t process = 0;
    std::from_chars(line.data(), line.data() + space, process);
    lines_.push_back({process, std::string(line.substr(space + 1))});
    begin = end + 1;
  }
  partial_.erase(0, begin);
  return true;
}

void TestCluster::ReadAvailable() {
  while (Read(0)) continue;
}

std::vector<pid_t> TestCluster::Await(std::string_view event, size_t count) {
  return AwaitMore(event, 0, count);
}

std::vector<pid_t> TestCluster::AwaitMore(std::string_view event, size_t known,
                                          size_t count) {
  ReadAvailable();
  for (;;) {
    std::vector<pid_t> who;
    for (const Line& line : lines_) {
      if (line.event == event) who.push_back(line.process);
    }
    if (who.size() >= known + count || !Read(kPatienceMs)) {
      EXPECT_GE(who.size(), known + count) << event << Describe();
      who.erase(who.begin(), who.begin() + static_cast<std::ptrdiff_t>(
                                               std::min(known, who.size())));
      return who;
    }
  }
}

std::string TestCluster::AwaitValue(std::string_view name) {
  for (;;) {
    const std::vector<std::string> values = Values(name);
    if (!values.empty()) return values.front();
    if (!Read(kPatienceMs)) {
      ADD_FAILURE() << name << Describe();
      return "";
    }
  }
}

SocketAddress TestCluster::AwaitAddress() {
  const absl::StatusOr<SocketAddress> address =
      SocketAddress::Parse(AwaitValue("address"));
  ABSL_CHECK_OK(address);
  return *address;
}

size_t TestCluster::Count(std::string_view event) {
  ReadAvailable();
  return static_cast<size_t>(absl::c_count_if(
      lines_, [event](const Line& line) { return line.event == event; }));
}

std::vector<std::string> TestCluster::TraceOf(pid_t process) {
  ReadAvailable();
  std::vector<std::string> events;
  for (const Line& line : lines_) {
    if (line.process == process) events.push_back(line.event);
  }
  return events;
}

std::vector<std::string> TestCluster::Values(std::string_view name) {
  ReadAvailable();
  std::vector<std::string> values;
  for (const Line& line : lines_) {
    std::string_view value = line.event;
    if (absl::ConsumePrefix(&value, name) && absl::ConsumePrefix(&value, " ")) {
      values.emplace_back(value);
    }
  }
  return values;
}

int TestCluster::AwaitEnd() {
  while (Read(kPatienceMs)) continue;
  if (!ended_) {
    ADD_FAILURE() << "not all processes have ended" << Describe();
    return -1;
  }
  siginfo_t info = {};
  while (waitid(P_PID, static_cast<id_t>(root_), &info, WEXITED | WNOWAIT) !=
         0) {
    if (errno != EINTR) return -1;
  }
  return info.si_code == CLD_EXITED ? info.si_status : 1000 + info.si_status;
}

std::string TestCluster::Describe() const {
  std::string text = absl::StrCat("; the root is ", root_, "; told:\n");
  for (const auto& [process, event] : lines_) {
    absl::StrAppend(&text, process, " ", event, "\n");
  }
  return text;
}

// --- TestClient ---

TestClient::TestClient(const SocketAddress& address)
    : fd_(socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  const timeval patience = {.tv_sec = kPatienceMs / 1000, .tv_usec = 0};
  for (const int option : {SO_RCVTIMEO, SO_SNDTIMEO}) {
    setsockopt(fd_.get(), SOL_SOCKET, option, &patience, sizeof(patience));
  }
  if (connect(fd_.get(), address.data(), address.size()) != 0) error_ = errno;
}

void TestClient::Send(std::string_view bytes) {
  while (error_ == 0 && !bytes.empty()) {
    const ssize_t sent =
        send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent >= 0) {
      bytes.remove_prefix(static_cast<size_t>(sent));
    } else if (errno != EINTR) {
      error_ = errno;
    }
  }
}

std::string TestClient::Receive(size_t bytes) {
  std::string received;
  while (error_ == 0 && received.size() < bytes) {
    std::array<char, 16 * 1024> buffer;
    const size_t room = std::min(buffer.size(), bytes - received.size());
    const ssize_t got = recv(fd_.get(), buffer.data(), room, 0);
    if (got == 0) break;
    if (got > 0) {
      received.append(buffer.data(), static_cast<size_t>(got));
    } else if (errno != EINTR) {
      error_ = errno;
    }
  }
  return received;
}

}  // namespace fio::core_internal
