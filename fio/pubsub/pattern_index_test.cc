#include "fio/pubsub/internal/pattern_index.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "fio/pubsub/pattern.h"
#include "fio/testing/allocation_counter.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using pubsub_internal::PatternIndex;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

Pattern Make(std::string_view text, PatternMode mode = PatternMode::kRedis) {
  absl::StatusOr<Pattern> pattern = Pattern::Compile(text, mode);
  EXPECT_TRUE(pattern.ok()) << pattern.status();
  return *std::move(pattern);
}

// The values, in the order of the calls.
std::vector<int> Find(const PatternIndex<int>& index, std::string_view name) {
  std::vector<int> found;
  index.ForEachMatch(name, [&](const Pattern& pattern, int value) {
    EXPECT_TRUE(pattern.Matches(name));
    found.push_back(value);
  });
  return found;
}

TEST(PatternIndex, FindsWhatMatches) {
  PatternIndex<int> index;
  index.Add(Make("news.*"), 1);
  index.Add(Make("news.a*"), 2);
  index.Add(Make("*a"), 4);
  index.Add(Make("other"), 8);
  index.Add(Make("news.*", PatternMode::kNats), 16);
  EXPECT_EQ(index.patterns(), 5u);
  const auto sum = [&](std::string_view name) {
    int all = 0;
    for (const int value : Find(index, name)) all += value;
    return all;
  };
  EXPECT_EQ(sum("news.b"), 1 + 16);
  EXPECT_EQ(sum("news.a"), 1 + 2 + 4 + 16);
  EXPECT_EQ(sum("news.a.a"), 1 + 2 + 4);
  EXPECT_EQ(sum("news."), 1);
  EXPECT_EQ(sum("other"), 8);
  EXPECT_EQ(sum("others"), 0);
  EXPECT_EQ(sum(""), 0);
}

TEST(PatternIndex, ValuesOfOnePatternKeepTheirOrder) {
  PatternIndex<int> index;
  index.Add(Make("a*"), 3);
  const auto second = index.Add(Make("a*"), 1);
  index.Add(Make("a*"), 2);
  index.Add(Make("a*"), 3);
  EXPECT_EQ(index.patterns(), 1u);
  EXPECT_THAT(Find(index, "ab"), ElementsAre(3, 1, 2, 3));
  EXPECT_EQ(second.value(), 1);
  EXPECT_EQ(second.pattern().text(), "a*");
  index.Remove(second);
  EXPECT_THAT(Find(index, "ab"), ElementsAre(3, 2, 3));
}

TEST(PatternIndex, RemovesThisEntryAlone) {
  PatternIndex<int> index;
  const auto first = index.Add(Make("ab*"), 1);
  const auto twice = index.Add(Make("ab*"), 1);
  const auto other = index.Add(Make("ab?"), 2);
  const auto nats = index.Add(Make("ab*", PatternMode::kNats), 3);
  index.Remove(first);
  EXPECT_THAT(Find(index, "abc"), ElementsAre(1, 2));
  index.Remove(twice);
  EXPECT_THAT(Find(index, "abc"), ElementsAre(2));
  index.Remove(other);
  EXPECT_THAT(Find(index, "abc"), IsEmpty());
  EXPECT_THAT(Find(index, "ab*"), ElementsAre(3));
  index.Remove(nats);
  EXPECT_EQ(index.patterns(), 0u);
}

TEST(PatternIndex, OwnsItsValues) {
  const auto counted = std::make_shared<int>(0);
  {
    PatternIndex<std::shared_ptr<int>> index;
    const auto entry = index.Add(Make("a"), counted);
    index.Add(Make("b"), counted);
    index.Remove(entry);
    EXPECT_EQ(counted.use_count(), 2);
  }
  EXPECT_EQ(counted.use_count(), 1);
}

TEST(PatternIndex, FindsWithoutAllocation) {
  PatternIndex<int> index;
  for (int i = 0; i < 100; ++i) {
    index.Add(Make(absl::StrCat("channel.", i, ".*")), i);
  }
  int found = 0;
  const testing::AllocationCounter counter;
  index.ForEachMatch("channel.73.x",
                     [&](const Pattern&, int value) { found = value; });
  EXPECT_EQ(counter.allocations(), 0);
  EXPECT_EQ(found, 73);
}

// What a model of the index has: everything, in the order of adding.
class IndexAgrees {
 public:
  void Run() {
    for (int i = 0; i < 3'000 && !Failed(); ++i) {
      if (Below(100) < 55) {
        AddOne();
      } else if (!kept_.empty()) {
        RemoveOne();
      }
      for (int j = 0; j < 5; ++j) Compare(Text("abc.*", 7));
    }
    while (!kept_.empty() && !Failed()) {
      RemoveOne();
      Compare(Text("abc.", 5));
    }
    EXPECT_EQ(index_.patterns(), 0u);
    EXPECT_GT(found_, 10'000u);
  }

 private:
  struct Kept {
    Pattern pattern;
    int value;
    PatternIndex<int>::Entry entry;
  };

  static bool Failed() { return ::testing::Test::HasFailure(); }

  void AddOne() {
    const PatternMode mode =
        Below(2) == 0 ? PatternMode::kRedis : PatternMode::kNats;
    absl::StatusOr<Pattern> pattern = Pattern::Compile(
        mode == PatternMode::kRedis ? Text("aabbc..**?[]\\", 6) : Subject(),
        mode);
    ASSERT_TRUE(pattern.ok()) << pattern.status();
    const auto entry = index_.Add(*pattern, next_);
    kept_.push_back({*std::move(pattern), next_++, entry});
  }

  void RemoveOne() {
    const auto which =
        kept_.begin() + static_cast<ptrdiff_t>(Below(kept_.size()));
    index_.Remove(which->entry);
    kept_.erase(which);
  }

  void Compare(const std::string& name) {
    std::vector<int> expected;
    for (const Kept& kept : kept_) {
      if (kept.pattern.Matches(name)) expected.push_back(kept.value);
    }
    std::vector<int> found;
    const Pattern* last = nullptr;
    index_.ForEachMatch(name, [&](const Pattern& pattern, int value) {
      // The values were counted up, so they rise within a pattern.
      if (&pattern == last) {
        EXPECT_LT(found.back(), value);
      }
      last = &pattern;
      found.push_back(value);
    });
    found_ += found.size();
    std::sort(found.begin(), found.end());
    EXPECT_EQ(found, expected) << name;
  }

  std::string Subject() {
    std::string subject;
    for (size_t tokens = Below(3); tokens > 0; --tokens) {
      constexpr std::string_view kTokens[] = {"a", "b", "ab", "*"};
      absl::StrAppend(&subject, kTokens[Below(4)], ".");
    }
    return subject + (Below(2) == 0 ? ">" : "a");
  }

  std::string Text(std::string_view bytes, size_t max_bytes) {
    std::string text;
    for (size_t size = Below(max_bytes + 1); size > 0; --size) {
      text += bytes[Below(bytes.size())];
    }
    return text;
  }

  size_t Below(size_t end) { return random_() % end; }

  std::mt19937_64 random_{1};
  PatternIndex<int> index_;
  std::vector<Kept> kept_;
  int next_ = 0;
  size_t found_ = 0;
};

TEST(Pattern, PrefixIndexAgrees) { IndexAgrees().Run(); }

}  // namespace
}  // namespace fio
