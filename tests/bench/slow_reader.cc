// Readers of 1 MiB/s whose server has written all and closed:
//
//   bazel run -c opt //tests/bench:slow_reader -- --mib=32
//
// Two servers have a reader each. One is left alone; the other's worker is
// replaced by a hot restart when an eighth has arrived, so the rest comes from
// a worker that is ending. Prints what has arrived, and exits with 1 if it is
// not all.

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "fio/base/clock.h"
#include "fio/base/errno_status.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/fio.h"

ABSL_FLAG(double, mib, 4, "how much each reads");
ABSL_FLAG(double, mib_per_second, 1, "how fast");
ABSL_FLAG(double, benchmark_min_time, 1,
          "as of a benchmark: less than 1 makes for as much less to read, but "
          "for 1 MiB at least");

namespace {

using fio::Clock;
using fio::MonotonicTime;

constexpr int kMib = 1 << 20;
constexpr int kWorkers = 2;  // The least that can be replaced.

// Of the kernel, so that most has to wait in the server.
constexpr int kBufferBytes = 64 << 10;

constexpr absl::Duration kPause = absl::Milliseconds(10);

uint64_t BytesToRead() {
  const double part = std::min(1.0, absl::GetFlag(FLAGS_benchmark_min_time));
  return static_cast<uint64_t>(std::max(1.0, absl::GetFlag(FLAGS_mib) * part) *
                               kMib);
}

// --- The server ---

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

// Tells `told` the port, and then a byte for each worker that starts.
int Serve(int told) {
  const fio::UniqueFd file(memfd_create("download", MFD_CLOEXEC));
  if (!file || ftruncate(file.get(), static_cast<off_t>(BytesToRead())) != 0) {
    return fio::ExitWith(absl::ErrnoToStatus(errno, "a file in memory"));
  }
  fio::Reactor reactor({.threads = 1, .workers = kWorkers});
  reactor.lifecycle().Add(fio::LifecycleEvent::kOnStart, [told] {
    const char started = 's';
    ABSL_CHECK_EQ(write(told, &started, 1), 1);
  });
  const absl::StatusOr<fio::ListenerId> listener = reactor.Listen(
      "tcp://127.0.0.1:0", {.on_open = [&file](auto& connection) {
        connection.Attach(std::make_unique<Download>(file.get()));
      }});
  if (!listener.ok()) return fio::ExitWith(listener.status());
  const uint16_t port = reactor.ListenAddress(*listener)->port();
  ABSL_CHECK_EQ(write(told, &port, sizeof(port)), ssize_t{sizeof(port)});
  return fio::ExitWith(reactor.Run());
}

// --- A reader, and the process that serves it ---

class Reader {
 public:
  Reader(std::string_view name, bool restarts)
      : name_(name), restarts_(restarts) {}
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  ~Reader() {
    if (root_ <= 0) return;
    kill(root_, SIGTERM);
    waitpid(root_, nullptr, 0);
  }

  absl::Status Start() {
    std::array<int, 2> ends;
    if (pipe(ends.data()) != 0) return absl::ErrnoToStatus(errno, "pipe");
    told_.Reset(ends[0]);
    fio::UniqueFd tells(ends[1]);
    root_ = fork();
    if (root_ == 0) std::exit(Serve(tells.get()));
    tells.Reset();
    uint16_t port = 0;
    if (read(told_.get(), &port, sizeof(port)) != ssize_t{sizeof(port)}) {
      return absl::UnavailableError("slow_reader: the server did not start");
    }
    return Connect(port);
  }

  // What may be read by now. False once all has been.
  bool ReadOn() {
    if (!fd_) return false;
    const absl::Duration passed = Clock::System().Now() - start_;
    const auto due =
        static_cast<uint64_t>(absl::ToDoubleSeconds(passed) *
                              absl::GetFlag(FLAGS_mib_per_second) * kMib);
    while (bytes_ < due) {
      std::array<char, kBufferBytes> sink;
      const ssize_t got =
          recv(fd_.get(), sink.data(), std::min(sink.size(), due - bytes_), 0);
      if (got < 0 && errno == EAGAIN) return true;
      if (got <= 0) {
        end_ = got == 0 ? "the end" : fio::ErrnoName(errno);
        took_ = passed;
        fd_.Reset();
        return false;
      }
      bytes_ += static_cast<uint64_t>(got);
    }
    if (restarts_ && bytes_ >= BytesToRead() / 8) {
      restarts_ = false;
      asked_ = true;
      kill(root_, SIGUSR1);
    }
    return true;
  }

  // True if all has arrived, and all workers were replaced if that was asked
  // for.
  bool Print() {
    absl::PrintF("%s: %.1f of %.1f MiB in %.1f s, then %s\n", name_,
                 static_cast<double>(bytes_) / kMib,
                 static_cast<double>(BytesToRead()) / kMib,
                 absl::ToDoubleSeconds(took_), end_);
    return bytes_ == BytesToRead() && Starts() == (asked_ ? 2 : 1) * kWorkers;
  }

 private:
  // Of workers, so far. The last one says so before it ends.
  int Starts() {
    kill(root_, SIGTERM);
    waitpid(root_, nullptr, 0);
    root_ = -1;
    std::array<char, 64> starts;
    const ssize_t got = read(told_.get(), starts.data(), starts.size());
    return static_cast<int>(std::max(got, ssize_t{0}));
  }

  absl::Status Connect(uint16_t port) {
    fd_.Reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUF, &kBufferBytes,
               sizeof(kBufferBytes));
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    if (connect(fd_.get(), reinterpret_cast<sockaddr*>(&address),
                sizeof(address)) != 0) {
      return absl::ErrnoToStatus(errno, "connect");
    }
    fcntl(fd_.get(), F_SETFL, O_NONBLOCK);
    start_ = Clock::System().Now();
    return absl::OkStatus();
  }

  const std::string_view name_;
  bool restarts_;
  bool asked_ = false;
  fio::UniqueFd told_;
  pid_t root_ = -1;
  fio::UniqueFd fd_;
  MonotonicTime start_;
  absl::Duration took_;
  uint64_t bytes_ = 0;
  std::string end_;
};

absl::Status RunAll() {
  Reader plain("left alone", /*restarts=*/false);
  Reader restarted("hot restart", /*restarts=*/true);
  for (Reader* const reader : {&plain, &restarted}) {
    absl::Status started = reader->Start();
    if (!started.ok()) return started;
  }
  absl::StatusOr<std::unique_ptr<fio::Loop>> loop = fio::Loop::Create({});
  if (!loop.ok()) return loop.status();
  (*loop)->RunEvery({.callback =
                         [&] {
                           const bool more = plain.ReadOn();
                           if (!restarted.ReadOn() && !more) (*loop)->Stop();
                         },
                     .interval = kPause});
  absl::Status ran = (*loop)->Run();
  if (!ran.ok()) return ran;
  const bool all = plain.Print();
  return restarted.Print() && all
             ? absl::OkStatus()
             : absl::DataLossError("slow_reader: not all has arrived");
}

}  // namespace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "Slow readers of a server that has closed; see --helpfull.");
  absl::ParseCommandLine(argc, argv);
  return fio::ExitWith(RunAll());
}
