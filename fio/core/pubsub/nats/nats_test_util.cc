#include "fio/core/pubsub/nats/nats_test_util.h"

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/pubsub/nats/nats_engine.h"
#include "fio/core/pubsub/nats/nats_options.h"
#include "fio/core/reactor_test_util.h"
#include "fio/pubsub/delivery.h"
#include "fio/pubsub/subscribe_options.h"
#include "fio/pubsub/subscription.h"
#include "gtest/gtest.h"
#include "tests/servers/nats_connection.h"

namespace fio::nats_internal {

NatsNode::NatsNode(std::string_view url, NatsOptions options)
    : reactor_(core_internal::Threads(1)) {
  absl::StatusOr<std::unique_ptr<NatsEngine>> engine = NatsEngine::Create(
      reactor_, pubsub_.broker(), url, Noting(std::move(options)));
  ABSL_CHECK_OK(engine.status());
  engine_ = *std::move(engine);
  ABSL_CHECK_OK(pubsub_.broker().Attach(*engine_));
  reactor_.lifecycle().Add(LifecycleEvent::kOnPubSubConnect,
                           [this] { Tell("connect"); });
  reactor_.lifecycle().Add(LifecycleEvent::kOnPubSubError,
                           [this] { Tell("disconnect"); });
  absl::Notification runs;
  reactor_.Defer([&runs] { runs.Notify(); });
  thread_ = std::thread([this] { ABSL_CHECK_OK(reactor_.Run()); });
  runs.WaitForNotification();
}

NatsNode::~NatsNode() {
  OnLoop([this] { subscriptions_.clear(); });
  reactor_.Stop();
  thread_.join();
}

NatsOptions NatsNode::Noting(NatsOptions options) {
  options.on_connected = [this](const NatsGap& gap) {
    Tell(absl::StrCat("connected ", gap.dropped, " ", gap.unsure));
  };
  options.on_lost = [this](const absl::Status& why) {
    Tell(absl::StrCat("lost ", absl::StatusCodeToString(why.code())));
  };
  options.on_error = [this](std::string_view what) {
    Tell(absl::StrCat("error ", what));
  };
  return options;
}

void NatsNode::Tell(std::string what) {
  const absl::MutexLock lock(&mutex_);
  told_.push_back(std::move(what));
}

std::string NatsNode::Await() {
  const auto is_told = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return !told_.empty();
  };
  const absl::MutexLock lock(&mutex_, absl::Condition(&is_told));
  std::string what = std::move(told_.front());
  told_.pop_front();
  return what;
}

std::string NatsNode::AwaitStart(std::string_view start) {
  while (true) {
    std::string what = Await();
    if (what.starts_with(start)) return what;
  }
}

void NatsNode::AwaitConnected() {
  EXPECT_EQ(Await(), "connected 0 0");
  EXPECT_EQ(Await(), "connect");
}

void NatsNode::OnLoop(const std::function<void()>& task) {
  absl::Notification done;
  ABSL_CHECK(reactor_.Post([&] {
    task();
    done.Notify();
  }));
  done.WaitForNotification();
}

void NatsNode::Subscribe(const std::string& channel, Match match) {
  OnLoop([&] {
    absl::StatusOr<Subscription> subscription =
        pubsub_.Subscribe({.channel = channel, .match = match},
                          [this, channel](Delivery& delivery) {
                            Tell(absl::StrCat(channel, ": ", delivery.channel(),
                                              " ", delivery.body()));
                          });
    ABSL_CHECK_OK(subscription.status());
    subscriptions_[channel] = *std::move(subscription);
  });
}

void NatsNode::Unsubscribe(const std::string& channel) {
  OnLoop([&] { subscriptions_.erase(channel); });
}

void NatsNode::Publish(std::string_view channel, std::string_view body) {
  ABSL_CHECK_OK(pubsub_.Publish(channel, body, {.engine = engine_.get()}));
}

void NatsNode::Sync(testing::NatsConnection& other) {
  other.Send("SUB _sync 999\r\n");
  other.Sync();
  Publish("_sync", "");
  while (other.ReadMessage() != "_sync ") {
  }
  other.Send("UNSUB 999\r\n");
  other.Sync();
}

NatsStats NatsNode::stats() {
  NatsStats stats;
  OnLoop([&] { stats = engine_->stats(); });
  return stats;
}

}  // namespace fio::nats_internal
