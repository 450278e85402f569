// The RedisSubscriptions are the channels and patterns that subscribers here
// want, and those that the server has confirmed. They say which of the server's
// messages are told, so that each is told once however many of the patterns
// match it.
//
// Thread safety: none.

#ifndef FIO_CORE_PUBSUB_REDIS_INTERNAL_REDIS_SUBSCRIPTIONS_H_
#define FIO_CORE_PUBSUB_REDIS_INTERNAL_REDIS_SUBSCRIPTIONS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "fio/pubsub/pattern.h"
#include "fio/pubsub/subscribe_options.h"

namespace fio::redis_internal {

// Of a server: exact names and patterns.
enum class TopicKind : uint8_t { kChannel, kPattern };

struct RedisTopic {
  TopicKind kind = TopicKind::kChannel;
  std::string name;  // A pattern's is one of Redis.
};

class RedisSubscriptions {
 public:
  // What the server is to be told, if anything, of what subscribers here have
  // begun to want, or want no more. A NATS pattern is one of Redis for the
  // server, which has more messages; the broker matches them again. To want
  // twice is to want once.
  std::optional<RedisTopic> Want(std::string_view channel, Match match);
  std::optional<RedisTopic> Unwant(std::string_view channel, Match match);

  // In the order in which the server has said it.
  void Confirm(TopicKind kind, std::string_view name, bool subscribed);
  // The server has forgotten us.
  void ForgetConfirmed();

  // Whether a message that has come by `pattern` is the one to tell: no channel
  // of that name is confirmed, and none of the confirmed patterns that match it
  // is older. One that has come by its channel always is.
  bool IsFirst(std::string_view pattern, std::string_view channel) const;

  // All that are wanted, of one kind.
  std::vector<std::string_view> Wanted(TopicKind kind) const;

  void Clear();

 private:
  struct Entry {
    bool is_wanted() const { return itself || subjects > 0; }

    bool itself = false;     // Wanted by its name.
    size_t subjects = 0;     // Wanted by so many patterns of NATS.
    uint64_t confirmed = 0;  // Its place among those confirmed; 0 if it is not.
  };
  using Entries = absl::flat_hash_map<std::string, Entry>;

  Entries& Of(TopicKind kind) {
    return kind == TopicKind::kChannel ? channels_ : patterns_;
  }

  Entries channels_;
  Entries patterns_;
  absl::flat_hash_set<std::string> subjects_;  // Patterns of NATS.
  // Those confirmed, the oldest first.
  std::map<uint64_t, Pattern> confirmed_patterns_;
  uint64_t last_ = 0;
};

}  // namespace fio::redis_internal

#endif  // FIO_CORE_PUBSUB_REDIS_INTERNAL_REDIS_SUBSCRIPTIONS_H_
