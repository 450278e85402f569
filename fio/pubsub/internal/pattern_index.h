// A PatternIndex keeps values by patterns, and finds those whose patterns match
// a name without testing every pattern: it looks up, for each length of a
// literal prefix in use, what begins as the name does, and tests only that.
// Patterns that begin with a wildcard are tested with every name. A pattern
// with many values is kept and tested once.
//
// Adding and removing cost O(1) but for the pattern's bytes, and the number of
// lengths in use when a new one comes or the last of one goes.
//
// Thread safety: as a std::map; const calls need no lock.

#ifndef FIO_PUBSUB_INTERNAL_PATTERN_INDEX_H_
#define FIO_PUBSUB_INTERNAL_PATTERN_INDEX_H_

#include <cstddef>
#include <iterator>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "fio/pubsub/pattern.h"

namespace fio::pubsub_internal {

// What of a PatternIndex does not depend on the type of the values.
class PatternIndexBase {
 public:
  PatternIndexBase() = default;
  PatternIndexBase(const PatternIndexBase&) = delete;
  PatternIndexBase& operator=(const PatternIndexBase&) = delete;

  // How many patterns have values; the same text in the same mode counts once.
  size_t patterns() const { return groups_.size(); }

 protected:
  // A pattern, and in a derived class its values.
  struct Group {
    explicit Group(Pattern p) : pattern(std::move(p)) {}
    virtual ~Group() = default;

    const Pattern pattern;
    size_t place = 0;  // In its bucket.
  };

  ~PatternIndexBase() = default;

  // Null if the pattern has none.
  Group* FindGroup(const Pattern& pattern) const;
  // REQUIRES: the pattern has no group yet.
  void InsertGroup(std::unique_ptr<Group> group);
  void EraseGroup(Group* group);

  void ForEachMatchingGroup(std::string_view name,
                            absl::FunctionRef<void(const Group&)> call) const;

 private:
  using Key =
      std::pair<PatternMode, std::string_view>;  // Of a group's pattern.
  using Bucket = std::vector<Group*>;            // Of one prefix.
  struct Length {
    size_t bytes;
    size_t buckets;
  };

  static Key KeyOf(const Pattern& pattern) {
    return {pattern.mode(), pattern.text()};
  }
  std::vector<Length>::iterator LowerBound(size_t bytes);
  void CountBucket(size_t prefix_bytes);
  void UncountBucket(size_t prefix_bytes);

  absl::flat_hash_map<Key, std::unique_ptr<Group>> groups_;
  absl::flat_hash_map<std::string, Bucket> buckets_;  // By prefix; none empty.
  std::vector<Length> lengths_;  // Of prefixes, shortest first.
};

template <typename T>
class PatternIndex : public PatternIndexBase {
  struct Values;

 public:
  // Names one value of the index, until it is removed.
  class Entry {
   public:
    const Pattern& pattern() const { return group_->pattern; }
    T& value() const { return *value_; }

   private:
    friend class PatternIndex;
    Entry(Values* group, typename std::list<T>::iterator value)
        : group_(group), value_(value) {}

    Values* group_;
    typename std::list<T>::iterator value_;
  };

  // What is added twice is there twice.
  Entry Add(Pattern pattern, T value) {
    auto* group = static_cast<Values*>(FindGroup(pattern));
    if (group == nullptr) {
      auto made = std::make_unique<Values>(std::move(pattern));
      group = made.get();
      InsertGroup(std::move(made));
    }
    group->values.push_back(std::move(value));
    return Entry(group, std::prev(group->values.end()));
  }

  // Destroys the value. REQUIRES: `entry` came from Add() of this index and was
  // not removed.
  void Remove(Entry entry) {
    entry.group_->values.erase(entry.value_);
    if (entry.group_->values.empty()) EraseGroup(entry.group_);
  }

  // Calls `call` once for each value whose pattern matches. The values of one
  // pattern come one after the other, in the order of adding; the order of
  // patterns is not specified. `call` must not change the index. Allocates
  // nothing.
  void ForEachMatch(
      std::string_view name,
      absl::FunctionRef<void(const Pattern&, const T&)> call) const {
    ForEachMatchingGroup(name, [call](const Group& group) {
      for (const T& value : static_cast<const Values&>(group).values) {
        call(group.pattern, value);
      }
    });
  }

 private:
  struct Values : Group {
    using Group::Group;
    std::list<T> values;
  };
};

}  // namespace fio::pubsub_internal

#endif  // FIO_PUBSUB_INTERNAL_PATTERN_INDEX_H_
