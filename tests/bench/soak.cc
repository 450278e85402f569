// Honest clients of a server whose workers are killed, stopped, hung, ended and
// fail to start, at random:
//
//   bazel run -c opt //tests/bench:soak
//
// Each client connects, asks, and is answered or connects again. All but one
// worker are victims; which one is spared changes. Prints how long the clients
// waited, and exits with 1 if one waited for longer than a second.

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

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

ABSL_FLAG(int, workers, 3, "processes that serve, 2 at least");
ABSL_FLAG(int, threads, 2, "event loops of each");
ABSL_FLAG(int, clients, 50, "clients a second");
ABSL_FLAG(uint32_t, seed, 1, "of what is done to the workers");
ABSL_FLAG(double, benchmark_min_time, 60, "how many seconds it takes");

namespace {

using fio::Clock;
using fio::MonotonicTime;

constexpr absl::Duration kPatience = absl::Seconds(1);

// What a worker says when it serves, in one write(2).
struct WorkerStarted {
  pid_t pid;
  int32_t place;
};

// --- The server ---

class Server final : public fio::Protocol {
 public:
  void OnData(fio::Connection& connection) override {
    connection.Write(connection.Received());
  }
};

// Hangs the thread that the signal comes to.
void Hang(int /*signal*/) { poll(nullptr, 0, 2'000); }

// The first record has the port as its place.
int Serve(int trace, const std::atomic<int>& spared) {
  fio::Reactor reactor({.threads = absl::GetFlag(FLAGS_threads),
                        .workers = absl::GetFlag(FLAGS_workers),
                        .drain_time = absl::Seconds(1)});
  const absl::StatusOr<fio::ListenerId> listener =
      reactor.Listen("tcp://127.0.0.1:0", {.on_open = [](auto& connection) {
                       connection.Attach(std::make_unique<Server>());
                     }});
  if (!listener.ok()) return fio::ExitWith(listener.status());
  const auto tell = [trace](int place) {
    const WorkerStarted record = {getpid(), place};
    ABSL_CHECK(write(trace, &record, sizeof(record)) ==
               ssize_t{sizeof(record)});
  };
  tell(reactor.ListenAddress(*listener)->port());
  signal(SIGUSR2, &Hang);
  std::mt19937 random(absl::GetFlag(FLAGS_seed));
  bool fails = false;
  reactor.lifecycle().Add(fio::LifecycleEvent::kBeforeFork,
                          [&] { fails = random() % 4 == 0; });
  reactor.lifecycle().Add(fio::LifecycleEvent::kOnStart, [&] {
    if (fails && reactor.worker_place() != spared) _exit(3);
    tell(reactor.worker_place());
  });
  return fio::ExitWith(reactor.Run());
}

// --- The clients ---

struct Tally {
  std::vector<absl::Duration> waits;
  uint64_t late = 0;   // Waited for longer than kPatience.
  uint64_t again = 0;  // Connected again, since their worker died.
  uint64_t open = 0;   // Not answered yet.
};

class Client {
 public:
  Client(fio::Loop& loop, fio::Resolver& resolver, uint16_t port, Tally& tally)
      : tally_(tally), since_(Clock::System().Now()) {
    ++tally.open;
    absl::StatusOr<std::unique_ptr<fio::Connector>> connector =
        fio::Connector::Create(
            loop, resolver, absl::StrCat("tcp://127.0.0.1:", port),
            {.on_open =
                 [this](fio::Connection& connection) {
                   if (opened_++ > 0) ++tally_.again;
                   connection.Attach(std::make_unique<Asks>(*this));
                 },
             .reconnect = true,
             .reconnect_delay = absl::Milliseconds(1)});
    ABSL_CHECK_OK(connector);
    connector_ = *std::move(connector);
  }

  bool done() const { return done_; }

 private:
  class Asks final : public fio::Protocol {
   public:
    explicit Asks(Client& client) : client_(client) {}
    void OnOpen(fio::Connection& connection) override {
      connection.Write("hello");
    }
    void OnData(fio::Connection& connection) override {
      if (!connection.Received().empty()) client_.Answered();
      connection.Close();
    }

   private:
    Client& client_;
  };

  void Answered() {
    if (std::exchange(done_, true)) return;
    const absl::Duration waited = Clock::System().Now() - since_;
    tally_.waits.push_back(waited);
    --tally_.open;
    if (waited > kPatience) {
      ++tally_.late;
      std::printf("a client waited for %s\n",
                  absl::FormatDuration(waited).c_str());
    }
    connector_->Cancel();
  }

  Tally& tally_;
  const MonotonicTime since_;
  int opened_ = 0;
  bool done_ = false;
  std::unique_ptr<fio::Connector> connector_;
};

// --- What is done to the workers ---

class Torment {
 public:
  Torment(int trace, fio::Loop& loop, std::atomic<int>& spared)
      : trace_(trace),
        loop_(loop),
        spared_(spared),
        random_(absl::GetFlag(FLAGS_seed)),
        workers_(static_cast<size_t>(absl::GetFlag(FLAGS_workers))) {}

  void ReadTrace() {
    WorkerStarted started;
    while (read(trace_, &started, sizeof(started)) == sizeof(started)) {
      workers_[static_cast<size_t>(started.place)] = {started.pid, true};
    }
  }

  bool all_started() const {
    return std::all_of(workers_.begin(), workers_.end(),
                       [](const Worker& worker) { return worker.well; });
  }

  void Next() {
    ++steps_;
    loop_.RunAfter(absl::Milliseconds(100 + random_() % 300),
                   [this] { Next(); });
    if (steps_ % 20 == 0) Spare(random_() % workers_.size());
    const size_t place = random_() % workers_.size();
    Worker& victim = workers_[place];
    if (static_cast<int>(place) == spared_ || !victim.well) return;
    const uint32_t fault = random_() % 4;
    ++faults_[fault];
    switch (fault) {
      case 0:
        kill(victim.pid, SIGKILL);
        victim.well = false;
        break;
      case 1:
        kill(victim.pid, SIGTERM);
        victim.well = false;
        break;
      case 2:
        Disable(place, SIGSTOP, absl::Milliseconds(200 + random_() % 3'000));
        break;
      case 3:
        Disable(place, SIGUSR2, absl::Milliseconds(2'500));
        break;
    }
  }

  // So that the server can end.
  void Release() const {
    for (const Worker& worker : workers_) {
      if (worker.pid > 0) kill(worker.pid, SIGCONT);
    }
  }

  const std::array<uint64_t, 4>& faults() const { return faults_; }

 private:
  struct Worker {
    pid_t pid = 0;
    bool well = false;
  };

  void Spare(size_t place) {
    if (workers_[place].well) spared_ = static_cast<int>(place);
  }

  // For a while.
  void Disable(size_t place, int signal, absl::Duration time) {
    const pid_t pid = workers_[place].pid;
    kill(pid, signal);
    workers_[place].well = false;
    loop_.RunAfter(time, [this, place, pid] {
      kill(pid, SIGCONT);
      if (workers_[place].pid == pid) workers_[place].well = true;
    });
  }

  const int trace_;
  fio::Loop& loop_;
  std::atomic<int>& spared_;
  std::mt19937 random_;
  std::vector<Worker> workers_;  // By place.
  uint64_t steps_ = 0;
  std::array<uint64_t, 4> faults_ = {};
};

void Print(const Tally& tally, const std::array<uint64_t, 4>& faults) {
  std::vector<absl::Duration> waits = tally.waits;
  std::sort(waits.begin(), waits.end());
  std::printf("%llu killed, %llu ended, %llu stopped, %llu hung\n",
              static_cast<unsigned long long>(faults[0]),
              static_cast<unsigned long long>(faults[1]),
              static_cast<unsigned long long>(faults[2]),
              static_cast<unsigned long long>(faults[3]));
  if (waits.empty()) return;
  std::printf(
      "%zu answered: median %s, p99 %s, longest %s; %llu connected "
      "again, %llu late, %llu unanswered\n",
      waits.size(), absl::FormatDuration(waits[waits.size() / 2]).c_str(),
      absl::FormatDuration(waits[waits.size() * 99 / 100]).c_str(),
      absl::FormatDuration(waits.back()).c_str(),
      static_cast<unsigned long long>(tally.again),
      static_cast<unsigned long long>(tally.late),
      static_cast<unsigned long long>(tally.open));
}

absl::Status RunClients(int trace, uint16_t port, std::atomic<int>& spared) {
  absl::StatusOr<std::unique_ptr<fio::Loop>> created = fio::Loop::Create({});
  if (!created.ok()) return created.status();
  fio::Loop& loop = **created;
  fio::Resolver resolver;
  Tally tally;
  std::vector<std::unique_ptr<Client>> clients;
  Torment torment(trace, loop, spared);
  const absl::Duration every = absl::Seconds(1) / absl::GetFlag(FLAGS_clients);
  bool over = false;
  MonotonicTime end = MonotonicTime::InfiniteFuture();
  const absl::StatusOr<fio::WatchId> watch = loop.Watch(
      trace, fio::Interest::kReadable, fio::Trigger::kLevel,
      [&](fio::Readiness) {
        torment.ReadTrace();
        if (!torment.all_started() || end != MonotonicTime::InfiniteFuture()) {
          return;
        }
        end = Clock::System().Now() +
              absl::Seconds(absl::GetFlag(FLAGS_benchmark_min_time));
        torment.Next();
      });
  if (!watch.ok()) return watch.status();
  loop.RunEvery(
      {.callback =
           [&] {
             const MonotonicTime now = Clock::System().Now();
             std::erase_if(clients,
                           [](const auto& client) { return client->done(); });
             if (now < end && end != MonotonicTime::InfiniteFuture()) {
               clients.push_back(
                   std::make_unique<Client>(loop, resolver, port, tally));
             }
             // Those that are left have their second.
             if (now >= end + kPatience) over = true;
             return fio::TimerWheel::Next::kContinue;
           },
       .interval = every});
  while (!over) {
    absl::Status turn = loop.RunOnce(MonotonicTime::InfiniteFuture());
    if (!turn.ok()) return turn;
  }
  torment.Release();
  Print(tally, torment.faults());
  std::fflush(stdout);
  clients.clear();
  return tally.late + tally.open == 0
             ? absl::OkStatus()
             : absl::InternalError("soak: clients were left waiting");
}

absl::Status RunAll() {
  std::array<int, 2> ends;
  if (pipe(ends.data()) != 0) return absl::ErrnoToStatus(errno, "pipe");
  const fio::UniqueFd trace(ends[0]);
  fio::UniqueFd told(ends[1]);
  void* const shared =
      mmap(nullptr, sizeof(std::atomic<int>), PROT_READ | PROT_WRITE,
           MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return absl::ErrnoToStatus(errno, "mmap");
  auto& spared = *new (shared) std::atomic<int>(0);
  const pid_t root = fork();
  if (root == 0) std::exit(Serve(told.get(), spared));
  told.Reset();
  WorkerStarted listening = {};
  if (read(trace.get(), &listening, sizeof(listening)) !=
      ssize_t{sizeof(listening)}) {
    return absl::UnavailableError("soak: the server did not start");
  }
  fcntl(trace.get(), F_SETFL, O_NONBLOCK);
  absl::Status ran =
      RunClients(trace.get(), static_cast<uint16_t>(listening.place), spared);
  kill(root, SIGTERM);
  int status = 0;
  waitpid(root, &status, 0);
  if (ran.ok() && status != 0) {
    return absl::InternalError(
        absl::StrCat("soak: the server ended with status ", status));
  }
  return ran;
}

}  // namespace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "Clients of workers that fail in all ways; see --helpfull.");
  absl::ParseCommandLine(argc, argv);
  return fio::ExitWith(RunAll());
}
