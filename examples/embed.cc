// A fio::Loop inside of an event loop that is not fio's: the program owns an
// epoll(7), and has the loop as one descriptor and one deadline among others.
//
//   bazel run -c opt //examples:embed -- --url=tcp://127.0.0.1:3000
//   nc 127.0.0.1 3000   # An echo.
//
// A timer of the loop prints how many clients there are. The foreign descriptor
// is a signalfd(2): SIGUSR1 prints the same at once, SIGINT and SIGTERM end the
// program.

#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "examples/command_line.h"
#include "fio/fio.h"

ABSL_FLAG(std::string, url, "tcp://127.0.0.1:3000",
          "where to listen, tcp or unix; port 0 picks a free one");
ABSL_FLAG(examples::TimeSpan, report, {absl::Seconds(10)},
          "how often to print how many clients there are, as in 10s");

namespace {

class Echo final : public fio::Protocol {
 public:
  void OnData(fio::Connection& connection) override {
    connection.Write(connection.Received());
  }
};

// What this program's own event loop is made of.
struct Foreign {
  fio::UniqueFd epoll;
  fio::UniqueFd signals;
};

absl::Status Watch(const Foreign& foreign, int fd) {
  epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};
  if (epoll_ctl(foreign.epoll.get(), EPOLL_CTL_ADD, fd, &event) == 0) {
    return absl::OkStatus();
  }
  return fio::ErrnoToStatus(errno, "epoll_ctl");
}

absl::StatusOr<Foreign> CreateForeign() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) sigaddset(&set, signal);
  if (sigprocmask(SIG_BLOCK, &set, nullptr) != 0) {
    return fio::ErrnoToStatus(errno, "sigprocmask");
  }
  Foreign foreign = {
      .epoll = fio::UniqueFd(epoll_create1(EPOLL_CLOEXEC)),
      .signals = fio::UniqueFd(signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC))};
  if (!foreign.epoll) {
    return fio::ErrnoToStatus(errno, "epoll_create1");
  }
  if (!foreign.signals) return fio::ErrnoToStatus(errno, "signalfd");
  absl::Status watched = Watch(foreign, foreign.signals.get());
  if (!watched.ok()) return watched;
  return foreign;
}

void PrintClients(const fio::Loop& loop) {
  std::printf("clients: %zu\n", loop.connection_count());
  std::fflush(stdout);
}

void HearSignals(const Foreign& foreign, fio::Loop& loop,
                 fio::Listener& listener) {
  signalfd_siginfo info;
  while (read(foreign.signals.get(), &info, sizeof(info)) == sizeof(info)) {
    if (info.ssi_signo == SIGUSR1) {
      PrintClients(loop);
    } else {
      listener.Close();
      loop.Stop();
    }
  }
}

// For epoll_wait(2): rounded up, so that what is due then is due indeed.
int TimeoutMs(fio::MonotonicTime deadline) {
  const absl::Duration left = deadline - fio::Clock::System().Now();
  if (left == absl::InfiniteDuration()) return -1;
  const absl::Duration ms = absl::Ceil(left, absl::Milliseconds(1));
  return static_cast<int>(
      std::clamp<int64_t>(absl::ToInt64Milliseconds(ms), 0, INT_MAX));
}

// The program's loop.
absl::Status RunForeign(const Foreign& foreign, fio::Loop& loop,
                        fio::Listener& listener) {
  while (!loop.stopped()) {
    epoll_event events[8];
    const int count = epoll_wait(foreign.epoll.get(), events, 8,
                                 TimeoutMs(loop.next_deadline()));
    if (count < 0 && errno != EINTR) {
      return fio::ErrnoToStatus(errno, "epoll_wait");
    }
    bool loop_is_ready = loop.next_deadline() <= fio::Clock::System().Now();
    for (int i = 0; i < count; ++i) {
      if (events[i].data.fd == loop.fd()) {
        loop_is_ready = true;
      } else {
        HearSignals(foreign, loop, listener);
      }
    }
    if (!loop_is_ready) continue;
    absl::Status turn = loop.RunOnce(fio::MonotonicTime::InfinitePast());
    if (!turn.ok()) return turn;
  }
  loop.Finish();
  return absl::OkStatus();
}

absl::Status Serve() {
  const absl::Duration report = absl::GetFlag(FLAGS_report).value;
  if (report <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError("--report is not positive");
  }
  const absl::StatusOr<fio::Url> url =
      fio::Url::Parse(absl::GetFlag(FLAGS_url));
  if (!url.ok()) return url.status();

  const absl::StatusOr<Foreign> foreign = CreateForeign();
  if (!foreign.ok()) return foreign.status();
  const absl::StatusOr<std::unique_ptr<fio::Loop>> loop =
      fio::Loop::Create({.poller = fio::PollerKind::kEpoll});
  if (!loop.ok()) return loop.status();
  absl::Status watched = Watch(*foreign, (*loop)->fd());
  if (!watched.ok()) return watched;

  const absl::StatusOr<std::unique_ptr<fio::Listener>> listener =
      fio::Listener::Create(**loop, *url,
                            {.on_open = [](fio::Connection& connection) {
                              connection.Attach(std::make_unique<Echo>());
                            }});
  if (!listener.ok()) return listener.status();
  (*loop)->RunEvery({.callback =
                         [&loop] {
                           PrintClients(**loop);
                           return fio::TimerWheel::Next::kContinue;
                         },
                     .interval = report,
                     .repetitions = -1});

  examples::PrintListening("tcp", (*listener)->local_address());
  return RunForeign(*foreign, **loop, **listener);
}

}  // namespace

int main(int argc, char** argv) {
  // The server goes on when nobody reads what it prints. A fio::Reactor would
  // do this by itself.
  std::signal(SIGPIPE, SIG_IGN);
  const absl::Status flags = examples::ParseCommandLine(
      "An echo server: a fio::Loop inside another event loop.", argc, argv);
  return fio::ExitWith(flags.ok() ? Serve() : flags);
}
