// The poller on its own: a pipe, a message, and the event that tells of it. No
// loop, no callback, nothing allocated once it is set up.
//
//   bazel run //examples:poller_pipe          # the best poller of this machine
//   bazel run //examples:poller_pipe -- poll  # or this one
//   bazel run //examples:poller_pipe -- --help

#include <unistd.h>

#include <array>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "fio/base/clock.h"
#include "fio/base/errno_status.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/create_poller.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/fd_watch.h"
#include "fio/core/poller/poller.h"
#include "fio/core/poller/ready_events.h"

namespace {

// The caller's own name for the pipe: any 64 bits.
constexpr fio::Token kPipe = 1;

absl::StatusOr<fio::PollerKind> KindNamed(std::string_view name) {
  for (const fio::PollerKind kind :
       {fio::PollerKind::kAuto, fio::PollerKind::kEpoll,
        fio::PollerKind::kKqueue, fio::PollerKind::kPoll}) {
    if (fio::PollerKindName(kind) == name) return kind;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("no poller is called '", name, "'; see --help"));
}

// Prints what the pipe holds. An edge is told once: read until the end or until
// the call would block.
void Read(int fd) {
  char buffer[64];
  ssize_t size;
  while ((size = read(fd, buffer, sizeof(buffer))) > 0) {
    std::printf("%.*s\n", static_cast<int>(size), buffer);
  }
}

absl::Status Run(std::string_view kind_name) {
  const absl::StatusOr<fio::PollerKind> kind = KindNamed(kind_name);
  if (!kind.ok()) return kind.status();
  const absl::StatusOr<std::unique_ptr<fio::Poller>> poller =
      fio::CreatePoller(fio::Clock::System(), *kind);
  if (!poller.ok()) return poller.status();

  int fds[2];
  if (pipe(fds) != 0) return fio::ErrnoToStatus(errno, "pipe");
  const fio::UniqueFd reader(fds[0]);
  fio::UniqueFd writer(fds[1]);

  // Ends before `reader` does.
  const absl::StatusOr<fio::FdWatch> watch =
      fio::FdWatch::Create(**poller, reader.get(), kPipe,
                           fio::Interest::kReadable, fio::Trigger::kEdge);
  if (!watch.ok()) return watch.status();

  constexpr std::string_view kMessage = "hello";
  if (write(writer.get(), kMessage.data(), kMessage.size()) < 0) {
    return fio::ErrnoToStatus(errno, "write to the pipe");
  }
  writer.Reset();

  std::array<fio::Event, 16> events;
  const absl::StatusOr<fio::ReadyEvents> ready = (*poller)->Wait(
      absl::MakeSpan(events), fio::MonotonicTime::InfiniteFuture());
  if (!ready.ok()) return ready.status();
  for (const fio::Event event : *ready) {
    if (!event.readiness().readable()) continue;
    std::printf("The pipe is readable: %" PRIu64 "\n", event.token());
    Read(reader.get());
  }
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view argument = argc > 1 ? argv[1] : "auto";
  if (argument == "--help" || argument == "-h") {
    std::printf("Usage: poller_pipe [auto|epoll|kqueue|poll]\n");
    return 0;
  }
  const absl::Status status = Run(argument);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return 1;
}
