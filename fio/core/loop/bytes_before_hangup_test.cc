// What the kernel holds when the peer goes is delivered, once and in order,
// before the protocol hears that the peer has gone; however it goes, and
// whatever the connection is doing then.

#include <sys/socket.h>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

#include "fio/base/monotonic_time.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/poller/poller_under_test.h"
#include "fio/sock/socket.h"
#include "fio/testing/loopback_pair.h"
#include "fio/testing/manual_clock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using testing::LoopbackPair;

constexpr size_t kBudget = 8192;
constexpr size_t kHighBytes = size_t{64} << 10;

enum class End { kFin, kReset, kHangUp, kHalfClose };
enum class Below { kTcp, kUnix };
enum class State { kIdle, kBusy, kSuspended, kInsideOnOpen };

char StreamByte(size_t offset) { return static_cast<char>(offset % 251); }

class Reader final : public Protocol {
 public:
  struct Result {
    size_t read = 0;
    int ends = 0;
    int closes = 0;
    int destroyed = 0;
    CloseReason reason;
  };

  explicit Reader(Result& result) : result_(result) {}
  ~Reader() override { ++result_.destroyed; }

  void OnData(Connection& connection) override {
    EXPECT_EQ(result_.ends + result_.closes, 0);
    for (const char byte : connection.Received()) {
      ASSERT_EQ(byte, StreamByte(result_.read)) << "at " << result_.read;
      ++result_.read;
    }
  }
  void OnEnd(Connection& connection) override {
    ++result_.ends;
    Protocol::OnEnd(connection);
  }
  void OnClose(Connection&, const CloseReason& reason) override {
    ++result_.closes;
    result_.reason = reason;
  }

 private:
  Result& result_;
};

class BytesBeforeHangup
    : public ::testing::TestWithParam<std::tuple<End, Below, State, size_t>> {};

TEST_P(BytesBeforeHangup, AreDeliveredOnceInOrderBeforeTheEnd) {
  const End end = std::get<End>(GetParam());
  const Below below = std::get<Below>(GetParam());
  const State state = std::get<State>(GetParam());
  const size_t size = std::get<size_t>(GetParam());
  testing::ManualClock clock;
  const std::unique_ptr<Loop> loop =
      *Loop::Create({.clock = &clock,
                     .poller = core_internal::PollerUnderTest(),
                     .receive_buffer_bytes = 4096,
                     .read_budget_bytes = kBudget,
                     .watermarks = {.high_bytes = kHighBytes}});
  LoopbackPair pair =
      below == Below::kTcp ? LoopbackPair::Tcp() : LoopbackPair::Unix();
  const int room = 4 << 20;
  for (const int fd : {pair.near.fd(), pair.far.fd()}) {
    for (const int buffer : {SO_RCVBUF, SO_SNDBUF}) {
      ASSERT_EQ(setsockopt(fd, SOL_SOCKET, buffer, &room, sizeof(room)), 0);
    }
  }

  std::string stream(size, '\0');
  for (size_t i = 0; i < size; ++i) stream[i] = StreamByte(i);
  size_t sent = 0;
  const auto send = [&] {
    while (sent < size) {
      const std::string_view all = stream;
      const size_t n = pair.far.TryWrite(all.substr(sent)).bytes;
      if (n == 0) break;
      sent += n;
    }
  };
  const auto hang_up = [&] {
    switch (end) {
      case End::kFin:
        pair.far.Close();
        break;
      case End::kReset:
      case End::kHangUp:  // With something unread, so that it resets.
        end == End::kReset ? pair.far.Abort()
                           : static_cast<void>(pair.far = Socket());
        break;
      case End::kHalfClose:
        ASSERT_TRUE(pair.far.ShutdownWrite().ok());
        break;
    }
  };

  Reader::Result result;
  const auto turn = [&] {
    ASSERT_TRUE(loop->RunOnce(MonotonicTime::InfinitePast()).ok());
  };
  const auto everything = [&](Connection&) {
    send();
    hang_up();
  };
  ConnectionId id =
      *loop->Adopt(std::move(pair.near), [&](Connection& connection) {
        if (state == State::kInsideOnOpen) everything(connection);
        connection.Attach(std::make_unique<Reader>(result));
        if (state == State::kSuspended) connection.Suspend();
        // Nobody reads it, so it is above the high watermark from here on.
        if (state == State::kBusy) {
          connection.Write(std::string(size_t{16} << 20, 'w'));
        } else if (end == End::kHangUp) {
          connection.Write("unread");
          connection.Flush();
        }
      });
  turn();
  if (state != State::kInsideOnOpen) everything(*loop->Find(id));
  ASSERT_GT(sent, 0u);
  if (below == Below::kTcp) {
    ASSERT_EQ(sent, size) << "more than the kernel holds";
  }
  if (state == State::kSuspended) {
    for (int i = 0; i < 5; ++i) turn();
    EXPECT_EQ(result.read, 0u);
    EXPECT_EQ(result.ends + result.closes, 0) << "bytes are before it";
    loop->Find(id)->Resume();
  }
  // A half-closed peer reads on, and one that closes drops what comes; the
  // others are gone.
  while (result.closes == 0) {
    if (end == End::kHalfClose) testing::ReadAvailable(pair.far);
    if (end == End::kFin) static_cast<void>(pair.far.Flush());
    turn();
  }
  EXPECT_EQ(result.read, sent);
  EXPECT_EQ(result.closes, 1);
  EXPECT_LE(result.ends, 1);
  if (end == End::kHalfClose) {
    EXPECT_EQ(result.ends, 1);
  }
  turn();
  EXPECT_EQ(result.closes, 1);
  EXPECT_EQ(result.destroyed, 1);
  EXPECT_EQ(loop->connection_count(), 0u);
}

std::string NameOf(
    const ::testing::TestParamInfo<BytesBeforeHangup::ParamType>& info) {
  constexpr const char* kEnds[] = {"Fin", "Reset", "HangUp", "HalfClose"};
  constexpr const char* kBelow[] = {"Tcp", "Unix"};
  constexpr const char* kStates[] = {"Idle", "Busy", "Suspended",
                                     "InsideOnOpen"};
  const auto [end, below, state, size] = info.param;
  return std::string(kEnds[static_cast<int>(end)]) +
         kBelow[static_cast<int>(below)] + kStates[static_cast<int>(state)] +
         (size == 1 ? "OneByte" : "OneMegabyte");
}

INSTANTIATE_TEST_SUITE_P(
    Matrix, BytesBeforeHangup,
    ::testing::Combine(::testing::Values(End::kFin, End::kReset, End::kHangUp,
                                         End::kHalfClose),
                       ::testing::Values(Below::kTcp, Below::kUnix),
                       ::testing::Values(State::kIdle, State::kBusy,
                                         State::kSuspended,
                                         State::kInsideOnOpen),
                       ::testing::Values(size_t{1}, size_t{1} << 20)),
    NameOf);

}  // namespace
}  // namespace fio
