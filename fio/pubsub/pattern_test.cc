#include "fio/pubsub/pattern.h"

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "fio/pubsub/internal/glob.h"
#include "fio/pubsub/pattern_redis_table.h"
#include "fio/testing/allocation_counter.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using pubsub_internal::Glob;
using ::testing::AllOf;
using ::testing::HasSubstr;
using std::string_view_literals::operator""sv;

Pattern Make(std::string_view text, PatternMode mode = PatternMode::kRedis) {
  absl::StatusOr<Pattern> pattern = Pattern::Compile(text, mode);
  EXPECT_TRUE(pattern.ok()) << pattern.status();
  return *std::move(pattern);
}

// Of copies that end where their memory ends.
bool Matches(std::string_view text, PatternMode mode, std::string_view name) {
  const auto copy = [](std::string_view bytes) {
    std::unique_ptr<char[]> made(new char[bytes.size()]);
    bytes.copy(made.get(), bytes.size());
    return made;
  };
  const std::unique_ptr<char[]> text_copy = copy(text);
  const Pattern pattern = Make({text_copy.get(), text.size()}, mode);
  const std::unique_ptr<char[]> name_copy = copy(name);
  return pattern.Matches({name_copy.get(), name.size()});
}

bool NatsMatches(std::string_view text, std::string_view name) {
  return Matches(text, PatternMode::kNats, name);
}

absl::Status ErrorOf(std::string_view text, PatternMode mode) {
  return Pattern::Compile(text, mode).status();
}

TEST(Pattern, RedisTable) {
  for (const testing::RedisCase& row : testing::kRedisTable) {
    EXPECT_EQ(Matches(row.pattern, PatternMode::kRedis, row.name), row.matches)
        << '"' << absl::CHexEscape(row.pattern) << "\" and \""
        << absl::CHexEscape(row.name) << '"';
  }
}

TEST(Pattern, NatsTokens) {
  struct Case {
    std::string_view pattern, name;
    bool matches;
  };
  // As nats-server 2.9.10 has it.
  constexpr Case kTable[] = {
      {"a", "a", true},
      {"a", "A", false},
      {"a", "a.b", false},
      {"a.b", "a", false},
      {"a.*", "a.b", true},
      {"a.*", "a", false},
      {"a.*", "a.", false},
      {"a.*", "a.b.c", false},
      {"a.*", "ab", false},
      {"a.*", "b.b", false},
      {"*", "a", true},
      {"*", "", false},
      {"*", "a.b", false},
      {"*.*", "a.b", true},
      {"*.b", "a.b", true},
      {"*.b", ".b", false},
      {"a.*.c", "a.b.c", true},
      {"a.*.c", "a..c", false},
      {"a.*.c", "a.b.b.c", false},
      {">", "a", true},
      {">", "a.b.c", true},
      {">", "", false},
      {">", ".", false},
      {">", "a.", false},
      {">", ".a", false},
      {">", "a..b", false},
      {"a.>", "a.b", true},
      {"a.>", "a.b.c", true},
      {"a.>", "a", false},
      {"a.>", "a.", false},
      {"a.>", "a.b..c", false},
      {"a.>", "a.b.", false},
      {"*.>", "a.b", true},
      {"*.>", "a", false},
      {"*.>", ".a", false},
      // Wildcards are whole tokens.
      {"a*", "a*", true},
      {"a*", "ab", false},
      {"*a", "ba", false},
      {"a>", "a>", true},
      {"a>", "ab", false},
      {"a.>b", "a.b", false},
      {"a?", "ab", false},
      {"[a]", "a", false},
      {"\\*", "*", false},
      // A name has none.
      {"a.*", "a.*", true},
      {"a.*", "a.>", true},
      {"a.b", "a.*", false},
      {"a.b", "a.>", false},
      {"*", ">", true},
      // Any bytes.
      {"a\0b.*"sv, "a\0b.c"sv, true},
      {"a\0b.*"sv, "a\0c.c"sv, false},
      {"\xFF.*", "\xFF.\xC3\xA9", true},
      {"a.*", "a.b c", true},
      {"a\f.b", "a\f.b", true},
  };
  for (const Case& row : kTable) {
    EXPECT_EQ(NatsMatches(row.pattern, row.name), row.matches)
        << row.pattern << " and " << row.name;
  }
}

