#include "fio/core/internal/ask_processes.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "fio/base/errno_status.h"
#include "fio/base/fork_count.h"
#include "fio/base/signals_blocked.h"
#include "fio/base/syscalls.h"
#include "fio/base/unique_fd.h"
#include "fio/core/internal/answer_frame.h"
#include "fio/core/internal/name_table.h"
#include "fio/core/loop/loop.h"
#include "fio/core/poller/child_watch.h"
#include "fio/core/poller/event.h"
#include "fio/sock/url.h"

namespace fio::core_internal {
namespace {

std::string About(const Url& url, std::string_view what) {
  return absl::StrCat("resolve ", url.ToString(), ": ", what);
}

// Whether it may be killed: a pid that somebody else has reaped may be that of
// another process by now.
bool IsOurChild(pid_t pid) {
  siginfo_t info;
  return waitid(P_PID, static_cast<id_t>(pid), &info,
                WEXITED | WNOHANG | WNOWAIT) == 0;
}

void Kill(pid_t pid) {
  if (IsOurChild(pid)) kill(pid, SIGKILL);
}

void Reap(pid_t pid) {
  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) continue;
}

// --- In the child ---

// Closes the descriptors from `first` to `last`.
void CloseRange(unsigned first, unsigned last) {
  if (first > last) return;
#ifdef SYS_close_range
  if (syscall(SYS_close_range, first, last, 0) == 0) return;
#endif
  // A kernel before 5.9, or a sandbox.
  const auto limit = static_cast<unsigned>(sysconf(_SC_OPEN_MAX));
  for (unsigned fd = first; fd <= last && fd < limit; ++fd) {
    close(static_cast<int>(fd));
  }
}

// Leaves `kept` and the standard streams, which become /dev/null.
void CloseInherited(int kept) {
  const auto number = static_cast<unsigned>(kept);
  CloseRange(0, number - 1);
  CloseRange(number + 1, ~0U);
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = 0; fd <= STDERR_FILENO; ++fd) {
    if (null >= 0 && fd != null) dup2(null, fd);
  }
}

