// Reports of callbacks that take too long.

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/log_severity.h"
#include "absl/log/scoped_mock_log.h"
#include "absl/time/time.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_options.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/loop/test_util.h"
#include "fio/testing/loopback_pair.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using loop_internal::LoopFixture;
using ::testing::HasSubstr;
using testing::LoopbackPair;

class Named final : public Protocol {
 public:
  Named(std::string name, std::function<void()> on_open,
        std::function<void(Connection&)> on_data = nullptr)
      : name_(std::move(name)),
        on_open_(std::move(on_open)),
        on_data_(std::move(on_data)) {}

  void OnOpen(Connection& /*connection*/) override { on_open_(); }
  void OnData(Connection& connection) override { on_data_(connection); }
  std::string Name() const override { return name_; }

 private:
  const std::string name_;
  const std::function<void()> on_open_;
  const std::function<void(Connection&)> on_data_;
};

class Stall : public LoopFixture {
 protected:
  Stall() : LoopFixture({.stall = absl::Milliseconds(50)}) {}

  void Expect(const char* report) {
    EXPECT_CALL(log_, Log(absl::LogSeverity::kWarning, ::testing::_,
                          HasSubstr("has stalled its loop")))
        .Times(0);
    EXPECT_CALL(log_, Log(absl::LogSeverity::kWarning, ::testing::_,
                          HasSubstr(report)));
    log_.StartCapturingLogs();
  }
  std::function<void()> Works(int ms) {
    return [this, ms] { clock_.Advance(absl::Milliseconds(ms)); };
  }
  void Adopt(std::unique_ptr<Protocol> protocol) {
    EXPECT_TRUE(loop_
                    ->Adopt(std::move(pair_.near),
                            [&protocol](Connection& connection) {
                              connection.Attach(std::move(protocol));
                            })
                    .ok());
  }
  // In its OnData() one protocol takes the place of another.
  void Upgrade(int old_ms, int new_ms) {
    Adopt(std::make_unique<Named>(
        "Old", [] {},
        [this, old_ms, new_ms](Connection& connection) {
          Works(old_ms)();
          connection.Attach(std::make_unique<Named>("New", Works(new_ms)));
        }));
    ASSERT_TRUE(pair_.far.TryWrite("x").ok());
    Turn();
  }

  absl::ScopedMockLog log_{absl::MockLogDefault::kIgnoreUnexpected};
  LoopbackPair pair_ = LoopbackPair::Unix();
};

// Of a task, a listener or a connector that attaches it nobody knows the name.
TEST_F(Stall, OfOnOpenHasTheProtocolsName) {
  Expect("a callback of Slow has stalled its loop for 51ms");
  loop_->Post([this] {
    Works(30)();
    Adopt(std::make_unique<Named>("Slow", Works(51)));
    Works(20)();
  });
  Turn(2);
  EXPECT_EQ(loop_->stats().stalls, 1u);
}

// Each has its own time.
TEST_F(Stall, OfAnUpgradeIsThatOfTheOldOne) {
  Expect("a callback of Old has stalled its loop for 60ms");
  Upgrade(60, 40);
  EXPECT_EQ(loop_->stats().stalls, 1u);
}

TEST_F(Stall, OfAnUpgradeIsThatOfTheNewOne) {
  Expect("a callback of New has stalled its loop for 60ms");
  Upgrade(40, 60);
  EXPECT_EQ(loop_->stats().stalls, 1u);
}

}  // namespace
}  // namespace fio
