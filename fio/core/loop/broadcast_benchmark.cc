// What it costs to send the same 128 bytes to many receivers through a loop: a
// task writes them to each connection, as one SharedBytes, and they leave at
// the end of the turn. Each iteration also times a bare loop of send(2) of the
// same bytes on the same sockets, by CPU time; "vs_send" is the median of the
// ratios of both, "extra_ns" that of their differences, for each receiver.
// BM_QueuedBytes tells what malloc hands out for each receiver, with its own
// overhead, for the first, second and third message that waits because the
// kernel has no room.
//
// The receivers' ends are in another process, so that a limit of 20,000
// descriptors is enough.

#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/log/absl_check.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "benchmark/benchmark.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/protocol.h"
#include "fio/sock/shared_bytes.h"
#include "fio/sock/socket.h"

namespace fio {
namespace {

constexpr size_t kBytes = 128;

// So many are connected before the other side accepts them.
constexpr size_t kBacklog = 100;

// The other ends of connections, in a process of their own, which does what it
// is asked to, one byte for each.
class Receivers {
 public:
  // kSmall: with so little room in the kernel that it is soon full.
  enum class Room : bool { kUsual, kSmall };

  Receivers(bool tcp, Room room) : address_(Address(tcp)), room_(room) {
    RaiseDescriptorLimit();
    listener_.Reset(::socket(address_.ss_family, SOCK_STREAM, 0));
    if (room_ == Room::kSmall) SetOption(listener_, SO_RCVBUF, kSmallRoom);
    socklen_t size = AddressBytes();
    ABSL_CHECK_EQ(::bind(listener_.get(), address(), size), 0);
    ABSL_CHECK_EQ(::listen(listener_.get(), kBacklog), 0);
    size = sizeof(address_);
    ABSL_CHECK_EQ(::getsockname(listener_.get(), address(), &size), 0);
    address_bytes_ = size;
    std::array<int, 2> ends;
    ABSL_CHECK_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()), 0);
    orders_.Reset(ends[0]);
    child_ = ::fork();
    if (child_ == 0) {
      orders_.Reset();
      Serve(ends[1]);
    }
    ::close(ends[1]);
  }
  Receivers(const Receivers&) = delete;
  Receivers& operator=(const Receivers&) = delete;
  ~Receivers() {
    orders_.Reset();
    ABSL_CHECK_EQ(::waitpid(child_, nullptr, 0), child_);
  }

  std::vector<UniqueFd> Connect(size_t count) {
    std::vector<UniqueFd> fds;
    while (fds.size() < count) {
      fds.emplace_back(::socket(address_.ss_family, SOCK_STREAM, 0));
      ABSL_CHECK(fds.back()) << "the limit of descriptors is too low";
      if (room_ == Room::kSmall) SetOption(fds.back(), SO_SNDBUF, kSmallRoom);
      ABSL_CHECK_EQ(::connect(fds.back().get(), address(), address_bytes_), 0);
      ABSL_CHECK_EQ(::fcntl(fds.back().get(), F_SETFL, O_NONBLOCK), 0);
      Do(kAccept);
      if (address_.ss_family == AF_INET) {
        const int one = 1;
        ABSL_CHECK_EQ(::setsockopt(fds.back().get(), IPPROTO_TCP, TCP_NODELAY,
                                   &one, sizeof(one)),
                      0);
      }
    }
    return fds;
  }

  // Reads all that has been sent.
  void Drain() { Do(kDrain); }

 private:
  enum Order : char { kAccept, kDrain };

  static constexpr int kSmallRoom = 4096;

