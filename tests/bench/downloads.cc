// Echo clients beside downloads of large files from the same loop:
//
//   bazel run -c opt //tests/bench:downloads
//
// Two readers fetch a file of 4 GiB over and over and discard it, as fast as
// they can, while 64 clients send a message every 10 ms and wait for its echo.
// Prints how long the echoes took with the downloads and without, turn by turn,
// and exits with 1 if a client is answered wrongly or not at all. The file is
// sparse and in memory, so no disk counts.

#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
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
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "fio/base/clock.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/fio.h"

ABSL_FLAG(double, benchmark_min_time, 10,
          "how many seconds it takes, half of them with downloads");
ABSL_FLAG(int, turns, 5, "how often it changes between with and without");
ABSL_FLAG(int, clients, 64, "that send a message every 10 ms");
ABSL_FLAG(int, downloads, 2, "at a time");
ABSL_FLAG(double, gib, 4, "of a file");

namespace {

using fio::Clock;
using fio::MonotonicTime;

constexpr absl::Duration kPause = absl::Milliseconds(10);
constexpr std::string_view kMessage =
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ!\n";

// --- The server ---

class Echo final : public fio::Protocol {
 public:
  void OnData(fio::Connection& connection) override {
    connection.Write(connection.Received());
  }
};

class Download final : public fio::Protocol {
 public:
  explicit Download(int file) : file_(file) {}
  void OnOpen(fio::Connection& connection) override {
    connection.Write(*fio::FileRange::Borrow(file_));
    connection.Close();
  }

  void OnData(fio::Connection& /*connection*/) override {}

 private:
  const int file_;
};

struct Ports {
  uint16_t echo;
  uint16_t download;
};

int Serve(int told) {
  const fio::UniqueFd file(memfd_create("download", MFD_CLOEXEC));
  const double bytes = absl::GetFlag(FLAGS_gib) * (1 << 30);
  if (!file || ftruncate(file.get(), static_cast<off_t>(bytes)) != 0) {
    return fio::ExitWith(absl::ErrnoToStatus(errno, "a file in memory"));
  }
  fio::Reactor reactor({.threads = 1});
  const absl::StatusOr<fio::ListenerId> echo =
      reactor.Listen("tcp://127.0.0.1:0", {.on_open = [](auto& connection) {
                       connection.Attach(std::make_unique<Echo>());
                     }});
  const absl::StatusOr<fio::ListenerId> download = reactor.Listen(
      "tcp://127.0.0.1:0", {.on_open = [&file](auto& connection) {
        connection.Attach(std::make_unique<Download>(file.get()));
      }});
  if (!echo.ok()) return fio::ExitWith(echo.status());
  if (!download.ok()) return fio::ExitWith(download.status());
  const Ports ports = {reactor.ListenAddress(*echo)->port(),
                       reactor.ListenAddress(*download)->port()};
  ABSL_CHECK_EQ(write(told, &ports, sizeof(ports)), ssize_t{sizeof(ports)});
  return fio::ExitWith(reactor.Run());
}

// --- The readers ---

// Threads that fetch the file over and over while it is on.
class Readers {
 public:
  explicit Readers(uint16_t port) : port_(port) {
    for (int i = 0; i < absl::GetFlag(FLAGS_downloads); ++i) {
      threads_.emplace_back([this] { Run(); });
    }
  }
  Readers(const Readers&) = delete;
  Readers& operator=(const Readers&) = delete;
  ~Readers() {
    state_ = kEnd;
    state_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  void Switch(bool on) {
    state_ = on ? kOn : kOff;
    state_.notify_all();
  }

  uint64_t bytes() const { return bytes_; }
  uint64_t files() const { return files_; }

 private:
  enum State { kOff, kOn, kEnd };

  void Run() {
    while (state_ != kEnd) {
      if (state_ == kOff) {
        state_.wait(kOff);
      } else {
        Fetch();
      }
    }
  }

  // Stops in the midst of a file when it is switched off.
  void Fetch() {
    const fio::UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port_);
    ABSL_CHECK_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&address),
                          sizeof(address)),
                  0);
    while (state_ == kOn) {
      // With MSG_TRUNC the bytes are not copied; see tcp(7).
      const ssize_t got = recv(fd.get(), nullptr, size_t{1} << 20, MSG_TRUNC);
      ABSL_CHECK_GE(got, 0) << "a download was reset";
      if (got == 0) {
        ++files_;
        return;
      }
      bytes_ += static_cast<uint64_t>(got);
    }
  }

  const uint16_t port_;
  std::atomic<State> state_{kOff};
  std::atomic<uint64_t> bytes_{0};
  std::atomic<uint64_t> files_{0};
  std::vector<std::thread> threads_;
};

// --- The echo clients ---

using Times = std::vector<absl::Duration>;

class Client final : public fio::Protocol {
 public:
  explicit Client(Times*& times) : times_(times) {}

