// How long connections may stay when a reactor stops. Time is a ManualClock's,
// which each turn of the main loop moves by one step; no real time passes.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/listener.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/reactor.h"
#include "fio/core/reactor_options.h"
#include "fio/core/reactor_test_util.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"
#include "fio/testing/loopback_pair.h"
#include "fio/testing/manual_clock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using core_internal::ConnectMany;
using core_internal::ListenOn;
using core_internal::Threads;
using testing::LoopbackPair;
using testing::ManualClock;
using testing::ReadAvailable;

constexpr absl::Duration kStep = absl::Milliseconds(100);
// What may be late by a few turns.
constexpr absl::Duration kSlack = absl::Seconds(1);
constexpr absl::Duration kCloseTimeout = absl::Seconds(8);
constexpr size_t kMuch = size_t{1} << 20;  // More than the kernel takes.

// What the peer does, and what is left to be sent to it.
enum class Other : uint8_t {
  kNothingPending,  // And so nothing to read.
  kReads,           // Much is pending.
  kStuck,           // Likewise, but it reads nothing.
};

// A connection that answers OnShutdown() with `stay`.
struct Guest {
  absl::Duration stay;
  Other other;
  Socket far = Socket();
  int told = 0;
  int closed = 0;
  absl::Duration closed_after = -absl::InfiniteDuration();
  CloseReason reason = {};
};

class ShutdownFixture : public ::testing::Test {
 protected:
  explicit ShutdownFixture(absl::Duration timeout = absl::Seconds(262)) {
    ReactorOptions options = Threads(1);
    options.loop.clock = &clock_;
    options.shutdown_timeout = timeout;
    reactor_.emplace(options);
    reactor_->lifecycle().Add(LifecycleEvent::kOnShutdown,
                              [this] { stopped_at_ = clock_.Now(); });
    reactor_->loop().OnTurnBegin([this] {
      reactor_->loop().Wake();
      if (!stopped_at_.has_value()) return;
      clock_.Advance(kStep);
      for (Guest& guest : guests_) {
        if (guest.other == Other::kReads) ReadAvailable(guest.far);
      }
      if (on_turn_) on_turn_();
    });
  }

  absl::Duration SinceStop() const { return clock_.Now() - *stopped_at_; }

  void Add(absl::Duration stay, Other other) {
    LoopbackPair pair = LoopbackPair::Unix();
    Guest& guest = guests_.emplace_back(
        Guest{.stay = stay, .other = other, .far = std::move(pair.far)});
    const absl::StatusOr<ConnectionId> id = reactor_->loop().Adopt(
        std::move(pair.near), [&](Connection& connection) {
          connection.Attach(std::make_unique<Stays>(*this, guest));
        });
    ASSERT_TRUE(id.ok()) << id.status();
  }

  // How long it takes from the stop on.
  absl::Duration Run(absl::Duration grace = absl::InfiniteDuration()) {
    reactor_->Defer([this, grace] { reactor_->Stop(grace); });
    EXPECT_TRUE(reactor_->Run().ok());
    for (const Guest& guest : guests_) {
      EXPECT_EQ(guest.told, 1);
      EXPECT_EQ(guest.closed, 1);
    }
    return SinceStop();
  }

  class Stays final : public Protocol {
   public:
    Stays(ShutdownFixture& test, Guest& guest) : test_(test), guest_(guest) {}
    void OnData(Connection& connection) override { connection.Received(); }
    absl::Duration OnShutdown(Connection& connection) override {
      ++guest_.told;
      if (guest_.other != Other::kNothingPending) {
        connection.Write(std::string(kMuch, 'x'));
      }
      return guest_.stay;
    }
    void OnClose(Connection&, const CloseReason& reason) override {
      ++guest_.closed;
      guest_.closed_after = test_.SinceStop();
      guest_.reason = reason;
    }

   private:
    ShutdownFixture& test_;
    Guest& guest_;
  };

