// What a callback throws ends the process, and stderr says whose it was.

#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/poller/event.h"
#include "fio/sock/socket.h"
#include "fio/testing/loopback_pair.h"
#include "fio/testing/manual_clock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using testing::LoopbackPair;
using testing::ManualClock;

// Throws in the callback of that name.
class Thrower final : public Protocol {
 public:
  explicit Thrower(std::string where) : where_(std::move(where)) {}

  void OnOpen(Connection& connection) override {
    In("OnOpen");
    connection.SetTimeout(absl::Milliseconds(1));
    if (where_ == "OnDeadline") connection.SetDeadline(absl::ZeroDuration());
    connection.SetWatermarks({.high_bytes = 4});
    // More than the kernel takes, for OnHighWater().
    connection.Write(where_ == "OnHighWater" ? std::string(1 << 20, 'x')
                                             : "written");
  }
  void OnData(Connection& connection) override {
    connection.Received();
    In("OnData");
  }
  void OnReady(Connection& /*connection*/) override { In("OnReady"); }
  void OnHighWater(Connection& /*connection*/) override { In("OnHighWater"); }
  void OnEnd(Connection& connection) override {
    In("OnEnd");
    connection.Close();
  }
  void OnTimeout(Connection& /*connection*/) override { In("OnTimeout"); }
  void OnDeadline(Connection& /*connection*/) override { In("OnDeadline"); }
  void OnDrain(Connection& /*connection*/) override { In("OnDrain"); }
  absl::Duration OnShutdown(Connection& /*connection*/) override {
    In("OnShutdown");
    return absl::ZeroDuration();
  }
  void OnClose(Connection& /*connection*/,
               const CloseReason& /*reason*/) override {
    In("OnClose");
  }
  std::string Name() const override { return "the Thrower"; }

 private:
  void In(std::string_view callback) const {
    if (callback == where_) throw std::runtime_error(where_);
  }

  const std::string where_;
};

// A whole life, with every callback.
void Live(const std::string& where) {
  ManualClock clock;
  std::unique_ptr<Loop> loop = *Loop::Create({.clock = &clock});
  const auto turn = [&] {
    loop->RunOnce(MonotonicTime::InfinitePast()).IgnoreError();
  };
  LoopbackPair pair = LoopbackPair::Unix();
  loop->Adopt(std::move(pair.near),
              [&](Connection& connection) {
                connection.Attach(std::make_unique<Thrower>(where));
              })
      .IgnoreError();
  turn();
  ASSERT_TRUE(pair.far.TryWrite("hello").ok());
  turn();
  clock.Advance(absl::Seconds(1));
  turn();
  const auto fail = [&where](std::string_view here) {
    if (here == where) throw std::runtime_error(where);
  };
  loop->Post([&] { fail("task"); });
  loop->RunAfter(absl::ZeroDuration(), [&] { fail("timer"); });
  loop->OnTurnEnd([&] { fail("hook"); });
  LoopbackPair watched = LoopbackPair::Unix();
  ASSERT_TRUE(watched.far.TryWrite("x").ok());
  const absl::StatusOr<WatchId> watch =
      loop->Watch(watched.near.fd(), Interest::kReadable, Trigger::kLevel,
                  [&](Readiness) { fail("watch"); });
  clock.Advance(absl::Seconds(1));
  turn();
  loop->Unwatch(*watch);
  loop->Drain();
  turn();
  if (where == "OnEnd") {
    pair.far.Close();
    turn();
  }
  loop->Stop();
  turn();
  turn();
}

TEST(Exceptions, EndTheProcessByName) {
  for (const std::string where :
       {"OnOpen", "OnData", "OnReady", "OnHighWater", "OnEnd", "OnTimeout",
        "OnDeadline", "OnDrain", "OnShutdown", "OnClose"}) {
    EXPECT_DEATH(Live(where), "left a callback of the Thrower") << where;
    EXPECT_DEATH(Live(where), "what\\(\\): +" + where) << where;
  }
  for (const std::string where : {"task", "timer", "hook", "watch"}) {
    EXPECT_DEATH(Live(where), "left a callback of a task, timer, watch or hook")
        << where;
  }
  Live("nowhere");
}

}  // namespace
}  // namespace fio