  static void SetOption(const UniqueFd& fd, int option, int value) {
    ABSL_CHECK_EQ(
        ::setsockopt(fd.get(), SOL_SOCKET, option, &value, sizeof(value)), 0);
  }
  static sockaddr_storage Address(bool tcp) {
    sockaddr_storage address = {};
    address.ss_family = tcp ? AF_INET : AF_UNIX;
    if (tcp) {
      reinterpret_cast<sockaddr_in*>(&address)->sin_addr.s_addr =
          htonl(INADDR_LOOPBACK);
    }
    return address;
  }
  static void RaiseDescriptorLimit() {
    rlimit files;
    ABSL_CHECK_EQ(::getrlimit(RLIMIT_NOFILE, &files), 0);
    files.rlim_cur = files.rlim_max;
    ABSL_CHECK_EQ(::setrlimit(RLIMIT_NOFILE, &files), 0);
  }

  sockaddr* address() { return reinterpret_cast<sockaddr*>(&address_); }
  // Of an address that the kernel completes.
  socklen_t AddressBytes() const {
    return address_.ss_family == AF_INET ? sizeof(sockaddr_in)
                                         : sizeof(sa_family_t);
  }

  void Do(Order order) {
    char done = order;
    ABSL_CHECK_EQ(::write(orders_.get(), &done, 1), 1);
    ABSL_CHECK_EQ(::read(orders_.get(), &done, 1), 1);
  }

  // The other process.
  [[noreturn]] void Serve(int orders) {
    std::vector<int> fds;
    char order;
    while (::read(orders, &order, 1) == 1) {
      if (order == kAccept) {
        fds.push_back(::accept(listener_.get(), nullptr, nullptr));
      } else {
        for (const int fd : fds) Discard(fd);
      }
      if (::write(orders, &order, 1) != 1) break;
    }
    ::_exit(0);
  }
  static void Discard(int fd) {
    static std::array<char, size_t{64} << 10> sink;
    while (::recv(fd, sink.data(), sink.size(), MSG_DONTWAIT) ==
           static_cast<ssize_t>(sink.size())) {
    }
  }

  sockaddr_storage address_;
  const Room room_;
  socklen_t address_bytes_ = 0;
  UniqueFd listener_;
  UniqueFd orders_;
  pid_t child_ = -1;
};

// Takes what comes.
class Quiet final : public Protocol {
 public:
  void OnData(Connection& connection) override { connection.Received(); }
};

class Sender {
 public:
  Sender(size_t count, bool tcp, Receivers::Room room = Receivers::Room::kUsual)
      : receivers_(tcp, room), loop_(*Loop::Create({})) {
    for (UniqueFd& fd : receivers_.Connect(count)) {
      fds_.push_back(fd.get());
      const absl::StatusOr<ConnectionId> id =
          loop_->Adopt(Socket(std::move(fd)), [](Connection& connection) {
            connection.Attach(std::make_unique<Quiet>());
          });
      ABSL_CHECK_OK(id.status());
      ids_.push_back(*id);
    }
    Settle();
  }

  void BareSend(std::string_view bytes) {
    for (const int fd : fds_) {
      ABSL_CHECK_EQ(
          ::send(fd, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL),
          static_cast<ssize_t>(bytes.size()));
    }
  }

  // In one turn.
  void Send(const SharedBytes& message) {
    loop_->Post([this, &message] {
      for (const ConnectionId id : ids_) {
        ABSL_CHECK(loop_->Find(id)->Write(message));
      }
    });
    ABSL_CHECK_OK(loop_->RunOnce(MonotonicTime::InfinitePast()));
  }

  // The receivers read, and what the kernel tells of that is dealt with.
  void Settle() {
    receivers_.Drain();
    uint64_t before;
    do {
      before = loop_->stats().events;
      ABSL_CHECK_OK(loop_->RunOnce(MonotonicTime::InfinitePast()));
    } while (loop_->stats().events > before);
  }

  void FillKernel() {
    const std::string bytes(1024, 'f');
    for (const int fd : fds_) {
      while (::send(fd, bytes.data(), bytes.size(),
                    MSG_DONTWAIT | MSG_NOSIGNAL) > 0) {
      }
    }
  }

  size_t size() const { return fds_.size(); }
  uint64_t pending_calls() {
    uint64_t calls = 0;
    for (const ConnectionId id : ids_)
      calls += loop_->Find(id)->pending_calls();
    return calls;
  }

