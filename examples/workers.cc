// A cluster at work: prints what happens to each of its processes, as it
// happens, with who it happens to.
//
//   bazel run -c opt //examples:workers -- --url=tcp://127.0.0.1:3000
//   nc 127.0.0.1 3000   # "worker 4711 is here", and then an echo.
//   kill -USR1 ROOT     # Replaces the workers one by one.
//   kill -KILL WORKER   # A crash: somebody else takes its place.
//   kill ROOT           # The orderly end.

#include <sys/types.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
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
ABSL_FLAG(int, threads, 1, "event loops of each worker");
ABSL_FLAG(int, workers, 2, "processes that serve");

namespace {

// A line by itself, so that those of several processes do not mix; flushed, so
// that no child has a copy of it.
void Print(const std::string& line) {
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

// All but kOnIdle, which comes too often, and what only users fire.
void PrintEvents(fio::Lifecycle& lifecycle) {
  using Event = fio::LifecycleEvent;
  static constexpr std::pair<Event, const char*> kEvents[] = {
      {Event::kOnInitialize, "OnInitialize"},
      {Event::kPreStart, "PreStart"},
      {Event::kBeforeFork, "BeforeFork"},
      {Event::kAfterFork, "AfterFork"},
      {Event::kInChild, "InChild"},
      {Event::kInRoot, "InRoot"},
      {Event::kOnStart, "OnStart"},
      {Event::kOnShutdown, "OnShutdown"},
      {Event::kOnFinish, "OnFinish"},
      {Event::kOnParentCrash, "OnParentCrash"},
      {Event::kOnChildCrash, "OnChildCrash"},
      {Event::kAtExit, "AtExit"},
  };
  for (const auto& [event, name] : kEvents) {
    lifecycle.Add(event, [name = name, root = getpid()] {
      Print(absl::StrCat(getpid() == root ? "root " : "worker ", getpid(), " ",
                         name));
    });
  }
}

class Echo final : public fio::Protocol {
 public:
  void OnOpen(fio::Connection& connection) override {
    connection.Write(absl::StrCat("worker ", getpid(), " is here\n"));
  }

  void OnData(fio::Connection& connection) override {
    connection.Write(connection.Received());
  }

  absl::Duration OnShutdown(fio::Connection& connection) override {
    connection.Write(absl::StrCat("worker ", getpid(), " goes\n"));
    return absl::ZeroDuration();
  }
};

absl::Status Serve() {
  fio::Reactor reactor({.threads = absl::GetFlag(FLAGS_threads),
                        .workers = absl::GetFlag(FLAGS_workers)});
  const absl::StatusOr<fio::ListenerId> listener = reactor.Listen(
      absl::GetFlag(FLAGS_url), {.on_open = [](fio::Connection& connection) {
        connection.Attach(std::make_unique<Echo>());
      }});
  if (!listener.ok()) return listener.status();

  PrintEvents(reactor.lifecycle());
  // After "PreStart": callbacks run in the order in which they were added.
  reactor.lifecycle().Add(fio::LifecycleEvent::kPreStart, [&] {
    examples::PrintListening("tcp", *reactor.ListenAddress(*listener));
  });
  return reactor.Run();
}

}  // namespace

int main(int argc, char** argv) {
  // Run() does so, too, but only until it returns: "AtExit" is printed later,
  // and if nobody reads stdout any more, that must not change the exit code.
  std::signal(SIGPIPE, SIG_IGN);
  const absl::Status flags = examples::ParseCommandLine(
      "Prints what happens to the processes of a cluster.", argc, argv);
  return fio::ExitWith(flags.ok() ? Serve() : flags);
}
