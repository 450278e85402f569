// The stress scenarios of a loop by itself.

#include <poll.h>
#include <signal.h>
#include <sys/uio.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/core/loop/loop_stats.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/loop/protocol_lock.h"
#include "fio/core/loop/test_pair.h"
#include "fio/core/loop/test_util.h"
#include "fio/core/poller/poller_under_test.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/sock/file_range.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"
#include "fio/sock/watermarks.h"
#include "fio/testing/fault_plan.h"
#include "fio/testing/loopback_pair.h"
#include "fio/testing/manual_clock.h"
#include "fio/testing/memory_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using loop_internal::IsOverHandshake;
using loop_internal::IsOverTls;
using loop_internal::IsOverTransport;
using loop_internal::LoopFixture;
using loop_internal::Nothing;
using loop_internal::Record;
using loop_internal::Recorder;
using loop_internal::UnixPair;
using ::testing::AnyOf;
using testing::CountOpenDescriptors;
using ::testing::ElementsAre;
using testing::FaultPlan;
using testing::LoopbackPair;
using testing::ManualClock;
using testing::MemoryFile;
using testing::ReadAvailable;
using testing::ReadToEnd;

constexpr absl::Duration kInstant = absl::Nanoseconds(1);
constexpr size_t kKiB = size_t{1} << 10;
constexpr size_t kMiB = size_t{1} << 20;
constexpr size_t kMuch = 16 * kMiB;  // More than the kernel takes.

