#include "fio/testing/recording_engine.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "absl/log/absl_check.h"
#include "absl/status/statusor.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/pattern.h"
#include "fio/pubsub/publish_options.h"
#include "fio/pubsub/subscribe_options.h"

namespace fio::testing {
namespace {

bool Matches(std::string_view topic, Match match, std::string_view channel) {
  if (match == Match::kExact) return topic == channel;
  const absl::StatusOr<Pattern> pattern = Pattern::Compile(
      topic, match == Match::kRedis ? PatternMode::kRedis : PatternMode::kNats);
  return pattern.ok() && pattern->Matches(channel);
}

}  // namespace

void RecordingEngine::OnAttach() { attached_ = true; }

void RecordingEngine::OnDetach() {
  attached_ = false;
  topics_.clear();
}

bool RecordingEngine::IsSubscribed(std::string_view channel,
                                   Match match) const {
  return std::find(topics_.begin(), topics_.end(), Topic(channel, match)) !=
         topics_.end();
}

// After Broker::Reattach() it is told again what it knows.
void RecordingEngine::Subscribe(std::string_view channel, Match match) {
  if (!IsSubscribed(channel, match)) topics_.emplace_back(channel, match);
}

void RecordingEngine::Unsubscribe(std::string_view channel, Match match) {
  std::erase(topics_, Topic(channel, match));
}

void RecordingEngine::Publish(const Message& message) {
  published_.push_back(message);
  if (options_.local_echo || !options_.comes_back) return;
  Receive(message.channel(), message.body());
}

void RecordingEngine::Receive(std::string_view channel, std::string_view body) {
  const bool is_wanted =
      std::any_of(topics_.begin(), topics_.end(), [channel](const Topic& it) {
        return Matches(it.first, it.second, channel);
      });
  if (!is_wanted) return;
  ABSL_CHECK_OK(broker_.Publish(channel, body, {.reach = Reach::kCluster}));
}

}  // namespace fio::testing