[[noreturn]] void AskAndExit(const NameTable& names, const Url& url, int answer,
                             pid_t parent) {
  // In a sandbox that refuses it, the child ends with its answer at the latest.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  // The parent may have ended before.
  if (getppid() != parent) _exit(EXIT_FAILURE);
  prctl(PR_SET_NAME, "fio-resolver");
  CloseInherited(answer);
  const std::string frame = EncodeAnswer(names.ask()(url));
  const ssize_t sent = send(answer, frame.data(), frame.size(), MSG_NOSIGNAL);
  _exit(sent < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

// --- In the parent ---

struct SocketPair {
  UniqueFd parent;
  UniqueFd child;
};

// Neither is a standard stream, which the child replaces.
absl::StatusOr<SocketPair> OpenSocketPair() {
  int ends[2];
  if (Sys().socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return ErrnoToStatus(errno, "socketpair");
  }
  SocketPair pair = {.parent = UniqueFd::Created(ends[0]),
                     .child = UniqueFd::Created(ends[1])};
  if (!pair.parent || !pair.child) return ErrnoToStatus(errno, "fcntl");
  return pair;
}

// What a child that has ended has sent, if it has.
std::optional<NameTable::Addresses> ReadAnswer(int fd) {
  std::string frame(kMaxAnswerFrame + 1, '\0');
  const ssize_t size = recv(fd, frame.data(), frame.size(), MSG_DONTWAIT);
  if (size <= 0) return std::nullopt;
  frame.resize(static_cast<size_t>(size));
  return DecodeAnswer(frame);
}

std::string Describe(const ChildExit& exit) {
  const std::string who = "the process that asked ended";
  if (!exit.status.has_value()) return absl::StrCat(who, " without an answer");
  if (WIFSIGNALED(*exit.status)) {
    return absl::StrCat(who, " by signal ", WTERMSIG(*exit.status));
  }
  return absl::StrCat(who, " without an answer, with exit code ",
                      WEXITSTATUS(*exit.status));
}

}  // namespace

AskProcesses::AskProcesses(Loop& loop, std::shared_ptr<NameTable> names)
    : loop_(loop),
      handle_(loop.handle()),
      names_(std::move(names)),
      fork_count_(ForkCount()) {}

AskProcesses::~AskProcesses() {
  if (!is_inherited()) StopAll();
}

bool AskProcesses::is_inherited() const { return fork_count_ != ForkCount(); }

void AskProcesses::RunLater() {
  handle_.Post([weak = weak_from_this()] {
    const std::shared_ptr<AskProcesses> self = weak.lock();
    if (self != nullptr) self->RunNext();
  });
}

void AskProcesses::Stop(uint64_t name) {
  handle_.Post([weak = weak_from_this(), name] {
    const std::shared_ptr<AskProcesses> self = weak.lock();
    if (self == nullptr) return;
    for (const Child& child : self->children_) {
      if (child.name.id == name) Kill(child.pid);
    }
  });
}

void AskProcesses::StopAll() {
  for (const Child& child : children_) Kill(child.pid);
  for (const Child& child : children_) Reap(child.pid);
  for (size_t left = std::exchange(children_, {}).size(); left > 0; --left) {
    RunNext();  // There is nothing: the runner ends.
  }
  StopWatchingIfIdle();
}

void AskProcesses::RunNext() {
  while (const std::optional<NameTable::Name> name = names_->Next()) {
    const std::optional<NameTable::Addresses> answer = Start(*name);
    if (!answer.has_value()) return;
    names_->Answer(*name, *answer);
    StopWatchingIfIdle();
  }
}

absl::Status AskProcesses::StartWatching() {
  if (ends_ != nullptr) return absl::OkStatus();
  absl::StatusOr<std::unique_ptr<ChildWatch>> ends = ChildWatch::Create();
  if (!ends.ok()) return ends.status();
  const absl::StatusOr<WatchId> watch =
      loop_.Watch((*ends)->fd(), Interest::kReadable, Trigger::kLevel,
                  [this](Readiness) { OnChildEvents(); });
  if (!watch.ok()) return watch.status();
  ends_ = *std::move(ends);
  watch_ = *watch;
  return absl::OkStatus();
}

void AskProcesses::StopWatchingIfIdle() {
  if (!children_.empty() || ends_ == nullptr) return;
  loop_.Unwatch(std::exchange(watch_, WatchId::kNone));
  ends_ = nullptr;
}

std::optional<NameTable::Addresses> AskProcesses::Start(
    const NameTable::Name& name) {
  const auto fail = [&name](const absl::Status& why) {
    return absl::Status(why.code(), About(name.url, why.message()));
  };
  const absl::Status watching = StartWatching();
  if (!watching.ok()) return fail(watching);
  absl::StatusOr<SocketPair> pair = OpenSocketPair();
  if (!pair.ok()) return fail(pair.status());
  const pid_t parent = getpid();
  pid_t pid;
  {
    // The handlers of the parent's signals would tell the parent.
    const SignalsBlocked blocked;
    pid = fork();
    if (pid == 0) AskAndExit(*names_, name.url, pair->child.get(), parent);
  }
  if (pid < 0) return fail(ErrnoToStatus(errno, "fork"));
  pair->child.Reset();
  const absl::Status watched = ends_->Add(pid);
  if (watched.ok()) {
    children_.push_back(
        {.name = name, .pid = pid, .answer = std::move(pair->parent)});
    return std::nullopt;
  }
  Kill(pid);
  Reap(pid);
  // It may have ended already, and been reaped by somebody else.
  return ReadAnswer(pair->parent.get()).value_or(fail(watched));
}

void AskProcesses::OnChildEvents() {
  const std::shared_ptr<AskProcesses> self = shared_from_this();
  std::vector<ChildExit> exits;
  while (std::optional<ChildExit> exit = ends_->Next()) exits.push_back(*exit);
  for (const ChildExit& exit : exits) OnEnd(exit);
  StopWatchingIfIdle();
}

void AskProcesses::OnEnd(const ChildExit& exit) {
  const auto found = absl::c_find_if(
      children_, [&](const Child& child) { return child.pid == exit.pid; });
  const Child child = std::move(*found);
  children_.erase(found);
  const std::optional<NameTable::Addresses> answer =
      ReadAnswer(child.answer.get());
  names_->Answer(child.name, answer.has_value()
                                 ? *answer
                                 : absl::UnavailableError(
                                       About(child.name.url, Describe(exit))));
  RunNext();
}

}  // namespace fio::core_internal
