// For tests of the Broker: what was delivered, as strings, a thread that runs a
// lane, and an engine that notes what it is told.

#ifndef FIO_PUBSUB_BROKER_TEST_UTIL_H_
#define FIO_PUBSUB_BROKER_TEST_UTIL_H_

#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/log/absl_check.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "fio/pubsub/broker.h"
#include "fio/pubsub/delivery.h"
#include "fio/pubsub/engine.h"
#include "fio/pubsub/lane.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/publish_options.h"
#include "fio/pubsub/subscribe_options.h"
#include "fio/pubsub/subscription.h"

namespace fio::pubsub_internal {

using Strings = std::vector<std::string>;

// Adds "channel=body" of what comes to `seen`, which outlives the callback.
inline OnMessage NoteIn(Strings& seen) {
  return [&seen](Delivery& delivery) {
    seen.push_back(absl::StrCat(delivery.channel(), "=", delivery.body()));
  };
}

inline Subscription MustSubscribe(Lane& lane, Broker& broker,
                                  SubscribeOptions options,
                                  OnMessage on_message) {
  absl::StatusOr<Subscription> subscription =
      broker.Subscribe(lane, std::move(options), std::move(on_message));
  ABSL_CHECK_OK(subscription);
  return *std::move(subscription);
}

inline Subscription MustSubscribe(Broker& broker, SubscribeOptions options,
                                  OnMessage on_message) {
  return MustSubscribe(broker.main_lane(), broker, std::move(options),
                       std::move(on_message));
}

inline void MustPublish(Broker& broker, std::string_view channel,
                        std::string_view body,
                        const PublishOptions& options = {}) {
  ABSL_CHECK_OK(broker.Publish(channel, body, options));
}

// Runs the lane until nothing is left. Ends only if its callbacks do.
inline void RunAll(Lane& lane) {
  while (lane.Run([] { return false; }) || lane.stats().waiting > 0) {
  }
}
inline void RunAll(Broker& broker) { RunAll(broker.main_lane()); }

// A lane and its thread, which runs it whenever it is woken.
//
// Thread safety: none, but for lane() as Lane says.
class LaneThread {
 public:
  // Before the thread waits for the first time.
  explicit LaneThread(Broker& broker)
      : lane_(broker.NewLane([this] { Wake(); })),
        thread_([this] { Work(); }) {}
  LaneThread(const LaneThread&) = delete;
  LaneThread& operator=(const LaneThread&) = delete;
  ~LaneThread() { Stop(); }

  // REQUIRES: before Stop().
  Lane& lane() { return *lane_; }

  // Delivers what has come until now, and ends the lane and the thread.
  void Stop() {
    if (!thread_.joinable()) return;
    {
      const absl::MutexLock lock(&mutex_);
      stopping_ = true;
      woken_ = true;
    }
    thread_.join();
  }

 private:
  void Wake() {
    const absl::MutexLock lock(&mutex_);
    woken_ = true;
  }

  bool Wait() {
    const absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&woken_));
    woken_ = false;
    return !stopping_;
  }

  void Work() {
    bool go_on;
    do {
      go_on = Wait();
      RunAll(*lane_);
    } while (go_on);
    lane_ = nullptr;
  }

  absl::Mutex mutex_;
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::shared_ptr<Lane> lane_;
  std::thread thread_;
};

// Notes its callbacks: "attach", "detach", "+channel", "-channel", "+*pattern",
// "-*pattern" and "channel=body".
class NotingEngine : public Engine {
 public:
  explicit NotingEngine(bool local_echo = false) : local_echo_(local_echo) {}

  void OnAttach() override { notes.push_back("attach"); }
  void OnDetach() override { notes.push_back("detach"); }
  void Subscribe(std::string_view channel, Match match) override {
    notes.push_back(absl::StrCat(match == Match::kExact ? "+" : "+*", channel));
  }
  void Unsubscribe(std::string_view channel, Match match) override {
    notes.push_back(absl::StrCat(match == Match::kExact ? "-" : "-*", channel));
  }
  void Publish(const Message& message) override {
    notes.push_back(absl::StrCat(message.channel(), "=", message.body()));
  }
  bool local_echo() const override { return local_echo_; }
  std::string_view name() const override { return "noting"; }

  Strings notes;

 private:
  const bool local_echo_;
};

}  // namespace fio::pubsub_internal

#endif  // FIO_PUBSUB_BROKER_TEST_UTIL_H_