// Bytes that do not look the same a power of two further on.
std::string Pattern(size_t size) {
  std::string block;
  for (int i = 0; block.size() < 65'521; ++i) absl::StrAppend(&block, i, ",");
  block.resize(65'521);
  std::string bytes;
  bytes.reserve(size + block.size());
  while (bytes.size() < size) bytes += block;
  bytes.resize(size);
  return bytes;
}

// Waits until the descriptor's peer has hung up, whatever is to be read.
void AwaitHangUp(int fd, int16_t events = 0) {
  pollfd ready = {.fd = fd, .events = events, .revents = 0};
  while (poll(&ready, 1, -1) < 0) ASSERT_EQ(errno, EINTR);
}

volatile std::sig_atomic_t sigpipes = 0;

// With records that outlive the loop, and no SIGPIPE.
class Scenario : public LoopFixture {
 protected:
  Scenario() : LoopFixture({.poller = core_internal::PollerUnderTest()}) {
    sigpipes = 0;
    struct sigaction count = {};
    count.sa_handler = [](int) { sigpipes = sigpipes + 1; };
    EXPECT_EQ(sigaction(SIGPIPE, &count, &sigpipe_before_), 0);
  }
  ~Scenario() override {
    loop_ = nullptr;
    EXPECT_EQ(sigpipes, 0);
    EXPECT_EQ(sigaction(SIGPIPE, &sigpipe_before_, nullptr), 0);
  }

  template <typename Done>
  void TurnUntil(Done done) {
    for (int i = 0; !done() && !HasFatalFailure(); ++i) {
      ASSERT_LT(i, 1'000'000);
      Turn();
    }
  }

  // One turn, in which a connection that has nothing to do with the others
  // answers.
  void TurnWithEcho() {
    if (echo_ == nullptr) {
      Record& record = NewRecord();
      record.on_data = [](Connection& connection) {
        connection.Write(connection.Received());
      };
      echo_ = &Adopt(echo_pair_.near, record);
    }
    ASSERT_TRUE(echo_pair_.far.TryWrite("echo").ok());
    Turn();
    ASSERT_EQ(ReadAvailable(echo_pair_.far), "echo");
  }

  // Nothing is left to do, ever.
  void ExpectIdle() {
    EXPECT_EQ(loop_->next_deadline(), MonotonicTime::InfiniteFuture());
  }

  LoopbackPair echo_pair_ = UnixPair();
  Connection* echo_ = nullptr;
  struct sigaction sigpipe_before_ = {};
};

class Counting final : public Protocol {
 public:
  struct Counts {
    int opened = 0, data = 0, closed = 0;
  };
  explicit Counting(Counts& counts) : counts_(counts) {}
  void OnOpen(Connection&) override { ++counts_.opened; }
  void OnData(Connection& connection) override {
    counts_.data += static_cast<int>(connection.Received().size());
  }
  void OnClose(Connection&, const CloseReason&) override { ++counts_.closed; }

 private:
  Counts& counts_;
};

std::unique_ptr<Loop> MakeLoop(const ManualClock& clock) {
  return *Loop::Create(
      {.clock = &clock, .poller = core_internal::PollerUnderTest()});
}

// Others hold ids of connections that are gone; nothing that they do reaches
// the connection that has the descriptor now, nor stays behind in its place.
TEST_F(Scenario, FdReuse) {
  const int reuses = IsOverTls() ? 500 : 10'000;
  const ManualClock clock;
  const std::unique_ptr<Loop> loop = MakeLoop(clock);
  std::atomic<uint64_t> stale{0};
  std::atomic<bool> done{false};
  std::atomic<int64_t> tasks_posted{0}, tasks_run{0};
  std::atomic<int> of_the_dead{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, handle = loop->handle()] {
      while (!done) {
        const uint64_t packed = stale;
        const ConnectionId id(static_cast<int>(packed & 0xffff), packed >> 16);
        handle.Write(id, "late");
        handle.Touch(id);
        handle.SetTimeout(id, absl::Milliseconds(1));
        ++tasks_posted;
        handle.Post(id, [&](Connection* connection) {
          ++tasks_run;
          if (connection != nullptr) ++of_the_dead;
        });
        if (handle.TryLock(id, ProtocolLock::Kind::kTask).ok()) ++of_the_dead;
        handle.Close(id);
        std::this_thread::yield();
      }
    });
  }
  Counting::Counts counts;
  const auto turn = [&] {
    ASSERT_TRUE(loop->RunOnce(MonotonicTime::InfinitePast()).ok());
  };
  for (int i = 0; i < reuses; ++i) {
    LoopbackPair pair = UnixPair();
    const ConnectionId id =
        *loop->Adopt(std::move(pair.near), [&](Connection& connection) {
          connection.Attach(std::make_unique<Counting>(counts));
        });
    ASSERT_TRUE(pair.far.TryWrite("x").ok());
    turn();
    ASSERT_EQ(counts.data, i + 1) << "a stale id holds its place";
    ASSERT_EQ(ReadAvailable(pair.far), "");
    loop->Find(id)->Abort();
    turn();
    ASSERT_EQ(counts.closed, i + 1);
    stale = id.serial() << 16 | id.fd();
  }
  done = true;
  for (std::thread& thread : threads) thread.join();
  while (tasks_run < tasks_posted) turn();
  EXPECT_EQ(of_the_dead, 0);
  EXPECT_EQ(counts.opened, reuses);
}

