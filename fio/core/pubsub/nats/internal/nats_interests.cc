#include "fio/core/pubsub/nats/internal/nats_interests.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "fio/core/pubsub/nats/internal/nats_subject.h"
#include "fio/pubsub/pattern.h"
#include "fio/pubsub/subscribe_options.h"

namespace fio::nats_internal {

NatsInterests::Added NatsInterests::Add(std::string_view channel, Match match,
                                        uint64_t& sid) {
  Key key(match, channel);
  if (sids_.contains(key)) return Added::kKnown;
  absl::StatusOr<Pattern> pattern =
      Pattern::Compile(channel, match == Match::kNats ? PatternMode::kNats
                                                      : PatternMode::kRedis);
  const bool is_exact = match == Match::kExact;
  if (!is_exact && !pattern.ok()) return Added::kNoSubject;
  std::optional<std::string> subject =
      is_exact ? SubjectOf(channel) : SubjectOf(*pattern);
  if (!subject.has_value()) return Added::kNoSubject;
  sid = ++last_sid_;
  sids_.emplace(key, sid);
  Interest& interest = by_sid_[sid];
  interest.key = std::move(key);
  interest.subject = *std::move(subject);
  if (!is_exact) interest.pattern = patterns_.Add(*std::move(pattern), sid);
  return Added::kNew;
}

std::optional<uint64_t> NatsInterests::Remove(std::string_view channel,
                                              Match match) {
  const auto found = sids_.find(Key(match, channel));
  if (found == sids_.end()) return std::nullopt;
  const uint64_t sid = found->second;
  sids_.erase(found);
  const auto interest = by_sid_.find(sid);
  if (interest->second.pattern.has_value()) {
    patterns_.Remove(*interest->second.pattern);
  }
  by_sid_.erase(interest);
  return sid;
}

void NatsInterests::Clear() {
  for (const auto& [sid, interest] : by_sid_) {
    if (interest.pattern.has_value()) patterns_.Remove(*interest.pattern);
  }
  by_sid_.clear();
  sids_.clear();
}

const std::string& NatsInterests::subject(uint64_t sid) const {
  return by_sid_.at(sid).subject;
}

void NatsInterests::ForEach(
    absl::FunctionRef<void(uint64_t sid, std::string_view subject)> call)
    const {
  for (const auto& [sid, interest] : by_sid_) call(sid, interest.subject);
}

bool NatsInterests::Counts(uint64_t sid, std::string_view channel) const {
  const auto found = by_sid_.find(sid);
  if (found == by_sid_.end()) return false;
  uint64_t lowest = UINT64_MAX;
  if (patterns_.patterns() > 0) {
    patterns_.ForEachMatch(channel,
                           [&lowest](const Pattern&, const uint64_t& other) {
                             lowest = std::min(lowest, other);
                           });
    const auto exact = sids_.find(Key(Match::kExact, channel));
    if (exact != sids_.end()) lowest = std::min(lowest, exact->second);
    return lowest == sid;
  }
  return found->second.key.second == channel;
}

}  // namespace fio::nats_internal
