#include "fio/core/poller/epoll_poller.h"

#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "fio/base/clock.h"
#include "fio/core/poller/poller.h"
#include "fio/core/poller/poller_test_suite.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

struct Epoll {
  static std::unique_ptr<Poller> Create(const Clock& clock) {
    absl::StatusOr<std::unique_ptr<EpollPoller>> poller =
        EpollPoller::Create(clock);
    EXPECT_TRUE(poller.ok()) << poller.status();
    return *std::move(poller);
  }
};

INSTANTIATE_TYPED_TEST_SUITE_P(Epoll, PollerTest, Epoll);

}  // namespace
}  // namespace fio
