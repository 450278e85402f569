#include "fio/pubsub/internal/pattern_index.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/log/absl_check.h"
#include "fio/pubsub/pattern.h"

namespace fio::pubsub_internal {

PatternIndexBase::Group* PatternIndexBase::FindGroup(
    const Pattern& pattern) const {
  const auto found = groups_.find(KeyOf(pattern));
  return found == groups_.end() ? nullptr : found->second.get();
}

void PatternIndexBase::InsertGroup(std::unique_ptr<Group> group) {
  const std::string_view prefix = group->pattern.literal_prefix();
  const auto [bucket, is_new] = buckets_.try_emplace(prefix);
  if (is_new) CountBucket(prefix.size());
  group->place = bucket->second.size();
  bucket->second.push_back(group.get());
  const Key key = KeyOf(group->pattern);
  const bool inserted = groups_.emplace(key, std::move(group)).second;
  ABSL_CHECK(inserted) << "the pattern has a group";
}

void PatternIndexBase::EraseGroup(Group* group) {
  const std::string_view prefix = group->pattern.literal_prefix();
  const auto bucket = buckets_.find(prefix);
  Bucket& groups = bucket->second;
  groups.back()->place = group->place;
  groups[group->place] = groups.back();
  groups.pop_back();
  if (groups.empty()) {
    buckets_.erase(bucket);
    UncountBucket(prefix.size());
  }
  groups_.erase(groups_.find(KeyOf(group->pattern)));
}

void PatternIndexBase::ForEachMatchingGroup(
    std::string_view name, absl::FunctionRef<void(const Group&)> call) const {
  for (const Length& length : lengths_) {
    if (length.bytes > name.size()) return;
    const auto bucket = buckets_.find(name.substr(0, length.bytes));
    if (bucket == buckets_.end()) continue;
    for (const Group* const group : bucket->second) {
      if (group->pattern.Matches(name)) call(*group);
    }
  }
}

std::vector<PatternIndexBase::Length>::iterator PatternIndexBase::LowerBound(
    size_t bytes) {
  return std::lower_bound(
      lengths_.begin(), lengths_.end(), bytes,
      [](const Length& length, size_t b) { return length.bytes < b; });
}

void PatternIndexBase::CountBucket(size_t prefix_bytes) {
  auto length = LowerBound(prefix_bytes);
  if (length == lengths_.end() || length->bytes != prefix_bytes) {
    length = lengths_.insert(length, {.bytes = prefix_bytes, .buckets = 0});
  }
  ++length->buckets;
}

void PatternIndexBase::UncountBucket(size_t prefix_bytes) {
  const auto length = LowerBound(prefix_bytes);
  if (--length->buckets == 0) lengths_.erase(length);
}

}  // namespace fio::pubsub_internal
