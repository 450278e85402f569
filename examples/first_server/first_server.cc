// Tells clients which numbers are prime: the server of docs/first-server.md.
//
//   bazel run -c opt //examples/first_server -- --threads=2 --workers=2
//   bazel run -c opt //examples:client -- --url=tcp://127.0.0.1:3000

#include <atomic>
#include <memory>
#include <string>

#include "absl/flags/flag.h"
#include "absl/log/absl_log.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "examples/command_line.h"
#include "examples/first_server/primes.h"
#include "fio/fio.h"

ABSL_FLAG(std::string, url, "tcp://127.0.0.1:3000", "where to listen");
ABSL_FLAG(int, threads, 1, "event loops, each on a thread of its own");
ABSL_FLAG(int, workers, 1, "processes that serve");

namespace {

absl::Status Serve() {
  fio::Reactor reactor({.threads = absl::GetFlag(FLAGS_threads),
                        .workers = absl::GetFlag(FLAGS_workers)});

  // Threads do not survive a fork, so each process that serves starts its own.
  std::atomic<bool> is_over = false;
  absl::StatusOr<std::unique_ptr<fio::ThreadPool>> pool = nullptr;
  reactor.lifecycle().Add(fio::LifecycleEvent::kOnStart, [&] {
    pool = fio::ThreadPool::Create({.threads = 2, .capacity = 1000});
    if (pool.ok()) return;
    ABSL_LOG(ERROR) << pool.status();
    reactor.Stop();
  });
  reactor.lifecycle().Add(fio::LifecycleEvent::kOnFinish, [&] {
    is_over = true;  // Nobody waits for an answer any more.
    pool = nullptr;  // Waits for the work that runs.
  });

  const absl::StatusOr<fio::ListenerId> listener = reactor.Listen(
      absl::GetFlag(FLAGS_url), {.on_open = [&](fio::Connection& connection) {
        if (!pool.ok()) return connection.Close();
        connection.Attach(std::make_unique<Primes>(**pool, is_over));
      }});
  if (!listener.ok()) return listener.status();
  reactor.lifecycle().Add(fio::LifecycleEvent::kPreStart, [&] {
    examples::PrintListening("tcp", *reactor.ListenAddress(*listener));
  });
  return reactor.Run();
}

}  // namespace

int main(int argc, char** argv) {
  const absl::Status flags = examples::ParseCommandLine(
      "Tells clients which numbers are prime.", argc, argv);
  return fio::ExitWith(flags.ok() ? Serve() : flags);
}