 private:
  Receivers receivers_;
  std::unique_ptr<Loop> loop_;
  std::vector<int> fds_;
  std::vector<ConnectionId> ids_;
};

// The CPU time of this thread, which others on the machine disturb least.
absl::Duration CpuTime() {
  rusage used;
  ABSL_CHECK_EQ(::getrusage(RUSAGE_THREAD, &used), 0);
  return absl::DurationFromTimeval(used.ru_utime) +
         absl::DurationFromTimeval(used.ru_stime);
}

absl::Duration Time(absl::FunctionRef<void()> run) {
  const absl::Duration start = CpuTime();
  run();
  return CpuTime() - start;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void Compare(benchmark::State& state, Sender& sender,
             absl::FunctionRef<void()> bare, absl::FunctionRef<void()> round) {
  std::vector<double> ratios;
  std::vector<double> extra_ns;
  bool bare_first = false;
  for (auto _ : state) {
    absl::Duration bare_time;
    absl::Duration round_time;
    bare_first = !bare_first;
    if (bare_first) bare_time = Time(bare);
    sender.Settle();
    round_time = Time(round);
    sender.Settle();
    if (!bare_first) bare_time = Time(bare);
    sender.Settle();
    state.SetIterationTime(absl::ToDoubleSeconds(round_time));
    ratios.push_back(absl::FDivDuration(round_time, bare_time));
    extra_ns.push_back(absl::ToDoubleNanoseconds(round_time - bare_time) /
                       static_cast<double>(sender.size()));
  }
  state.SetItemsProcessed(state.iterations() *
                          static_cast<int64_t>(sender.size()));
  state.counters["vs_send"] = Median(ratios);
  state.counters["extra_ns"] = Median(extra_ns);
}

// Against itself: what the ratio owes to chance.
void BM_Send(benchmark::State& state) {
  Sender sender(static_cast<size_t>(state.range(0)), state.range(1) != 0);
  const std::string bytes(kBytes, 'b');
  const auto bare = [&] { sender.BareSend(bytes); };
  Compare(state, sender, bare, bare);
}

void BM_Broadcast(benchmark::State& state) {
  Sender sender(static_cast<size_t>(state.range(0)), state.range(1) != 0);
  const std::string bytes(kBytes, 'b');
  const SharedBytes message(bytes);
  Compare(
      state, sender, [&] { sender.BareSend(bytes); },
      [&] { sender.Send(message); });
}

void BM_QueuedBytes(benchmark::State& state) {
  Sender sender(static_cast<size_t>(state.range(0)), state.range(1) != 0,
                Receivers::Room::kSmall);
  const SharedBytes message(std::string(kBytes, 'b'));
  sender.FillKernel();
  std::vector<double> bytes_each;
  for (auto _ : state) {
    const auto in_use = [] {
      const auto info = mallinfo2();
      return info.uordblks + info.hblkhd;
    };
    for (size_t i = 0; i < 3; ++i) {
      const size_t before = in_use();
      sender.Send(message);
      bytes_each.push_back(static_cast<double>(in_use() - before) /
                           static_cast<double>(sender.size()));
    }
    ABSL_CHECK_EQ(sender.pending_calls(), 3 * sender.size());
  }
  state.counters["first"] = bytes_each[0];
  state.counters["second"] = bytes_each[1];
  state.counters["third"] = bytes_each[2];
}

void ReceiversAndKind(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"receivers", "tcp"})
      ->ArgsProduct({{1'000, 10'000}, {0, 1}})
      ->UseManualTime();
}
BENCHMARK(BM_Send)->Apply(ReceiversAndKind);
BENCHMARK(BM_Broadcast)->Apply(ReceiversAndKind);
BENCHMARK(BM_QueuedBytes)
    ->ArgNames({"receivers", "tcp"})
    ->ArgsProduct({{1'000, 10'000}, {0}})
    ->Iterations(1);

}  // namespace
}  // namespace fio