  ManualClock clock_;
  std::deque<Guest> guests_;
  std::optional<Reactor> reactor_;
  std::optional<MonotonicTime> stopped_at_;
  std::function<void()> on_turn_;
};

void ExpectWithin(absl::Duration value, absl::Duration from,
                  absl::Duration to) {
  EXPECT_GE(value, from);
  EXPECT_LE(value, to);
}

class Shutdown : public ShutdownFixture {};

TEST_F(Shutdown, ReturnValueMatrix) {
  for (const absl::Duration stay :
       {absl::ZeroDuration(), absl::Seconds(1), absl::Seconds(3),
        absl::Seconds(100), absl::Seconds(254), absl::InfiniteDuration()}) {
    for (const Other other :
         {Other::kNothingPending, Other::kReads, Other::kStuck}) {
      Add(stay, other);
    }
  }
  Run();
  for (const Guest& guest : guests_) {
    if (guest.stay == absl::InfiniteDuration()) continue;
    SCOPED_TRACE(guest.stay);
    SCOPED_TRACE(static_cast<int>(guest.other));
    const absl::Duration due =
        guest.stay +
        (guest.other == Other::kStuck ? kCloseTimeout : absl::ZeroDuration());
    ExpectWithin(guest.closed_after, due, due + kSlack);
    if (due == absl::Seconds(262)) continue;  // Cut off at the same time.
    EXPECT_EQ(guest.reason.origin, guest.other == Other::kStuck
                                       ? CloseReason::Origin::kError
                                       : CloseReason::Origin::kLocal);
  }
  ExpectWithin(SinceStop(), absl::Seconds(262), absl::Seconds(263));
}

// Those that stay until no other does.
TEST_F(Shutdown, TheLastStayersLeaveWithTheOthers) {
  Add(absl::InfiniteDuration(), Other::kNothingPending);
  Add(absl::InfiniteDuration(), Other::kReads);
  Add(absl::InfiniteDuration(), Other::kStuck);
  Add(absl::Seconds(5), Other::kNothingPending);
  const absl::Duration total = Run();
  ExpectWithin(guests_[0].closed_after, absl::Seconds(5),
               absl::Seconds(5) + kSlack);
  ExpectWithin(guests_[1].closed_after, absl::Seconds(5),
               absl::Seconds(5) + kSlack);
  ExpectWithin(guests_[2].closed_after, absl::Seconds(13),
               absl::Seconds(13) + kSlack);
  ExpectWithin(total, absl::Seconds(13), absl::Seconds(14));
}

// At most the longest stay, and the time to send what is left.
TEST_F(Shutdown, StuckPeer8s) {
  Add(absl::ZeroDuration(), Other::kStuck);
  Add(absl::ZeroDuration(), Other::kReads);
  Add(absl::ZeroDuration(), Other::kNothingPending);
  ExpectWithin(Run(), kCloseTimeout, kCloseTimeout + absl::Seconds(1));
}

// What it reads now and then, and what it sends, buys it no time.
TEST_F(Shutdown, ASlowPeerMovesNoDeadline) {
  Add(absl::Seconds(2), Other::kStuck);
  on_turn_ = [this] {
    char byte;
    static_cast<void>(guests_[0].far.Read({&byte, 1}));
    static_cast<void>(guests_[0].far.TryWrite("x"));
  };
  ExpectWithin(Run(), absl::Seconds(10), absl::Seconds(11));
}

TEST_F(Shutdown, AGraceCutsOff) {
  Add(absl::Seconds(254), Other::kNothingPending);
  Add(absl::InfiniteDuration(), Other::kStuck);
  Add(absl::Seconds(1), Other::kNothingPending);
  ExpectWithin(Run(absl::Seconds(3)), absl::Seconds(3), absl::Seconds(4));
  ExpectWithin(guests_[2].closed_after, absl::Seconds(1),
               absl::Seconds(1) + kSlack);
}