  void OnOpen(fio::Connection& connection) override { Ask(connection); }

  void OnData(fio::Connection& connection) override {
    const std::string_view bytes = connection.Received();
    ABSL_CHECK_EQ(bytes, kMessage.substr(echoed_, bytes.size()));
    echoed_ += bytes.size();
    if (echoed_ < kMessage.size()) return;
    times_->push_back(Clock::System().Now() - asked_);
    fio::Loop& loop = connection.loop();
    loop.RunAfter(kPause, [this, &loop, id = connection.id()] {
      if (fio::Connection* const found = loop.Find(id)) Ask(*found);
    });
  }

  void OnClose(fio::Connection& connection,
               const fio::CloseReason& /*reason*/) override {
    ABSL_CHECK(connection.loop().stopping()) << "an echo client was dropped";
  }

 private:
  void Ask(fio::Connection& connection) {
    echoed_ = 0;
    asked_ = Clock::System().Now();
    connection.Write(kMessage);
    connection.Flush();
  }

  Times*& times_;
  MonotonicTime asked_;
  size_t echoed_ = 0;
};

double Milliseconds(const Times& times, double share) {
  if (times.empty()) return 0;
  const auto last = static_cast<double>(times.size() - 1);
  return absl::ToDoubleMilliseconds(times[static_cast<size_t>(last * share)]);
}

void Print(std::string_view name, Times& times) {
  std::sort(times.begin(), times.end());
  absl::PrintF("%-18s %9d %9.3f %9.3f %9.3f %9.3f\n", name, times.size(),
               Milliseconds(times, 0.5), Milliseconds(times, 0.99),
               Milliseconds(times, 0.999), Milliseconds(times, 1));
}

absl::Status RunClients(const Ports& ports) {
  absl::StatusOr<std::unique_ptr<fio::Loop>> loop = fio::Loop::Create({});
  if (!loop.ok()) return loop.status();
  Times without, with;
  Times* times = &without;
  fio::Resolver resolver;
  std::vector<std::unique_ptr<fio::Connector>> connectors;
  for (int i = 0; i < absl::GetFlag(FLAGS_clients); ++i) {
    absl::StatusOr<std::unique_ptr<fio::Connector>> connector =
        fio::Connector::Create(
            **loop, resolver, absl::StrCat("tcp://127.0.0.1:", ports.echo),
            {.on_open = [&times](fio::Connection& connection) {
              connection.Attach(std::make_unique<Client>(times));
            }});
    if (!connector.ok()) return connector.status();
    connectors.push_back(*std::move(connector));
  }
  Readers readers(ports.download);
  const int turns = std::max(absl::GetFlag(FLAGS_turns), 1);
  const absl::Duration part =
      absl::Seconds(absl::GetFlag(FLAGS_benchmark_min_time)) / (2 * turns);
  for (int i = 1; i < 2 * turns; ++i) {
    (*loop)->RunAfter(i * part, [&, on = i % 2 != 0] {
      readers.Switch(on);
      times = on ? &with : &without;
    });
  }
  (*loop)->RunAfter(2 * turns * part, [&] { (*loop)->Stop(); });
  absl::Status ran = (*loop)->Run();
  if (!ran.ok()) return ran;
  readers.Switch(false);
  absl::PrintF("%-18s %9s %9s %9s %9s %9s\n", "ms", "echoes", "p50", "p99",
               "p99.9", "longest");
  Print("without downloads", without);
  Print("with downloads", with);
  absl::PrintF(
      "p99: %+.3f ms; %.1f GiB downloaded, %.2f GiB/s, %d whole files\n",
      Milliseconds(with, 0.99) - Milliseconds(without, 0.99),
      static_cast<double>(readers.bytes()) / (1 << 30),
      static_cast<double>(readers.bytes()) / (1 << 30) /
          absl::ToDoubleSeconds(turns * part),
      readers.files());
  return absl::OkStatus();
}

absl::Status RunAll() {
  std::array<int, 2> ends;
  if (pipe(ends.data()) != 0) return absl::ErrnoToStatus(errno, "pipe");
  const fio::UniqueFd told(ends[0]);
  fio::UniqueFd tells(ends[1]);
  const pid_t server = fork();
  if (server == 0) std::exit(Serve(tells.get()));
  tells.Reset();
  Ports ports = {};
  if (read(told.get(), &ports, sizeof(ports)) != ssize_t{sizeof(ports)}) {
    return absl::UnavailableError("downloads: the server did not start");
  }
  absl::Status ran = RunClients(ports);
  kill(server, SIGKILL);
  waitpid(server, nullptr, 0);
  return ran;
}

}  // namespace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "Echoes beside downloads of large files; see --helpfull.");
  absl::ParseCommandLine(argc, argv);
  return fio::ExitWith(RunAll());
}
