#include "fio/pubsub/internal/history_rules.h"

#include <cstddef>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/hash/hash.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "fio/pubsub/history_options.h"
#include "fio/pubsub/internal/frame_header.h"
#include "fio/pubsub/pattern.h"
#include "fio/pubsub/subscribe_options.h"

namespace fio::pubsub_internal {
namespace {

absl::Status Check(std::string_view channel, const HistoryOptions& options) {
  if (channel.size() > FrameLimits().channel_bytes) {
    return absl::InvalidArgumentError(
        absl::StrFormat("KeepHistory: a channel of %d bytes, of %d at most",
                        channel.size(), FrameLimits().channel_bytes));
  }
  if (options.max_messages == 0 || options.max_bytes == 0 ||
      options.max_age <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        "KeepHistory: max_messages, max_bytes and max_age must be positive");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status HistoryRules::Add(std::string_view channel, Match match,
                               const HistoryOptions& options) {
  if (absl::Status status = Check(channel, options); !status.ok()) {
    return status;
  }
  auto rule = std::make_unique<HistoryRule>();
  rule->options = options;
  if (match == Match::kExact) {
    exact_.try_emplace(channel, rules_.size());
  } else {
    absl::StatusOr<Pattern> pattern =
        Pattern::Compile(channel, match == Match::kNats ? PatternMode::kNats
                                                        : PatternMode::kRedis);
    if (!pattern.ok()) return pattern.status();
    rule->pattern = *std::move(pattern);
    patterns_.push_back(rules_.size());
  }
  rules_.push_back(std::move(rule));
  cache_.clear();
  if (!patterns_.empty()) cache_.resize(kCacheSlots);
  return absl::OkStatus();
}

HistoryRule* HistoryRules::Find(std::string_view channel) {
  if (cache_.empty() || channel.size() > kMaxCachedBytes) {
    return Search(channel);
  }
  CacheSlot& slot =
      cache_[absl::Hash<std::string_view>()(channel) % kCacheSlots];
  if (!slot.used || slot.channel != channel) {
    slot.rule = Search(channel);
    slot.channel = channel;
    slot.used = true;
  }
  return slot.rule;
}

HistoryRule* HistoryRules::Search(std::string_view channel) const {
  size_t place = rules_.size();
  if (const auto it = exact_.find(channel); it != exact_.end()) {
    place = it->second;
  }
  for (const size_t candidate : patterns_) {
    if (candidate > place) break;
    if (rules_[candidate]->pattern->Matches(channel)) {
      return rules_[candidate].get();
    }
  }
  return place == rules_.size() ? nullptr : rules_[place].get();
}

}  // namespace fio::pubsub_internal
