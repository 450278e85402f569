#include "fio/core/internal/stop_phases.h"

#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/internal/reactor_setup.h"
#include "fio/core/internal/server.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/reactor_options.h"
#include "fio/sock/socket.h"
#include "fio/testing/loopback_pair.h"
#include "fio/testing/manual_clock.h"
#include "gtest/gtest.h"

namespace fio::core_internal {
namespace {

using testing::LoopbackPair;

// Stays as long as it may.
class Clings final : public Protocol {
 public:
  void OnData(Connection& connection) override { connection.Received(); }
  absl::Duration OnShutdown(Connection& /*connection*/) override {
    return absl::Hours(1);
  }
};

class StopPhasesTest : public ::testing::Test {
 protected:
  ~StopPhasesTest() override {
    phases_.End();
    if (!server_.loops().stopped()) server_.loops().Stop(absl::ZeroDuration());
    Turns();
    server_.Finish();
  }

  static ReactorOptions Options(const Clock& clock) {
    ReactorOptions options = {.threads = 1, .workers = 1};
    options.drain_time = absl::Seconds(10);
    options.shutdown_timeout = absl::Seconds(100);
    options.loop.clock = &clock;
    return options;
  }

  void AddConnection() {
    LoopbackPair pair = LoopbackPair::Unix();
    const absl::StatusOr<ConnectionId> id =
        server_.main().Adopt(std::move(pair.near), [](Connection& connection) {
          connection.Attach(std::make_unique<Clings>());
        });
    ASSERT_TRUE(id.ok()) << id.status();
    far_ = std::move(pair.far);
  }

  void Turns(int count = 5) {
    for (int i = 0; i < count; ++i) {
      ASSERT_TRUE(server_.RunTurn(MonotonicTime::InfinitePast()).ok());
      phases_.Advance();
    }
  }
  void Advance(absl::Duration span) {
    clock_.Advance(span);
    Turns();
  }

  testing::ManualClock clock_;
  ReactorSetup setup_{Options(clock_)};
  Server server_{Role{}, setup_};
  int begun_ = 0;
  StopPhases phases_{server_, setup_, [this] { ++begun_; }};
  Socket far_;
};

TEST_F(StopPhasesTest, BeforeItServesAStopIsOnlyNoted) {
  EXPECT_FALSE(phases_.is_running());
  phases_.Stop(MonotonicTime::InfiniteFuture());
  EXPECT_TRUE(phases_.is_stop_asked());
  EXPECT_FALSE(phases_.is_running());
  EXPECT_EQ(begun_, 0);
}

TEST_F(StopPhasesTest, WithoutConnectionsItEndsInAFewTurns) {
  phases_.Serve();
  EXPECT_TRUE(phases_.serves());
  EXPECT_EQ(phases_.cut_off(), MonotonicTime::InfiniteFuture());
  Turns();
  EXPECT_TRUE(phases_.serves());
  phases_.Stop(MonotonicTime::InfiniteFuture());
  EXPECT_EQ(begun_, 1);
  EXPECT_FALSE(phases_.serves());
  EXPECT_TRUE(phases_.is_running());
  EXPECT_FALSE(phases_.has_ended());
  Turns();
  EXPECT_TRUE(phases_.has_ended());
}

TEST_F(StopPhasesTest, TheCutOffOnlyComesSooner) {
  phases_.Serve();
  AddConnection();
  const MonotonicTime start = setup_.Now();
  phases_.Stop(MonotonicTime::InfiniteFuture());
  EXPECT_EQ(phases_.cut_off(), start + absl::Seconds(100));
  phases_.Stop(start + absl::Seconds(50));
  phases_.Stop(start + absl::Seconds(70));
  EXPECT_EQ(phases_.cut_off(), start + absl::Seconds(50));
  EXPECT_EQ(begun_, 1);
  Advance(absl::Seconds(49));
  EXPECT_FALSE(phases_.has_ended());
  Advance(absl::Seconds(2));
  EXPECT_TRUE(phases_.has_ended());
}

TEST_F(StopPhasesTest, DrainsIfItMay) {
  phases_.set_may_drain(true);
  phases_.Serve();
  AddConnection();
  phases_.Stop(MonotonicTime::InfiniteFuture());
  EXPECT_EQ(phases_.cut_off(), setup_.Now() + absl::Seconds(110));
  Turns();
  EXPECT_TRUE(server_.main().draining());
  EXPECT_FALSE(server_.main().stopping());
  Advance(absl::Seconds(9));
  EXPECT_FALSE(server_.main().stopping());
  Advance(absl::Seconds(2));
  EXPECT_TRUE(server_.main().stopping());
}

TEST_F(StopPhasesTest, DrainingEndsWithTheLastConnection) {
  phases_.set_may_drain(true);
  phases_.Serve();
  AddConnection();
  phases_.Stop(MonotonicTime::InfiniteFuture());
  Turns();
  far_ = Socket();
  Turns();
  EXPECT_TRUE(phases_.has_ended());
}

TEST_F(StopPhasesTest, AnotherStopEndsDrainingIfItMayNoLonger) {
  phases_.set_may_drain(true);
  phases_.Serve();
  AddConnection();
  phases_.Stop(MonotonicTime::InfiniteFuture());
  Turns();
  phases_.Stop(MonotonicTime::InfiniteFuture());
  EXPECT_FALSE(server_.main().stopping());
  phases_.set_may_drain(false);
  phases_.Stop(MonotonicTime::InfiniteFuture());
  Turns();
  EXPECT_TRUE(server_.main().stopping());
}

TEST_F(StopPhasesTest, HasNoDeadlineWhileNoLoopHangs) {
  EXPECT_EQ(phases_.hang_deadline(), MonotonicTime::InfiniteFuture());
  phases_.Serve();
  EXPECT_EQ(phases_.hang_deadline(), MonotonicTime::InfiniteFuture());
  phases_.Stop(MonotonicTime::InfiniteFuture());
  EXPECT_EQ(phases_.hang_deadline(), setup_.Now() + absl::Seconds(1));
  Turns();
  EXPECT_EQ(phases_.hang_deadline(), MonotonicTime::InfiniteFuture());
}

}  // namespace
}  // namespace fio::core_internal
