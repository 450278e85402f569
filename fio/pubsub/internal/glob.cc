#include "fio/pubsub/internal/glob.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <string_view>
#include <utility>

namespace fio::pubsub_internal {
namespace {

struct NoCounter {
  void operator++() {}
};

}  // namespace

class GlobReader {
 public:
  explicit GlobReader(std::string_view text) : rest_(text) {}

  Glob Read() {
    while (!rest_.empty()) ReadOne();
    glob_.prefix_.shrink_to_fit();
    glob_.elements_.shrink_to_fit();
    glob_.runs_.shrink_to_fit();
    glob_.sets_.shrink_to_fit();
    return std::move(glob_);
  }

 private:
  using Kind = Glob::Element::Kind;

  // One element, or a star.
  void ReadOne() {
    const char byte = Take();
    if (byte == '*') {
      AddStar();
    } else if (byte == '?') {
      Add({.kind = Kind::kAny});
    } else if (byte == '[') {
      AddSet(ReadSet());
    } else if (byte == '\\' && !rest_.empty()) {
      AddByte(Take());
    } else {
      AddByte(byte);
    }
  }

  // What is behind a '['.
  Glob::ByteSet ReadSet() {
    Glob::ByteSet set = {};
    const bool inverted = rest_.starts_with('^');
    if (inverted) Take();
    while (!rest_.empty()) {
      const char byte = Take();
      if (byte == ']') break;
      if (byte == '\\' && !rest_.empty()) {
        AddRange(set, rest_[0], rest_[0]);
        Take();
      } else if (rest_.size() >= 2 && rest_[0] == '-') {
        AddRange(set, byte, rest_[1]);
        rest_.remove_prefix(2);
      } else {
        AddRange(set, byte, byte);
      }
    }
    if (inverted) {
      for (uint64_t& word : set) word = ~word;
    }
    return set;
  }

  static void AddRange(Glob::ByteSet& set, char a, char b) {
    const auto [first, last] = std::minmax({RankOf(a), RankOf(b)});
    for (unsigned rank = first; rank <= last; ++rank) {
      const unsigned byte = rank ^ 0x80;
      set[byte / 64] |= uint64_t{1} << byte % 64;
    }
  }

  // Its place in the order of signed bytes.
  static unsigned RankOf(char byte) {
    return static_cast<unsigned char>(byte) ^ 0x80;
  }

  void AddStar() {
    in_prefix_ = false;
    const bool behind_star =
        glob_.runs_.size() > 1 && glob_.runs_.back().size == 0;
    if (behind_star) return;
    glob_.runs_.push_back(
        {.begin = static_cast<uint32_t>(glob_.elements_.size())});
  }

  void AddByte(char byte) {
    if (in_prefix_) {
      glob_.prefix_ += byte;
    } else {
      Add({.kind = Kind::kByte, .byte = static_cast<uint8_t>(byte)});
    }
  }

  void AddSet(const Glob::ByteSet& set) {
    int size = 0;
    for (const uint64_t word : set) size += std::popcount(word);
    if (size == 256) {
      Add({.kind = Kind::kAny});
    } else if (size == 1) {
      AddByte(First(set));
    } else {
      const auto [known, is_new] = known_sets_.try_emplace(
          set, static_cast<uint16_t>(known_sets_.size()));
      if (is_new) glob_.sets_.push_back(set);
      Add({.kind = Kind::kSet, .set = known->second});
    }
  }

  static char First(const Glob::ByteSet& set) {
    int byte = 0;
    for (const uint64_t word : set) {
      if (word != 0) return static_cast<char>(byte + std::countr_zero(word));
      byte += 64;
    }
    return 0;
  }

  void Add(Glob::Element element) {
    in_prefix_ = false;
    glob_.elements_.push_back(element);
    ++glob_.runs_.back().size;
  }

  char Take() {
    const char byte = rest_[0];
    rest_.remove_prefix(1);
    return byte;
  }

  std::string_view rest_;
  bool in_prefix_ = true;  // All so far were bytes.
  std::map<Glob::ByteSet, uint16_t> known_sets_;
  Glob glob_;
};

Glob Glob::Compile(std::string_view text) { return GlobReader(text).Read(); }

bool Glob::Matches(std::string_view name) const {
  NoCounter steps;
  return Match(name, steps);
}

size_t Glob::MatchSteps(std::string_view name) const {
  size_t steps = 0;
  Match(name, steps);
  return steps;
}

template <typename Counter>
bool Glob::Match(std::string_view name, Counter& steps) const {
  const bool has_stars = runs_.size() > 1;
  if (name.empty() && has_stars) return false;
  if (!name.starts_with(prefix_)) return false;
  name.remove_prefix(prefix_.size());
  if (name.size() < elements_.size()) return false;
  if (!has_stars && name.size() > elements_.size()) return false;

  // The first and the last run have one place each, which do not overlap.
  const Run& first = runs_.front();
  if (!MatchesAt(first, name.data(), steps)) return false;
  name.remove_prefix(first.size);
  if (!has_stars) return true;
  const Run& last = runs_.back();
  name.remove_suffix(last.size);
  if (!MatchesAt(last, name.data() + name.size(), steps)) return false;

  for (size_t i = 1; i + 1 < runs_.size(); ++i) {
    if (!Find(runs_[i], name, steps)) return false;
  }
  return true;
}

template <typename Counter>
bool Glob::Find(const Run& run, std::string_view& name, Counter& steps) const {
  for (name = SkipToFirst(run, name); name.size() >= run.size;
       name = SkipToFirst(run, name.substr(1))) {
    if (MatchesAt(run, name.data(), steps)) {
      name.remove_prefix(run.size);
      return true;
    }
  }
  return false;
}

template <typename Counter>
bool Glob::MatchesAt(const Run& run, const char* bytes, Counter& steps) const {
  for (uint32_t i = 0; i < run.size; ++i) {
    ++steps;
    const Element& element = elements_[run.begin + i];
    const auto byte = static_cast<uint8_t>(bytes[i]);
    switch (element.kind) {
      case Element::Kind::kByte:
        if (byte != element.byte) return false;
        break;
      case Element::Kind::kAny:
        break;
      case Element::Kind::kSet:
        if ((sets_[element.set][byte / 64] >> byte % 64 & 1) == 0) return false;
        break;
    }
  }
  return true;
}

std::string_view Glob::SkipToFirst(const Run& run,
                                   std::string_view name) const {
  const Element& first = elements_[run.begin];
  if (first.kind != Element::Kind::kByte) return name;
  const size_t found = name.find(static_cast<char>(first.byte));
  return found == name.npos ? std::string_view() : name.substr(found);
}

}  // namespace fio::pubsub_internal
