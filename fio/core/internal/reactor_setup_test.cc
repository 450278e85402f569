#include "fio/core/internal/reactor_setup.h"

#include <csignal>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "fio/core/reactor_options.h"
#include "gtest/gtest.h"

namespace fio::core_internal {
namespace {

TEST(ReactorSetup, ResolvesConcurrency) {
  const ReactorSetup single({.threads = 3, .workers = 1});
  EXPECT_EQ(single.concurrency.threads, 3);
  EXPECT_FALSE(single.is_cluster());
  const ReactorSetup cluster({.threads = 1, .workers = 2});
  EXPECT_EQ(cluster.concurrency.workers, 2);
  EXPECT_TRUE(cluster.is_cluster());
  const ReactorSetup supervised(
      {.threads = 1, .workers = 1, .supervise_single_worker = true});
  EXPECT_TRUE(supervised.is_cluster());
  const ReactorSetup all_cores({.threads = -1, .workers = 1, .cores = 5});
  EXPECT_EQ(all_cores.concurrency.threads, 5);
}

TEST(ReactorSetup, LoopsLingerAsTheReactorDoes) {
  ReactorOptions options;
  options.linger_timeout = absl::Seconds(7);
  options.loop.stop_linger = absl::Seconds(1);
  EXPECT_EQ(ReactorSetup(options).options.loop.stop_linger, absl::Seconds(7));
}

TEST(ReactorSetup, CheckNamesTheOption) {
  EXPECT_TRUE(ReactorSetup({}).Check().ok());
  const absl::Status negative =
      ReactorSetup({.drain_time = -absl::Seconds(1)}).Check();
  EXPECT_TRUE(absl::IsInvalidArgument(negative));
  EXPECT_EQ(negative.message(), "ReactorOptions::drain_time: -1s is negative");
  const absl::Status signal =
      ReactorSetup({.signals = {.stop = {SIGKILL}}}).Check();
  EXPECT_TRUE(absl::IsInvalidArgument(signal));
  EXPECT_EQ(signal.message(), "SignalOptions::stop: SIGKILL cannot be handled");
}

}  // namespace
}  // namespace fio::core_internal
