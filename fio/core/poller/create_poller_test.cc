#include "fio/core/poller/create_poller.h"

#include <cerrno>
#include <map>
#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/base/clock.h"
#include "fio/core/poller/poller.h"
#include "fio/testing/fault_plan.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using testing::FaultPlan;

constexpr PollerKind kKinds[] = {PollerKind::kEpoll, PollerKind::kKqueue,
                                 PollerKind::kPoll};

TEST(CreatePoller, MakesWhatWasAskedForOrSaysThatThereIsNone) {
  for (const PollerKind kind : kKinds) {
    const absl::StatusOr<std::unique_ptr<Poller>> poller =
        CreatePoller(Clock::System(), kind);
    if (poller.ok()) {
      EXPECT_EQ((*poller)->kind(), kind);
    } else {
      EXPECT_TRUE(absl::IsUnimplemented(poller.status())) << poller.status();
      EXPECT_NE(kind, PollerKind::kPoll);
    }
  }
}

#if defined(__linux__)
constexpr PollerKind kBest = PollerKind::kEpoll;

TEST(CreatePoller, AutoGoesOnWhereTheKernelRefusesTheBest) {
  FaultPlan plan;
  // As a container's filter of system calls does.
  plan.FailNext(FaultPlan::Call::kEpollCreate1, ENOSYS, 2);
  const absl::Status refused =
      CreatePoller(Clock::System(), PollerKind::kEpoll).status();
  EXPECT_TRUE(absl::IsUnimplemented(refused)) << refused;
  EXPECT_EQ(refused.message().substr(0, 13), "epoll_create1");
  const absl::StatusOr<std::unique_ptr<Poller>> poller =
      CreatePoller(Clock::System());
  ASSERT_TRUE(poller.ok()) << poller.status();
  EXPECT_NE((*poller)->kind(), PollerKind::kEpoll);
}
#else
constexpr PollerKind kBest = PollerKind::kKqueue;
#endif

TEST(CreatePoller, AutoIsTheBestThatThereIs) {
  const absl::StatusOr<std::unique_ptr<Poller>> poller =
      CreatePoller(Clock::System());
  ASSERT_TRUE(poller.ok()) << poller.status();
  EXPECT_EQ((*poller)->kind(), kBest);
}

TEST(Engine, NameMatchesBackend) {
  const std::map<PollerKind, std::string_view> names = {
      {PollerKind::kEpoll, "epoll"},
      {PollerKind::kKqueue, "kqueue"},
      {PollerKind::kPoll, "poll"}};
  for (const auto& [kind, name] : names) {
    EXPECT_EQ(PollerKindName(kind), name);
    const absl::StatusOr<std::unique_ptr<Poller>> poller =
        CreatePoller(Clock::System(), kind);
    if (poller.ok()) {
      EXPECT_EQ(PollerKindName((*poller)->kind()), name);
    }
  }
  EXPECT_EQ(PollerKindName(PollerKind::kAuto), "auto");
}

}  // namespace
}  // namespace fio