TEST(Pattern, NatsErrorsNameThePattern) {
  for (const std::string_view text :
       {"", ".", "a.", ".a", "a..b", ">.a", "a.>.b", "a.>.", ">.>", "a b",
        "a\t", "\n", "a\r.b"}) {
    const absl::Status error = ErrorOf(text, PatternMode::kNats);
    EXPECT_EQ(error.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(error.message()),
                HasSubstr(absl::StrCat("compile pattern \"",
                                       absl::CHexEscape(text), "\": ")));
  }
  EXPECT_EQ(ErrorOf("a.>.b", PatternMode::kNats).message(),
            "compile pattern \"a.>.b\": '>' is not the last token");
  // As much of it as one can read.
  const std::string many(10'000, '.');
  EXPECT_LT(ErrorOf(many, PatternMode::kNats).message().size(), 200u);
}

TEST(Pattern, LengthHasALimit) {
  for (const PatternMode mode : {PatternMode::kRedis, PatternMode::kNats}) {
    const std::string longest(Pattern::kMaxTextBytes, 'a');
    EXPECT_TRUE(Make(longest, mode).Matches(longest));
    const absl::Status error = ErrorOf(longest + "a", mode);
    EXPECT_EQ(error.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(error.message(),
              "compile pattern: its 65536 bytes are more than 65535");
  }
}

// More sets than a byte could number, all of them different.
TEST(Pattern, HasRoomForManySets) {
  std::string text, name;
  for (int i = 0; i < 10'000; ++i) {
    const char bytes[] = {static_cast<char>('0' + i % 10),
                          static_cast<char>('a' + i / 10 % 26)};
    absl::StrAppend(&text, "[", std::string_view(bytes, 2), "]");
    name += bytes[i % 2];
  }
  const Pattern pattern = Make(text);
  EXPECT_TRUE(pattern.Matches(name));
  for (size_t i = 0; i < name.size(); i += 97) {
    std::string other = name;
    other[i] = '!';
    EXPECT_FALSE(pattern.Matches(other)) << i;
  }
}

TEST(Pattern, LiteralPrefixBeginsEachMatch) {
  struct Case {
    std::string_view text, prefix;
  };
  for (const Case& row : {Case{"", ""},
                          {"abc", "abc"},
                          {"news.*", "news."},
                          {"*abc", ""},
                          {"a?b", "a"},
                          {"a[bc]d", "a"},
                          {"a[b]c*", "abc"},  // A set of one is a byte.
                          {"a[^]b", "a"},
                          {"a[]b", "a"},
                          {"a\\*b\\", "a*b\\"},
                          {"a\0b*"sv, "a\0b"sv}}) {
    EXPECT_EQ(Make(row.text).literal_prefix(), row.prefix) << row.text;
  }
  for (const Case& row : {Case{"a", "a"},
                          {"a.b", "a.b"},
                          {"a.*", "a."},
                          {"a.b.>", "a.b."},
                          {"a.*.b", "a."},
                          {"*.a", ""},
                          {">", ""},
                          {"a*.b>", "a*.b>"}}) {
    EXPECT_EQ(Make(row.text, PatternMode::kNats).literal_prefix(), row.prefix)
        << row.text;
  }
}

TEST(Pattern, IsItsTextAndMode) {
  const Pattern redis = Make("a.*");
  const Pattern nats = Make("a.*", PatternMode::kNats);
  EXPECT_EQ(redis.text(), "a.*");
  EXPECT_EQ(redis.mode(), PatternMode::kRedis);
  EXPECT_EQ(nats.mode(), PatternMode::kNats);
  EXPECT_FALSE(redis == nats);
  EXPECT_TRUE(redis == Make("a.*"));
  EXPECT_FALSE(redis == Make("a.?"));

  Pattern copy = nats;
  EXPECT_TRUE(copy.Matches("a.b"));
  copy = redis;
  EXPECT_TRUE(copy.Matches("a.b.c"));
  const Pattern moved = std::move(copy);
  EXPECT_EQ(moved.literal_prefix(), "a.");
}

// Counts steps for patterns on which naive matchers take forever.
TEST(Pattern, BoundedWork) {
  const auto repeat = [](std::string_view text, int times) {
    std::string all;
    for (int i = 0; i < times; ++i) absl::StrAppend(&all, text);
    return all;
  };
  const std::string name(300, 'a');
  for (const std::string& text :
       {repeat("*a", 30) + "*b", repeat("a*", 30) + "b",
        repeat("*?", 100) + "*b*", "*" + repeat("a", 150) + "b*",
        "*" + repeat("?", 150) + "b*", repeat("*[ab]", 100) + "*[bc]*",
        repeat("*" + repeat("a", 9) + "[bc]", 25) + "*", repeat("*aab", 70),
        repeat("*", 1'000) + "b*", "*" + repeat("a?", 100) + "c*"}) {
    const Glob glob = Glob::Compile(text);
    EXPECT_FALSE(glob.Matches(name)) << text;
    EXPECT_LE(glob.MatchSteps(name), text.size() * name.size()) << text;
  }
  // Not even that where each run is found at once,
  EXPECT_LE(Glob::Compile(repeat("*a", 100) + "*b*").MatchSteps(name), 100u);
  // where the end decides, or the beginning,
  EXPECT_EQ(Glob::Compile(repeat("*a", 100) + "b").MatchSteps(name), 2u);
  EXPECT_EQ(Glob::Compile("b" + repeat("*a", 100)).MatchSteps(name), 0u);
  // or the length.
  EXPECT_EQ(Glob::Compile(repeat("*a", 301)).MatchSteps(name), 0u);
}

TEST(Pattern, MatchesWithoutAllocation) {
  const Pattern redis = Make("a*[b-d]?e*\\*");
  const Pattern nats = Make("a.*.>", PatternMode::kNats);
  const std::string name = "a.b.ccde" + std::string(100, 'x') + "*";
  const testing::AllocationCounter counter;
  EXPECT_TRUE(redis.Matches(name));
  EXPECT_TRUE(nats.Matches(name));
  EXPECT_EQ(counter.allocations(), 0);
}

}  // namespace
}  // namespace fio
