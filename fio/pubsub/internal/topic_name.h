// What one can subscribe to: a channel, or a pattern of channels, in the space
// of its filter. Spaces of different filters have nothing in common.
//
// Thread safety: values.

#ifndef FIO_PUBSUB_INTERNAL_TOPIC_NAME_H_
#define FIO_PUBSUB_INTERNAL_TOPIC_NAME_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "fio/pubsub/subscribe_options.h"

namespace fio::pubsub_internal {

// For lookups: it does not own the channel.
struct TopicKey {
  std::string_view channel;
  Match match = Match::kExact;
  int32_t filter = 0;

  friend bool operator==(const TopicKey&, const TopicKey&) = default;
  template <typename H>
  friend H AbslHashValue(H state, const TopicKey& key) {
    return H::combine(std::move(state), key.channel, key.match, key.filter);
  }
};

struct TopicName {
  explicit TopicName(const TopicKey& key)
      : channel(key.channel), match(key.match), filter(key.filter) {}

  TopicKey key() const {
    return {.channel = channel, .match = match, .filter = filter};
  }

  std::string channel;
  Match match;
  int32_t filter;
};

}  // namespace fio::pubsub_internal

#endif  // FIO_PUBSUB_INTERNAL_TOPIC_NAME_H_
