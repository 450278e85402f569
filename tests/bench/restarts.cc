// Clients that connect, talk and connect again, over and over, while the
// workers of their server are replaced by hot restarts and killed:
//
//   bazel run -c opt //tests/bench:restarts
//
// Prints what the clients met and how long replacements took, and exits with 1
// if a client was refused, had a wrong byte, or was reset by a worker that was
// not killed.

#include <fcntl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/base/clock.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/fio.h"

ABSL_FLAG(int, workers, 2, "processes that serve");
ABSL_FLAG(int, connections, 200, "clients at a time");
ABSL_FLAG(int, restarts, 20, "hot restarts, then as many killed workers");
ABSL_FLAG(double, benchmark_min_time, 1,
          "as of a benchmark: less than 1 makes for as many fewer restarts");

namespace {

using fio::Clock;
using fio::MonotonicTime;

constexpr int kRequestsPerConnection = 20;
constexpr std::string_view kRequest =
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ!\n";

// What a worker says when it starts, in one write(2).
struct WorkerStarted {
  pid_t pid;
  int32_t place;
  int64_t at_ns;
};

// --- The server ---

class Server final : public fio::Protocol {
 public:
  void OnOpen(fio::Connection& connection) override {
    const pid_t pid = getpid();
    std::array<char, sizeof(pid)> bytes;
    std::copy_n(reinterpret_cast<const char*>(&pid), sizeof(pid),
                bytes.begin());
    connection.Write({bytes.data(), bytes.size()});
  }
  void OnData(fio::Connection& connection) override {
    connection.Write(connection.Received());
  }
};

// The first record has the port as its place.
int Serve(int trace) {
  fio::Reactor reactor({.threads = 1, .workers = absl::GetFlag(FLAGS_workers)});
  const absl::StatusOr<fio::ListenerId> listener =
      reactor.Listen("tcp://127.0.0.1:0", {.on_open = [](auto& connection) {
                       connection.Attach(std::make_unique<Server>());
                     }});
  if (!listener.ok()) return fio::ExitWith(listener.status());
  const auto tell = [trace](int place) {
    const WorkerStarted record = {getpid(), place,
                                  Clock::System().Now().nanoseconds()};
    ABSL_CHECK(write(trace, &record, sizeof(record)) ==
               ssize_t{sizeof(record)});
  };
  tell(reactor.ListenAddress(*listener)->port());
  reactor.lifecycle().Add(fio::LifecycleEvent::kOnStart,
                          [&] { tell(reactor.worker_place()); });
  return fio::ExitWith(reactor.Run());
}

// --- The clients ---

struct Tally {
  absl::flat_hash_set<pid_t> killed;
  uint64_t requests = 0;
  uint64_t connections = 0;
  uint64_t refused = 0;  // Or failed to connect otherwise.
  uint64_t wrong = 0;    // Bytes that did not come back as sent.
  uint64_t resets = 0;   // By workers that were not killed.
  uint64_t killed_resets = 0;
  uint64_t interrupted = 0;  // Closed in order, with a request under way.
};

class Client final : public fio::Protocol {
 public:
  explicit Client(Tally& tally) : tally_(tally) { ++tally_.connections; }

  void OnData(fio::Connection& connection) override {
    std::string_view bytes = connection.Received();
    while (greeted_ < sizeof(worker_) && !bytes.empty()) {
      reinterpret_cast<char*>(&worker_)[greeted_++] = bytes.front();
      bytes.remove_prefix(1);
      if (greeted_ == sizeof(worker_)) Ask(connection);
    }
    if (bytes != kRequest.substr(echoed_, bytes.size())) ++tally_.wrong;
    echoed_ += bytes.size();
    if (greeted_ < sizeof(worker_) || echoed_ < kRequest.size()) return;
    ++tally_.requests;
    if (++requests_ == kRequestsPerConnection) {
      connection.Close();
    } else {
      Ask(connection);
    }
  }

  void OnClose(fio::Connection&, const fio::CloseReason& reason) override {
    const bool was_reset = reason.error != 0;
    const bool was_killed = greeted_ < sizeof(worker_)
                                ? !tally_.killed.empty()
                                : tally_.killed.contains(worker_);
    if (was_reset) ++(was_killed ? tally_.killed_resets : tally_.resets);
    if (!was_reset && requests_ < kRequestsPerConnection) ++tally_.interrupted;
  }

 private:
  void Ask(fio::Connection& connection) {
    echoed_ = 0;
    connection.Write(kRequest);
  }

  Tally& tally_;
  pid_t worker_ = 0;
  size_t greeted_ = 0;  // Bytes of worker_ that have come.
  size_t echoed_ = kRequest.size();
  int requests_ = 0;
};

// --- What is done to the workers ---

class Torment {
 public:
  Torment(pid_t root, int trace, fio::Loop& loop, Tally& tally)
      : root_(root), trace_(trace), loop_(loop), tally_(tally) {
    current_.resize(static_cast<size_t>(absl::GetFlag(FLAGS_workers)));
  }

  // Called for each worker that has started.
  void OnStarted(const WorkerStarted& started) {
    current_[static_cast<size_t>(started.place)] = started.pid;
    if (waits_for_ > 0 && --waits_for_ == 0) {
      const absl::Duration took =
          MonotonicTime::FromNanoseconds(started.at_ns) - since_;
      (kills_ > 0 ? respawns_ : restarts_).push_back(took);
      // So that some load runs between two.
      loop_.RunAfter(absl::Milliseconds(300), [this] { Next(); });
    }
  }

  void ReadTrace() {
    WorkerStarted started;
    while (read(trace_, &started, sizeof(started)) == sizeof(started)) {
      OnStarted(started);
    }
  }

