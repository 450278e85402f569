// The kit, with what needs no other process: the broker alone and the engine
// that records. And that it finds what is wrong.

#include "fio/testing/engine_conformance.h"

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/log/absl_check.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "fio/pubsub/broker.h"
#include "fio/pubsub/delivery.h"
#include "fio/pubsub/engine.h"
#include "fio/pubsub/lane.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/publish_options.h"
#include "fio/pubsub/subscribe_options.h"
#include "fio/pubsub/subscription.h"
#include "fio/testing/recording_engine.h"
#include "gtest/gtest-spi.h"
#include "gtest/gtest.h"

namespace fio::testing {
namespace {

void RunAll(Lane& lane) {
  while (lane.stats().waiting > 0) lane.Run();
}

// Both sides are subscriptions of one broker.
class ProcessUnderTest final : public EngineUnderTest {
 public:
  Broker& broker() override { return broker_; }
  Engine* engine() override { return nullptr; }
  PublishOptions options() override { return {.reach = Reach::kProcess}; }
  void Do(absl::FunctionRef<void()> task) override { task(); }
  bool Turn() override {
    RunAll(broker_.main_lane());
    return false;
  }
  void Listen(std::string_view channel) override {
    absl::StatusOr<Subscription> subscription = broker_.Subscribe(
        *far_, {.channel = channel}, [this](Delivery& delivery) {
          heard_.push_back({.channel = std::string(delivery.channel()),
                            .body = std::string(delivery.body())});
        });
    ABSL_CHECK_OK(subscription);
    subscriptions_.push_back(*std::move(subscription));
  }
  void Publish(std::string_view channel, std::string_view body) override {
    ABSL_CHECK_OK(broker_.Publish(channel, body, options()));
  }
  std::vector<Heard> TakeHeard() override {
    RunAll(*far_);
    return std::exchange(heard_, {});
  }

 private:
  Broker broker_;
  const std::shared_ptr<Lane> far_ = broker_.NewLane(nullptr);
  std::vector<Subscription> subscriptions_;
  std::vector<Heard> heard_;
};

// The far side is whoever uses the engine.
template <typename Recording>
class RecordingUnderTest final : public EngineUnderTest {
 public:
  template <typename... Options>
  explicit RecordingUnderTest(const RecordingOptions& options,
                              Options... further)
      : hears_itself_(options.local_echo || options.comes_back),
        engine_(broker_, options, further...) {}

  Broker& broker() override { return broker_; }
  Engine* engine() override { return &engine_; }
  bool hears_itself() override { return hears_itself_; }
  void Do(absl::FunctionRef<void()> task) override { task(); }
  bool Turn() override {
    RunAll(broker_.main_lane());
    return false;
  }
  void Listen(std::string_view channel) override {
    listens_.push_back(std::string(channel));
    engine_.published().clear();
  }
  void Publish(std::string_view channel, std::string_view body) override {
    RunAll(broker_.main_lane());
    engine_.Receive(channel, body);
  }
  std::vector<Heard> TakeHeard() override {
    std::vector<Heard> heard;
    for (const Message& message : std::exchange(engine_.published(), {})) {
      for (const std::string& channel : listens_) {
        if (channel != message.channel()) continue;
        heard.push_back(
            {.channel = channel, .body = std::string(message.body())});
      }
    }
    return heard;
  }

 private:
  const bool hears_itself_;
  Recording engine_;
  // Ends, and detaches the engine, before that goes.
  Broker broker_;
  std::vector<std::string> listens_;
};

TEST(EngineConformance, Process) {
  ProcessUnderTest process;
  CheckEngine(process);
}

TEST(EngineConformance, Recording) {
  for (const RecordingOptions& options :
       {RecordingOptions(), RecordingOptions{.local_echo = true},
        RecordingOptions{.comes_back = false}}) {
    RecordingUnderTest<RecordingEngine> recording(options);
    CheckEngine(recording);
  }
}

// --- What the kit finds ---

enum class Fault {
  kIgnoresAttach,
  kIgnoresPatterns,
  kForgetsUnsubscribe,
  kDeliversTwice,
  kPublishesTwice,
  kForgetsPublish,
  kSwaps,
  kEndsAtNul,
  kDropsEmptyBodies,
  kEchoesTwice,
  kForgetsChannels,
  kGoesOnAfterDetach,
  kForgetsAtDetach,
};

class BrokenEngine final : public RecordingEngine {
 public:
  BrokenEngine(Broker& broker, const RecordingOptions& options, Fault fault)
      : RecordingEngine(broker, options), fault_(fault) {}

