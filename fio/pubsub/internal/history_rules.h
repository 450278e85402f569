// HistoryRules says of which channels history is kept, and how much.
//
// Thread safety: none; Find() writes, too.

#ifndef FIO_PUBSUB_INTERNAL_HISTORY_RULES_H_
#define FIO_PUBSUB_INTERNAL_HISTORY_RULES_H_

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "fio/base/list_link.h"
#include "fio/pubsub/history_options.h"
#include "fio/pubsub/pattern.h"
#include "fio/pubsub/subscribe_options.h"

namespace fio::pubsub_internal {

// One call of Broker::KeepHistory().
struct HistoryRule {
  HistoryOptions options;
  std::optional<Pattern> pattern;  // Otherwise it is for one channel.
  ListLink oldest_first;           // What History keeps by it.
};

class HistoryRules {
 public:
  // Errors: kInvalidArgument for a channel that is too long or a malformed
  // pattern, and for options by which nothing is ever kept.
  absl::Status Add(std::string_view channel, Match match,
                   const HistoryOptions& options);

  bool empty() const { return rules_.empty(); }

  // The rule that was added first of those that match; null if none does. The
  // answer is remembered for some channels, those asked for last: so to ask
  // again tests no pattern.
  HistoryRule* Find(std::string_view channel);

  // In the order in which they were added.
  const std::vector<std::unique_ptr<HistoryRule>>& rules() const {
    return rules_;
  }

 private:
  // What is remembered takes 1024 * (kMaxCachedBytes + 48) bytes at most.
  static constexpr size_t kCacheSlots = 1024;
  static constexpr size_t kMaxCachedBytes = 128;
  struct CacheSlot {
    std::string channel;
    HistoryRule* rule = nullptr;
    bool used = false;
  };

  HistoryRule* Search(std::string_view channel) const;

  std::vector<std::unique_ptr<HistoryRule>> rules_;
  absl::flat_hash_map<std::string, size_t> exact_;  // Places in rules_.
  std::vector<size_t> patterns_;                    // Likewise.
  std::vector<CacheSlot> cache_;  // By hash; empty if there are no patterns.
};

}  // namespace fio::pubsub_internal

#endif  // FIO_PUBSUB_INTERNAL_HISTORY_RULES_H_