  void Next() {
    since_ = Clock::System().Now();
    if (restarts_.size() < Count()) {
      waits_for_ = static_cast<int>(current_.size());
      kill(root_, SIGUSR1);
    } else if (respawns_.size() < Count()) {
      waits_for_ = 1;
      const pid_t victim = current_[kills_++ % current_.size()];
      tally_.killed.insert(victim);
      kill(victim, SIGKILL);
    } else {
      loop_.Stop(absl::Seconds(1));
    }
  }

  const std::vector<absl::Duration>& restarts() const { return restarts_; }
  const std::vector<absl::Duration>& respawns() const { return respawns_; }

 private:
  static size_t Count() {
    const double part = std::min(1.0, absl::GetFlag(FLAGS_benchmark_min_time));
    return static_cast<size_t>(std::ceil(absl::GetFlag(FLAGS_restarts) * part));
  }

  const pid_t root_;
  const int trace_;
  fio::Loop& loop_;
  Tally& tally_;
  std::vector<pid_t> current_;  // By place.
  int waits_for_ = 0;
  size_t kills_ = 0;
  MonotonicTime since_;
  std::vector<absl::Duration> restarts_, respawns_;
};

int64_t ResidentKib(pid_t pid) {
  std::ifstream statm(absl::StrCat("/proc/", pid, "/statm"));
  int64_t size = 0;
  int64_t resident = 0;
  statm >> size >> resident;
  return resident * sysconf(_SC_PAGESIZE) / 1024;
}

void PrintTimes(std::string_view name, std::vector<absl::Duration> times) {
  if (times.empty()) return;
  std::sort(times.begin(), times.end());
  std::printf("%s: %zu, median %s, longest %s\n", std::string(name).c_str(),
              times.size(),
              absl::FormatDuration(times[times.size() / 2]).c_str(),
              absl::FormatDuration(times.back()).c_str());
}

absl::Status RunClients(pid_t root, int trace, uint16_t port) {
  absl::StatusOr<std::unique_ptr<fio::Loop>> loop = fio::Loop::Create({});
  if (!loop.ok()) return loop.status();
  Tally tally;
  Torment torment(root, trace, **loop, tally);
  const absl::StatusOr<fio::WatchId> watch =
      (*loop)->Watch(trace, fio::Interest::kReadable, fio::Trigger::kLevel,
                     [&](fio::Readiness) { torment.ReadTrace(); });
  if (!watch.ok()) return watch.status();
  fio::Resolver resolver;
  std::vector<std::unique_ptr<fio::Connector>> connectors;
  for (int i = 0; i < absl::GetFlag(FLAGS_connections); ++i) {
    absl::StatusOr<std::unique_ptr<fio::Connector>> connector =
        fio::Connector::Create(
            **loop, resolver, absl::StrCat("tcp://127.0.0.1:", port),
            {.on_open =
                 [&tally](fio::Connection& connection) {
                   connection.Attach(std::make_unique<Client>(tally));
                 },
             .on_failed =
                 [&tally, &loop](const absl::Status& reason) {
                   if ((*loop)->stopping()) return;
                   ++tally.refused;
                   std::printf("%s\n", reason.ToString().c_str());
                 },
             .reconnect = true,
             .reconnect_delay = absl::Milliseconds(1)});
    if (!connector.ok()) return connector.status();
    connectors.push_back(*std::move(connector));
  }
  int64_t before = 0;
  (*loop)->RunAfter(absl::Seconds(1), [&] {
    before = ResidentKib(root);
    torment.Next();
  });
  absl::Status ran = (*loop)->Run();
  if (!ran.ok()) return ran;
  std::printf(
      "%llu connections, %llu requests: %llu refused, %llu wrong, %llu reset "
      "by "
      "living workers, %llu by killed ones, %llu closed with a request under "
      "way\n",
      static_cast<unsigned long long>(tally.connections),
      static_cast<unsigned long long>(tally.requests),
      static_cast<unsigned long long>(tally.refused),
      static_cast<unsigned long long>(tally.wrong),
      static_cast<unsigned long long>(tally.resets),
      static_cast<unsigned long long>(tally.killed_resets),
      static_cast<unsigned long long>(tally.interrupted));
  PrintTimes("hot restarts, until all places have a new worker",
             torment.restarts());
  PrintTimes("killed workers, until another has started", torment.respawns());
  std::printf("root: %lld KiB resident before, %lld after\n",
              static_cast<long long>(before),
              static_cast<long long>(ResidentKib(root)));
  return tally.refused + tally.wrong + tally.resets == 0
             ? absl::OkStatus()
             : absl::InternalError("restarts: clients noticed");
}

absl::Status RunAll() {
  std::array<int, 2> ends;
  if (pipe(ends.data()) != 0) return absl::ErrnoToStatus(errno, "pipe");
  const fio::UniqueFd trace(ends[0]);
  fio::UniqueFd told(ends[1]);
  const pid_t root = fork();
  if (root == 0) std::exit(Serve(told.get()));
  told.Reset();
  WorkerStarted listening = {};
  if (read(trace.get(), &listening, sizeof(listening)) !=
      ssize_t{sizeof(listening)}) {
    return absl::UnavailableError("restarts: the server did not start");
  }
  fcntl(trace.get(), F_SETFL, O_NONBLOCK);
  absl::Status ran =
      RunClients(root, trace.get(), static_cast<uint16_t>(listening.place));
  kill(root, SIGTERM);
  int status = 0;
  waitpid(root, &status, 0);
  if (ran.ok() && status != 0) {
    return absl::InternalError(
        absl::StrCat("restarts: the server ended with status ", status));
  }
  return ran;
}

}  // namespace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "Clients of workers that are replaced and killed; see --helpfull.");
  absl::ParseCommandLine(argc, argv);
  return fio::ExitWith(RunAll());
}
