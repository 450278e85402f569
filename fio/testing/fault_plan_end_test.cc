// The end of a FaultPlan while other threads make calls.

#include <poll.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <atomic>
#include <cerrno>
#include <latch>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "fio/base/syscalls.h"
#include "fio/base/unique_fd.h"
#include "fio/testing/fault_plan.h"
#include "gtest/gtest.h"

namespace fio::testing {
namespace {

using Call = FaultPlan::Call;

// A function of OnPoll() may use its plan.
TEST(FaultPlanEnd, WaitsForAFunctionThatPolls) {
  auto plan = std::make_unique<FaultPlan>();
  const Syscalls* const table = &Sys();
  std::latch is_inside(1);
  std::atomic<bool> has_used_it = false;
  plan->OnPoll([&, used = plan.get()](pollfd*, nfds_t, int) {
    is_inside.count_down();
    while (&Sys() == table) std::this_thread::yield();  // Until it is ending.
    used->Target(0);
    has_used_it = true;
    return 0;
  });
  std::thread other([] { Sys().poll(nullptr, 0, -1); });
  is_inside.wait();
  plan = nullptr;
  EXPECT_TRUE(has_used_it);
  other.join();
}

// A call that blocks outlives its plan, and is none of the next plan's.
TEST(FaultPlanEnd, DoesNotWaitForTheKernel) {
  int fds[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
  const UniqueFd near(fds[0]), far(fds[1]);
  std::optional<FaultPlan> plan(std::in_place);
  ssize_t received = 0;
  std::thread other([&] {
    char byte;
    received = Sys().recv(near.get(), &byte, 1, 0);
  });
  while (plan->calls(Call::kRecv) == 0) std::this_thread::yield();
  plan.reset();
  plan.emplace();
  plan->ResetAtRead(near.get(), 1);
  EXPECT_EQ(send(far.get(), "x", 1, 0), 1);
  other.join();
  EXPECT_EQ(received, 1);
  EXPECT_EQ(plan->calls(), 0u);
  char byte;
  EXPECT_EQ(Sys().recv(near.get(), &byte, 1, MSG_DONTWAIT), -1);
  EXPECT_EQ(errno, EAGAIN);  // And not ECONNRESET.
}

// Wherever in a call other threads are at that moment.
TEST(FaultPlanEnd, OtherThreadsCallAllTheTime) {
  constexpr int kThreads = 2;
  constexpr int kPlans = 500;
  std::atomic<bool> is_over = false;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      while (!is_over) {
        UniqueFd(Sys().eventfd(0, 0)).Reset();
        Sys().poll(nullptr, 0, 0);
        std::this_thread::yield();
      }
    });
  }
  for (int i = 0; i < kPlans; ++i) {
    auto plan = std::make_unique<FaultPlan>(
        FaultPlan::Options{.all_descriptors = true, .no_descriptors = 0.5});
    while (plan->calls() == 0) std::this_thread::yield();
  }
  is_over = true;
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace fio::testing