  void OnDetach() override {
    if (fault_ == Fault::kGoesOnAfterDetach) return;
    detached_ = true;
    RecordingEngine::OnDetach();
  }
  void Subscribe(std::string_view channel, Match match) override {
    if (fault_ == Fault::kIgnoresPatterns && match != Match::kExact) return;
    if (fault_ == Fault::kForgetsChannels && subscriptions() > 500) return;
    if (fault_ == Fault::kIgnoresAttach &&
        absl::StrContains(channel, "attach")) {
      return;
    }
    if (fault_ == Fault::kForgetsAtDetach && detached_ &&
        channel == "kit/detach") {
      return;
    }
    RecordingEngine::Subscribe(channel, match);
  }
  void Unsubscribe(std::string_view channel, Match match) override {
    if (fault_ == Fault::kForgetsUnsubscribe) return;
    RecordingEngine::Unsubscribe(channel, match);
  }
  void Publish(const Message& message) override {
    if (fault_ == Fault::kForgetsPublish) return;
    RecordingEngine::Publish(message);
    if (fault_ == Fault::kPublishesTwice) published().push_back(message);
    if (fault_ == Fault::kSwaps && message.body() == "7") {
      std::swap(published().back(), published()[published().size() - 2]);
    }
    if (fault_ == Fault::kEchoesTwice) {
      Receive(message.channel(), message.body());
    }
  }
  void Receive(std::string_view channel, std::string_view body) override {
    if (fault_ == Fault::kEndsAtNul) body = body.substr(0, body.find('\0'));
    if (fault_ == Fault::kDropsEmptyBodies && body.empty() &&
        !absl::StartsWith(channel, "settle")) {
      return;
    }
    RecordingEngine::Receive(channel, body);
    if (fault_ == Fault::kDeliversTwice &&
        absl::StartsWith(channel, "kit/once")) {
      RecordingEngine::Receive(channel, body);
    }
  }

 private:
  const Fault fault_;
  bool detached_ = false;
};

// The failures, one after another.
std::string FailuresOf(Fault fault) {
  ::testing::TestPartResultArray results;
  {
    const ::testing::ScopedFakeTestPartResultReporter reporter(
        ::testing::ScopedFakeTestPartResultReporter::
            INTERCEPT_ONLY_CURRENT_THREAD,
        &results);
    RecordingUnderTest<BrokenEngine> broken({}, fault);
    CheckEngine(broken);
  }
  std::string failures;
  for (int i = 0; i < results.size(); ++i) {
    absl::StrAppend(&failures, results.GetTestPartResult(i).message(), "\n");
  }
  return failures;
}

TEST(EngineConformance, FindsAndNamesWhatIsBroken) {
  const std::pair<Fault, std::string_view> expected[] = {
      {Fault::kIgnoresAttach, "attach"},
      {Fault::kIgnoresPatterns, "attach"},
      {Fault::kForgetsUnsubscribe, "last leaves"},
      {Fault::kDeliversTwice, "once"},
      {Fault::kPublishesTwice, "once"},
      {Fault::kForgetsPublish, "once"},
      {Fault::kSwaps, "order"},
      {Fault::kEndsAtNul, "bytes"},
      {Fault::kDropsEmptyBodies, "bytes"},
      {Fault::kEchoesTwice, "echo"},
      {Fault::kForgetsChannels, "many"},
      {Fault::kGoesOnAfterDetach, "detach"},
      {Fault::kForgetsAtDetach, "detach"},
  };
  for (const auto& [fault, rule] : expected) {
    EXPECT_TRUE(
        absl::StrContains(FailuresOf(fault), absl::StrCat("rule: ", rule)))
        << "fault " << static_cast<int>(fault);
  }
}

}  // namespace
}  // namespace fio::testing