TEST_F(Shutdown, NoGraceCutsOffAtOnce) {
  Add(absl::Seconds(254), Other::kNothingPending);
  Add(absl::InfiniteDuration(), Other::kStuck);
  ExpectWithin(Run(absl::ZeroDuration()), absl::ZeroDuration(), kSlack);
}

TEST_F(Shutdown, ASecondStopOnlyShortens) {
  Add(absl::Seconds(254), Other::kNothingPending);
  Add(absl::Seconds(254), Other::kStuck);
  int turns = 0;
  on_turn_ = [this, &turns] {
    ++turns;
    if (turns == 5) reactor_->Stop(absl::Seconds(200));  // No longer.
    if (turns == 20) reactor_->Stop(absl::Seconds(2));   // At 4 s.
    if (turns == 30) reactor_->Stop(absl::Seconds(100));
  };
  ExpectWithin(Run(absl::Seconds(100)), absl::Seconds(4), absl::Seconds(5));
}

class ShortShutdown : public ShutdownFixture {
 protected:
  ShortShutdown() : ShutdownFixture(absl::Seconds(5)) {}
};

TEST_F(ShortShutdown, ShutdownTimeoutCapsAll) {
  for (const absl::Duration stay :
       {absl::ZeroDuration(), absl::Seconds(1), absl::Seconds(254),
        absl::InfiniteDuration()}) {
    for (const Other other :
         {Other::kNothingPending, Other::kReads, Other::kStuck}) {
      Add(stay, other);
    }
  }
  ExpectWithin(Run(absl::Seconds(200)), absl::Seconds(5), absl::Seconds(6));
}

// A connection that would stay for ever, on whichever loop.
class Clings final : public Protocol {
 public:
  explicit Clings(std::atomic<int>& closed) : closed_(closed) {}
  void OnData(Connection& connection) override { connection.Received(); }
  absl::Duration OnShutdown(Connection& connection) override {
    connection.Write(std::string(kMuch, 'x'));
    return absl::Seconds(200);
  }
  void OnClose(Connection&, const CloseReason&) override { ++closed_; }

 private:
  std::atomic<int>& closed_;
};

// The clock stops at the deadline: who is not cut off by then would stay.
TEST(ShutdownOfThreads, AllLoopsAreCutOffAtTheDeadline) {
  constexpr int kClients = 12;
  ManualClock clock;
  ReactorOptions options = Threads(3);
  options.loop.clock = &clock;
  options.shutdown_timeout = absl::Seconds(5);
  Reactor reactor(options);
  std::atomic<int> opened{0};
  std::atomic<int> closed{0};
  const SocketAddress address = ListenOn(
      reactor, {.on_open =
                    [&](Connection& connection) {
                      connection.Attach(std::make_unique<Clings>(closed));
                      // Nothing else would tell a loop that the clock moves.
                      Loop& loop = connection.loop();
                      if (&loop != &reactor.loop()) {
                        loop.OnTurnBegin([&loop] { loop.Wake(); });
                      }
                      if (++opened == kClients) reactor.Stop();
                    },
                .balance = AcceptBalance::kLeastConnections});
  std::optional<MonotonicTime> stopped_at;
  reactor.lifecycle().Add(LifecycleEvent::kOnShutdown,
                          [&] { stopped_at = clock.Now(); });
  reactor.loop().OnTurnBegin([&] {
    reactor.loop().Wake();
    if (!stopped_at.has_value()) return;
    if (clock.Now() - *stopped_at < absl::Seconds(5)) {
      EXPECT_EQ(closed, 0);
      clock.Advance(kStep);
    }
  });
  std::vector<Socket> clients = ConnectMany(address, kClients);
  EXPECT_TRUE(reactor.Run().ok());
  EXPECT_EQ(closed, kClients);
  EXPECT_EQ(clock.Now() - *stopped_at, absl::Seconds(5));
}

}  // namespace
}  // namespace fio
