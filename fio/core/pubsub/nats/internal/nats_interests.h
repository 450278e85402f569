// NatsInterests is what a NatsEngine has subscribed to: for each channel and
// pattern a number, the sid, by which the server names the subscription.
//
// A message that matches several subscriptions comes once for each. All but one
// of these are dropped: the one that counts is that of the lowest sid, the
// subscription that the server has known for the longest time, so a new one
// changes nothing for messages that are on their way.
//
// Thread safety: none.

#ifndef FIO_CORE_PUBSUB_NATS_INTERNAL_NATS_INTERESTS_H_
#define FIO_CORE_PUBSUB_NATS_INTERNAL_NATS_INTERESTS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/functional/function_ref.h"
#include "fio/pubsub/internal/pattern_index.h"
#include "fio/pubsub/subscribe_options.h"

namespace fio::nats_internal {

class NatsInterests {
 public:
  enum class Added : uint8_t { kNew, kKnown, kNoSubject };

  // kNew: `sid` is the new one. kNoSubject if no subject of NATS stands for
  // it; it is then not kept.
  Added Add(std::string_view channel, Match match, uint64_t& sid);

  // The sid that it had, if it was kept.
  std::optional<uint64_t> Remove(std::string_view channel, Match match);

  // The numbers go on.
  void Clear();

  // What to ask the server for. REQUIRES: the sid is kept.
  const std::string& subject(uint64_t sid) const;

  // Calls `call` with each, the lowest sid first.
  void ForEach(absl::FunctionRef<void(uint64_t sid, std::string_view subject)>
                   call) const;

  // Whether the copy of a message on `channel` that came for `sid` is the one
  // that counts.
  bool Counts(uint64_t sid, std::string_view channel) const;

  size_t size() const { return by_sid_.size(); }

 private:
  using PatternEntry = pubsub_internal::PatternIndex<uint64_t>::Entry;
  using Key = std::pair<Match, std::string>;

  struct Interest {
    Key key;
    std::string subject;
    std::optional<PatternEntry> pattern;  // Unless it is kExact.
  };

  uint64_t last_sid_ = 0;
  std::map<uint64_t, Interest> by_sid_;
  std::map<Key, uint64_t, std::less<>> sids_;
  pubsub_internal::PatternIndex<uint64_t> patterns_;
};

}  // namespace fio::nats_internal

#endif  // FIO_CORE_PUBSUB_NATS_INTERNAL_NATS_INTERESTS_H_
