#include "fio/core/pubsub/redis/internal/redis_subscriptions.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "fio/pubsub/pattern.h"
#include "fio/pubsub/subscribe_options.h"

namespace fio::redis_internal {
namespace {

// '*' of NATS is one token and '>' the rest: a '*' of Redis has them all.
std::string GlobOfSubject(std::string_view subject) {
  std::string glob;
  for (size_t i = 0; i < subject.size(); ++i) {
    const char c = subject[i];
    const bool is_token = (i == 0 || subject[i - 1] == '.') &&
                          (i + 1 == subject.size() || subject[i + 1] == '.');
    if (is_token && (c == '*' || c == '>')) {
      glob += '*';
      continue;
    }
    if (std::string_view("*?[]\\").find(c) != std::string_view::npos) {
      glob += '\\';
    }
    glob += c;
  }
  return glob;
}

RedisTopic TopicOf(std::string_view channel, Match match) {
  if (match == Match::kNats) {
    return {.kind = TopicKind::kPattern, .name = GlobOfSubject(channel)};
  }
  return {.kind = match == Match::kExact ? TopicKind::kChannel
                                         : TopicKind::kPattern,
          .name = std::string(channel)};
}

}  // namespace

std::optional<RedisTopic> RedisSubscriptions::Want(std::string_view channel,
                                                   Match match) {
  RedisTopic topic = TopicOf(channel, match);
  Entry& entry = Of(topic.kind)[topic.name];
  const bool is_first = !entry.is_wanted();
  if (match != Match::kNats) {
    entry.itself = true;
  } else if (subjects_.emplace(channel).second) {
    ++entry.subjects;
  }
  if (!is_first) return std::nullopt;
  return topic;
}

std::optional<RedisTopic> RedisSubscriptions::Unwant(std::string_view channel,
                                                     Match match) {
  RedisTopic topic = TopicOf(channel, match);
  Entries& entries = Of(topic.kind);
  const auto found = entries.find(topic.name);
  if (found == entries.end() || !found->second.is_wanted()) return std::nullopt;
  Entry& entry = found->second;
  if (match != Match::kNats) {
    entry.itself = false;
  } else if (subjects_.erase(channel) > 0) {
    --entry.subjects;
  }
  if (entry.is_wanted()) return std::nullopt;
  if (entry.confirmed == 0) entries.erase(found);
  return topic;
}

void RedisSubscriptions::Confirm(TopicKind kind, std::string_view name,
                                 bool subscribed) {
  Entries& entries = Of(kind);
  const auto found = entries.find(name);
  if (found == entries.end() && !subscribed) return;
  // A subscription that was given up before it was confirmed is one, too.
  Entry& entry =
      found != entries.end() ? found->second : entries[std::string(name)];
  if (subscribed == (entry.confirmed != 0)) return;
  if (subscribed) {
    entry.confirmed = ++last_;
    if (kind == TopicKind::kChannel) return;
    absl::StatusOr<Pattern> pattern =
        Pattern::Compile(name, PatternMode::kRedis);
    if (pattern.ok()) confirmed_patterns_.emplace(last_, *std::move(pattern));
    return;
  }
  if (kind == TopicKind::kPattern) confirmed_patterns_.erase(entry.confirmed);
  entry.confirmed = 0;
  if (!entry.is_wanted()) entries.erase(found);
}

void RedisSubscriptions::ForgetConfirmed() {
  confirmed_patterns_.clear();
  for (Entries* const entries : {&channels_, &patterns_}) {
    absl::erase_if(*entries, [](auto& entry) {
      entry.second.confirmed = 0;
      return !entry.second.is_wanted();
    });
  }
}

bool RedisSubscriptions::IsFirst(std::string_view pattern,
                                 std::string_view channel) const {
  const auto exact = channels_.find(channel);
  if (exact != channels_.end() && exact->second.confirmed != 0) return false;
  const auto own = patterns_.find(pattern);
  if (own == patterns_.end() || own->second.confirmed == 0) return false;
  for (const auto& [place, other] : confirmed_patterns_) {
    if (place == own->second.confirmed) break;
    if (other.Matches(channel)) return false;
  }
  return true;
}

std::vector<std::string_view> RedisSubscriptions::Wanted(TopicKind kind) const {
  std::vector<std::string_view> wanted;
  const Entries& entries = kind == TopicKind::kChannel ? channels_ : patterns_;
  for (const auto& [name, entry] : entries) {
    if (entry.is_wanted()) wanted.push_back(name);
  }
  return wanted;
}

void RedisSubscriptions::Clear() {
  channels_.clear();
  patterns_.clear();
  subjects_.clear();
  confirmed_patterns_.clear();
}

}  // namespace fio::redis_internal