TEST_F(Scenario, TimerStorm) {
  constexpr int kTimers = 100'000;
  ManualClock clock;
  const std::unique_ptr<Loop> loop = MakeLoop(clock);
  int early = 0, finished = 0, cancelled = 0;
  std::vector<int> runs(kTimers), expected(kTimers);
  for (int i = 0; i < kTimers; ++i) {
    const absl::Duration interval = absl::Milliseconds(1 + i * 7919LL % 10'000);
    expected[i] = 1 + i % 3;
    const MonotonicTime first = clock.Now() + interval;
    ASSERT_NE(loop->RunEvery({.callback =
                                  [&, i, first] {
                                    if (clock.Now() < first) ++early;
                                    ++runs[i];
                                    // One more, which goes at once.
                                    cancelled += loop->Cancel(loop->RunAfter(
                                        absl::Seconds(1), [] { FAIL(); }));
                                    return TimerWheel::Next::kContinue;
                                  },
                              .interval = interval,
                              .repetitions = expected[i],
                              .on_finish = [&] { ++finished; }}),
              TimerId::kNone);
  }
  int64_t total = 0;
  for (const int one : expected) total += one;
  // Once late, by as much as a callback of two seconds.
  clock.Advance(absl::Seconds(2));
  for (int i = 0; finished < kTimers && i < 1'000'000; ++i) {
    ASSERT_TRUE(loop->RunOnce(MonotonicTime::InfinitePast()).ok());
    const MonotonicTime next = loop->next_deadline();
    if (next > clock.Now() && next < MonotonicTime::InfiniteFuture()) {
      clock.Advance(next - clock.Now());
    }
  }
  EXPECT_EQ(early, 0);
  EXPECT_EQ(finished, kTimers);
  EXPECT_TRUE(runs == expected);
  EXPECT_EQ(cancelled, total);
}

// --- Slow reader ---

struct SlowPeer {
  LoopbackPair pair = UnixPair();
  bool reads = false;
  Record* record = nullptr;
  Connection* connection = nullptr;
  size_t received = 0;
};

// As one Cord, or in many writes.
void WriteAll(Connection& connection, std::string_view bytes, bool as_cord,
              int& released) {
  if (as_cord) {
    ASSERT_TRUE(connection.Write(absl::MakeCordFromExternal(
        bytes, [&released](std::string_view) { ++released; })));
    return;
  }
  for (size_t i = 0; i < bytes.size(); i += 64 * kKiB) {
    ASSERT_TRUE(connection.Write(bytes.substr(i, 64 * kKiB)));
  }
}

// Much is queued for peers that take little of it at a time, or nothing: they
// are not read from until half of the high mark has left, and nobody else
// waits.
TEST_F(Scenario, SlowReader) {
  if (IsOverTransport()) return;  // What it holds only OnData() finds out.
  constexpr uint64_t kHigh = kMiB;
  const std::string bytes = Pattern(64 * kMiB);
  int released = 0;
  std::deque<SlowPeer> peers;
  for (const bool reads : {true, false}) {
    for (const bool as_cord : {true, false}) {
      SlowPeer& peer = peers.emplace_back();
      Record& record = NewRecord();
      peer.reads = reads;
      peer.record = &record;
      record.on_data = [&record](Connection& connection) {
        EXPECT_LE(connection.pending_bytes(), kHigh / 2);
        record.data += connection.Received();
      };
      peer.connection = &Adopt(peer.pair.near, record);
      peer.connection->SetWatermarks({.high_bytes = kHigh});
      WriteAll(*peer.connection, bytes, as_cord, released);
      ASSERT_TRUE(peer.pair.far.TryWrite("ping").ok());
    }
  }
  std::string buffer(16 * kKiB, '\0');
  const auto all_received = [&] {
    return std::all_of(peers.begin(), peers.end(), [&](const SlowPeer& peer) {
      return !peer.reads || peer.received == bytes.size();
    });
  };
  for (int i = 0; !all_received(); ++i) {
    ASSERT_LT(i, 20'000);
    TurnWithEcho();
    for (SlowPeer& peer : peers) {
      if (peer.connection->pending_bytes() > kHigh) {
        ASSERT_EQ(peer.record->Count("data"), 0);
      }
      if (!peer.reads) continue;
      const IoResult read = peer.pair.far.Read(absl::MakeSpan(buffer));
      ASSERT_TRUE(std::string_view(bytes).substr(peer.received, read.bytes) ==
                  std::string_view(buffer).substr(0, read.bytes));
      peer.received += read.bytes;
    }
  }
  Turn(2);
  EXPECT_EQ(released, 1);
  for (SlowPeer& peer : peers) {
    if (peer.reads) {
      EXPECT_EQ(peer.connection->pending_bytes(), 0u);
      EXPECT_THAT(peer.record->told,
                  ElementsAre("open", "high", "low", "data", "ready"));
      EXPECT_EQ(peer.record->data, "ping");
    } else {
      EXPECT_GT(peer.connection->pending_bytes(), bytes.size() - kMiB);
      EXPECT_LE(peer.connection->pending_bytes(), bytes.size());
      EXPECT_THAT(peer.record->told, ElementsAre("open", "high"));
    }
    peer.connection->Abort();
  }
  Turn();
  EXPECT_EQ(released, 2);
  EXPECT_EQ(loop_->connection_count(), 1u) << "that echoes";
  EXPECT_EQ(loop_->stats().over_limit, 0u);
}

TEST_F(Scenario, SlowReaderPastTheLimit) {
  if (IsOverTransport()) return;  // Reads on in another turn.
  constexpr uint64_t kLimit = 4 * kMiB;
  const std::string piece = Pattern(64 * kKiB);
  TurnWithEcho();
  for (const auto make : {&LoopbackPair::Tcp, &LoopbackPair::Unix}) {
    for (const bool as_cord : {true, false}) {
      SCOPED_TRACE(as_cord);
      const int descriptors = CountOpenDescriptors();
      const LoopStats before = loop_->stats();
      Record& record = NewRecord();
      int written = 0, released = 0;
      {
        LoopbackPair pair = make();
        Connection& connection = Adopt(pair.near, record);
        connection.SetWatermarks({.high_bytes = kMiB, .limit_bytes = kLimit});
        const auto write = [&] {
          ++written;
          return as_cord ? connection.Write(absl::MakeCordFromExternal(
                               piece, [&](std::string_view) { ++released; }))
                         : connection.Write(piece);
        };
        while (write()) {
          ASSERT_LE(connection.pending_bytes(), kLimit);
          TurnWithEcho();
          ASSERT_LT(written, 2'000);
        }
        EXPECT_FALSE(connection.is_open());
        TurnWithEcho();
        EXPECT_EQ(record.Count("close"), 1);
        EXPECT_EQ(record.reason.origin, CloseReason::Origin::kError);
        EXPECT_EQ(record.reason.error, ENOBUFS);
        EXPECT_EQ(released, as_cord ? written : 0);
        EXPECT_EQ(loop_->stats().over_limit, before.over_limit + 1);
        EXPECT_EQ(loop_->stats().closed, before.closed + 1);
        EXPECT_EQ(CountOpenDescriptors(), descriptors + 1) << "the far one";
        EXPECT_LE(ReadToEnd(pair.far).size(), written * piece.size());
      }
      EXPECT_EQ(CountOpenDescriptors(), descriptors);
      TurnWithEcho();
      ExpectIdle();
    }
  }
}

// Those that take nothing, or a byte now and then, which frees no memory, are
// cut off after the close_timeout. Those that take more may go on, but only as
// long as stopping may take.
TEST_F(Scenario, SlowReaderDoesNotHoldUpStop) {
  if (IsOverHandshake()) return;  // The far end reads records, not bytes.
  const std::string bytes = Pattern(16 * kMiB);
  const int descriptors = CountOpenDescriptors();
  int released = 0;
  {
    std::deque<SlowPeer> peers;
    std::deque<size_t> reads;
    for (const size_t read : {size_t{0}, size_t{1}, 256 * kKiB}) {
      for (const bool as_cord : {true, false}) {
        SlowPeer& peer = peers.emplace_back();
        reads.push_back(read);
        peer.record = &NewRecord();
        peer.connection = &Adopt(peer.pair.near, *peer.record);
        peer.connection->SetWatermarks({.high_bytes = kMiB});
        WriteAll(*peer.connection, bytes, as_cord, released);
      }
    }
    Turn(2);
    loop_->Stop(absl::Seconds(12));
    Turn(2);
    EXPECT_EQ(loop_->connection_count(), peers.size());
    std::string buffer(256 * kKiB, '\0');
    for (int second = 1; second < 12; ++second) {
      Advance(absl::Seconds(1));
      EXPECT_EQ(loop_->connection_count(), second < 8 ? peers.size() : 2);
      const uint64_t written = loop_->stats().bytes_written;
      for (size_t i = 0; i < peers.size(); ++i) {
        if (reads[i] == 0 || (second >= 8 && reads[i] == 1)) continue;
        EXPECT_GT(peers[i]
                      .pair.far.Read(absl::MakeSpan(buffer.data(), reads[i]))
                      .bytes,
                  0u);
      }
      Turn(2);
      EXPECT_GT(loop_->stats().bytes_written, written);
    }
    Advance(absl::Seconds(1) - kInstant);
    EXPECT_EQ(loop_->connection_count(), 2u);
    Advance(kInstant);
    EXPECT_EQ(loop_->connection_count(), 0u);
    for (size_t i = 0; i < peers.size(); ++i) {
      const Record& record = *peers[i].record;
      EXPECT_EQ(record.Count("shutdown"), 1);
      EXPECT_EQ(record.Count("close"), 1);
      EXPECT_EQ(record.reason.error, reads[i] > 1 ? 0 : ETIMEDOUT);
    }
    EXPECT_EQ(released, 3);
    ExpectIdle();
    EXPECT_TRUE(loop_->Run().ok());
  }
  EXPECT_EQ(CountOpenDescriptors(), descriptors);
}

// --- Half-close, and data with the FIN ---

// In one segment, if the kernel takes it all; the rest goes by far.Flush().
void SendWithFin(Socket& far, std::string_view bytes) {
  const IoResult sent = far.TryWrite(bytes, Socket::More::kYes);
  ASSERT_FALSE(sent.failed());
  ASSERT_TRUE(far.Write(bytes.substr(sent.bytes)).ok());
  ASSERT_FALSE(far.ShutdownWrite().failed());
}

TEST_F(Scenario, DataWithFin) {
  enum class When { kLater, kSuspended, kBeforeAdopt, kInAdopt, kInOnOpen };
  for (const auto make : {&LoopbackPair::Tcp, &LoopbackPair::Unix}) {
    for (const size_t size : {size_t{1}, kMiB}) {
      for (const When when :
           {When::kLater, When::kSuspended, When::kBeforeAdopt, When::kInAdopt,
            When::kInOnOpen}) {
        SCOPED_TRACE(absl::StrCat(size, " ", static_cast<int>(when)));
        const std::string bytes = Pattern(size);
        const int descriptors = CountOpenDescriptors();
        LoopbackPair pair = make();
        const int fd = pair.near.fd();
        const auto send = [&] {
          SendWithFin(pair.far, bytes);
          // The FIN of what the kernel takes at once is there, too.
          AwaitHangUp(fd, size == 1 ? POLLRDHUP : POLLIN);
        };
        Record& record = NewRecord();
        size_t before_end = 0;
        record.on_end = [&](Connection& connection) {
          before_end = record.data.size();
          connection.Close();
        };
        record.on_open = [&](Connection& connection) {
          if (when == When::kSuspended) connection.Suspend();
          if (when == When::kInOnOpen) send();
        };
        if (when == When::kBeforeAdopt) send();
        const absl::StatusOr<ConnectionId> id =
            loop_->Adopt(std::move(pair.near), [&](Connection& connection) {
              if (when == When::kInAdopt) send();
              connection.Attach(std::make_unique<Recorder>(record));
              EXPECT_EQ(record.Count("data"), 0);
            });
        ASSERT_TRUE(id.ok()) << id.status();
        if (when == When::kLater || when == When::kSuspended) {
          Turn();
          send();
        }
        if (when == When::kSuspended) {
          Turn(10);
          EXPECT_EQ(record.Count("data"), 0);
          EXPECT_EQ(record.Count("end"), 0) << "bytes are before it";
          ExpectIdle();
          loop_->Find(*id)->Resume();
        }
        TurnUntil([&] {
          static_cast<void>(pair.far.Flush());
          return record.Count("close") > 0;
        });
        EXPECT_TRUE(record.data == bytes);
        EXPECT_EQ(before_end, bytes.size());
        EXPECT_EQ(record.told.front(), "open");
        EXPECT_EQ(record.Count("open"), 1);
        EXPECT_EQ(record.Count("end"), 1);
        EXPECT_EQ(record.Count("close"), 1);
        EXPECT_EQ(record.reason.origin, CloseReason::Origin::kPeer);
        EXPECT_EQ(record.reason.error, 0);
        EXPECT_EQ(ReadToEnd(pair.far), "");
        EXPECT_GE(pair.far.fd(), 0) << "no reset";
        Turn(2);
        EXPECT_EQ(record.Count("close"), 1);
        ExpectIdle();
        pair.far.Abort();
        EXPECT_EQ(CountOpenDescriptors(), descriptors);
      }
    }
  }
}

// A peer that has said all it has to say still gets its reply.
TEST_F(Scenario, HalfCloseAndDataFin) {
  const std::string reply = Pattern(kMiB);
  for (const auto make : {&LoopbackPair::Tcp, &LoopbackPair::Unix}) {
    for (const size_t size : {size_t{1}, kMiB}) {
      for (const bool in_on_end : {false, true}) {
        SCOPED_TRACE(absl::StrCat(size, " ", in_on_end));
        const std::string request = Pattern(size);
        LoopbackPair pair = make();
        Record& record = NewRecord();
        record.on_data = [&](Connection& connection) {
          record.data += connection.Received();
          if (record.data.size() == size && !in_on_end) {
            connection.Write(reply);
          }
        };
        record.on_end = [&](Connection& connection) {
          EXPECT_EQ(record.data.size(), size);
          if (in_on_end) connection.Write(reply);
          connection.Close();
        };
        Adopt(pair.near, record);
        SendWithFin(pair.far, request);
        std::string received;
        TurnUntil([&] {
          static_cast<void>(pair.far.Flush());
          received += ReadAvailable(pair.far);
          return !pair.far.wants_read();
        });
        EXPECT_TRUE(record.data == request);
        EXPECT_TRUE(received == reply);
        EXPECT_GE(pair.far.fd(), 0) << "no reset";
        EXPECT_EQ(record.Count("end"), 1);
        EXPECT_EQ(record.Count("close"), 1);
        EXPECT_EQ(record.reason.origin, CloseReason::Origin::kPeer);
        EXPECT_EQ(record.reason.error, 0);
        ExpectIdle();
      }
    }
  }
}

// --- Reset in the middle of a write ---

// Passes bytes on, but takes as many as come and holds back what the kernel
// does not take.
class HoldingBack final : public Transport {
 public:
  HoldingBack(Record& record, std::string farewell)
      : record_(record), farewell_(std::move(farewell)) {}
  ~HoldingBack() override { record_.told.push_back("transport"); }

  IoResult Write(Socket& socket, absl::Span<const iovec> pieces) override {
    IoResult taken;
    for (const iovec& piece : pieces) {
      held_.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
      taken.bytes += piece.iov_len;
    }
    const IoResult left = Flush(socket);
    return left.failed() ? left : taken;
  }
  IoResult Flush(Socket& socket) override {
    while (left() > 0) {
      const iovec rest = {.iov_base = held_.data() + sent_, .iov_len = left()};
      const IoResult sent = Transport::Write(socket, {&rest, 1});
      sent_ += sent.bytes;
      if (!sent.ok()) return {.bytes = left(), .error = sent.error};
    }
    return {};
  }
  bool BeforeClose(Socket&) override {
    held_ += farewell_;
    return !farewell_.empty();
  }

  size_t left() const { return held_.size() - sent_; }

 private:
  Record& record_;
  const std::string farewell_;
  std::string held_;
  size_t sent_ = 0;
};

enum class What {
  kFew,
  kBytes,
  kCord,
  kFile,
  kHeldBack,
  kFarewell,
  kAfterClose,
};
constexpr What kEverything[] = {
    What::kFew,      What::kBytes,    What::kCord,      What::kFile,
    What::kHeldBack, What::kFarewell, What::kAfterClose};

const std::string& Much() {
  static const std::string& much = *new std::string(Pattern(kMuch));
  return much;
}

// What of a record there is order in.
std::vector<std::string> Ends(const Record& record) {
  std::vector<std::string> ends;
  for (const std::string& one : record.told) {
    if (one == "released" || one == "transport" || one == "env" ||
        one == "close" || one == "destroyed") {
      ends.push_back(one);
    }
  }
  return ends;
}

std::vector<std::string> ExpectedEnds(What what) {
  std::vector<std::string> ends;
  if (what == What::kCord || what == What::kHeldBack) {
    ends.push_back("released");
  }
  if (what == What::kHeldBack || what == What::kFarewell) {
    ends.push_back("transport");
  }
  ends.push_back("env");
  return ends;
}

// To a Connection or a Socket.
template <typename To>
HoldingBack* Prepare(To& to, What what, Record& record) {
  EXPECT_TRUE(to.SetEnv({}, nullptr, [&record](void*) {
                  record.told.push_back("env");
                }).ok());
  if (what != What::kHeldBack && what != What::kFarewell) return nullptr;
  auto transport = std::make_unique<HoldingBack>(
      record, what == What::kFarewell ? Much() : "");
  HoldingBack* const prepared = transport.get();
  EXPECT_TRUE(to.SetTransport(std::move(transport)).ok());
  return prepared;
}

template <typename To>
void WriteMuch(To& to, What what, Record& record) {
  switch (what) {
    case What::kFew:
      static_cast<void>(to.Write("few"));
      break;
    case What::kBytes:
    case What::kAfterClose: {
      const std::string_view much = Much();
      static_cast<void>(to.Write(much));
      break;
    }
    case What::kCord:
    case What::kHeldBack:
      static_cast<void>(to.Write(absl::MakeCordFromExternal(
          Much(),
          [&record](std::string_view) { record.told.push_back("released"); })));
      break;
    case What::kFile:
      static_cast<void>(to.Write(*FileRange::Own(MemoryFile(Much()))));
      break;
    case What::kFarewell:
      break;
  }
  if (what == What::kFarewell || what == What::kAfterClose) to.Close();
}

TEST_F(Scenario, ResetMidWrite) {
  enum class When { kBeforeTheTurn, kBeforeFlush, kStuck, kStuckAfterFin };
  for (const auto make : {&LoopbackPair::Tcp, &LoopbackPair::Unix}) {
    for (const When when : {When::kBeforeTheTurn, When::kBeforeFlush,
                            When::kStuck, When::kStuckAfterFin}) {
      const bool stuck = when == When::kStuck || when == When::kStuckAfterFin;
      for (const What what : kEverything) {
        if (stuck && what == What::kFew) continue;
        SCOPED_TRACE(absl::StrCat(make == &LoopbackPair::Tcp ? "tcp" : "unix",
                                  " what ", static_cast<int>(what), " when ",
                                  static_cast<int>(when)));
        const int descriptors = CountOpenDescriptors();
        LoopbackPair pair = make();
        FaultPlan plan;  // Counts.
        const int fd = pair.near.fd();
        Record& record = NewRecord();
        record.on_close = [&](Connection& connection) {
          EXPECT_EQ(connection.pending_bytes(), 0u);
          EXPECT_EQ(connection.pending_calls(), 0u);
          EXPECT_FALSE(connection.Write("x"));
        };
        Connection& connection = Adopt(pair.near, record);
        HoldingBack* const transport = Prepare(connection, what, record);
        if (when == When::kStuckAfterFin) {
          record.on_end = Nothing;
          ASSERT_TRUE(pair.far.ShutdownWrite().ok());
          TurnUntil([&] { return record.Count("end") > 0; });
        }
        Turn(2);
        WriteMuch(connection, what, record);
        if (stuck) {
          Turn(10);
          ASSERT_GT(connection.pending_bytes() +
                        (transport == nullptr ? 0 : transport->left()),
                    0u);
          ASSERT_EQ(record.Count("close"), 0);
        }
        pair.far.Abort();
        AwaitHangUp(fd);
        if (when == When::kBeforeFlush) {
          connection.Flush();
          EXPECT_EQ(connection.pending_calls(), 0u);
          EXPECT_FALSE(connection.is_open());
          EXPECT_FALSE(connection.Write("x"));
        }
        Turn(4);  // No more than that: it does not spin.
        std::vector<std::string> ends = ExpectedEnds(what);
        ends.insert(ends.end(), {"close", "destroyed"});
        EXPECT_EQ(Ends(record), ends);
        if (what == What::kFarewell && when == When::kStuckAfterFin) {
          // Nothing of the application is lost.
          EXPECT_EQ(record.reason.origin, CloseReason::Origin::kPeer);
        } else {
          EXPECT_EQ(record.reason.origin, CloseReason::Origin::kError);
          EXPECT_THAT(record.reason.error, AnyOf(ECONNRESET, EPIPE));
        }
        EXPECT_EQ(loop_->connection_count(), 0u);
        ExpectIdle();
        EXPECT_EQ(plan.calls(FaultPlan::Call::kClose),
                  what == What::kFile ? 3u : 2u);
        EXPECT_EQ(CountOpenDescriptors(), descriptors);
      }
    }
  }
}

TEST_F(Scenario, ResetInFlushUntil) {
  for (const auto make : {&LoopbackPair::Tcp, &LoopbackPair::Unix}) {
    for (const What what : kEverything) {
      if (what == What::kFew) continue;
      SCOPED_TRACE(absl::StrCat(make == &LoopbackPair::Tcp ? "tcp" : "unix",
                                " what ", static_cast<int>(what)));
      const int descriptors = CountOpenDescriptors();
      LoopbackPair pair = make();
      FaultPlan plan;
      plan.OnPoll([&](pollfd* fds, nfds_t count, int /*timeout_ms*/) {
        pair.far.Abort();
        AwaitHangUp(fds[0].fd);
        return poll(fds, count, -1);
      });
      Record& record = NewRecord();
      Prepare(pair.near, what, record);
      WriteMuch(pair.near, what, record);
      const IoResult flushed =
          pair.near.FlushUntil(clock_, MonotonicTime::InfiniteFuture());
      EXPECT_THAT(flushed.error, AnyOf(ECONNRESET, EPIPE));
      EXPECT_LE(plan.calls(FaultPlan::Call::kPoll), 2u);
      EXPECT_GE(plan.calls(FaultPlan::Call::kPoll), 1u);
      EXPECT_EQ(pair.near.pending_bytes(), 0u);
      EXPECT_EQ(pair.near.pending_calls(), 0u);
      EXPECT_LT(pair.near.fd(), 0);
      EXPECT_EQ(pair.near.Flush().error, EBADF);
      EXPECT_EQ(Ends(record), ExpectedEnds(what));
      EXPECT_EQ(plan.calls(FaultPlan::Call::kClose),
                what == What::kFile ? 3u : 2u);
      EXPECT_EQ(CountOpenDescriptors(), descriptors);
    }
  }
}

}  // namespace
}  // namespace fio
