#include "fio/core/pubsub/nats/internal/nats_subject.h"

#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fio/pubsub/pattern.h"
#include "gtest/gtest.h"

namespace fio::nats_internal {
namespace {

using namespace std::string_view_literals;  // NOLINT: for names with a NUL.

using Pairs = std::vector<std::pair<std::string_view, std::string_view>>;

TEST(NatsSubject, PlainNamesAreThemselves) {
  for (const std::string_view channel :
       {"a", "news.sports", "$SYS.x", "50%", "%x.%", "a*", "a>b", "-_/:",
        "gr\xC3\xBC\xC3\x9F"
        "e.\xFF\xFE"}) {
    EXPECT_TRUE(IsSubject(channel)) << channel;
    EXPECT_EQ(SubjectOf(channel), channel);
    EXPECT_EQ(ChannelOf(channel), channel);
  }
}

TEST(NatsSubject, OtherNamesAreEscapedByToken) {
  for (const auto& [channel, subject] :
       Pairs{{"", "%_"},
             {".", "%_.%_"},
             {"a..b", "a.%_.b"},
             {"a.", "a.%_"},
             {"a b.c", "%_a%20b.c"},
             {"a.*", "a.%_%2A"},
             {">", "%_%3E"},
             {"%_", "%_%25_"},
             {"%_a.%b", "%_%25_a.%b"},
             {"* *", "%_%2A%20%2A"},
             {"\r\n\t\x7F"sv, "%_%0D%0A%09%7F"},
             {"x\0y.z"sv, "%_x%00y.z"},
             {"a\xFF "sv, "%_a\xFF%20"}}) {
    EXPECT_FALSE(IsSubject(channel)) << subject;
    EXPECT_EQ(SubjectOf(channel), subject);
    EXPECT_EQ(ChannelOf(subject), channel) << subject;
  }
}

// Otherwise two subjects would be one channel.
TEST(NatsSubject, OfNoChannel) {
  for (const std::string_view subject :
       {"", "a..b", "*", "a.>", "a b", "%_a", "%_%2a%20", "%_%", "%_%2", "%_%4",
        "%_%41%20", "%_%G0", "%_%20%", "x.%_y", "%_ "}) {
    EXPECT_EQ(ChannelOf(subject), std::nullopt) << subject;
  }
}

TEST(NatsSubject, EveryPairOfBytesComesBack) {
  std::set<std::string> subjects;
  for (int first = 0; first < 256; ++first) {
    for (int second = 0; second < 256; ++second) {
      const std::string channel = {static_cast<char>(first),
                                   static_cast<char>(second)};
      const std::optional<std::string> subject = SubjectOf(channel);
      ASSERT_TRUE(subject.has_value());
      ASSERT_EQ(ChannelOf(*subject), channel) << *subject;
      ASSERT_TRUE(subjects.insert(*subject).second) << *subject;
    }
  }
}

TEST(NatsSubject, HasALongestOne) {
  EXPECT_TRUE(SubjectOf(std::string(kMaxSubjectBytes, 'a')).has_value());
  EXPECT_FALSE(SubjectOf(std::string(kMaxSubjectBytes + 1, 'a')).has_value());
  EXPECT_FALSE(SubjectOf(std::string(65'535, '\0')).has_value());
  EXPECT_FALSE(SubjectOf(std::string(65'535, '.')).has_value());
}

std::string OfPattern(std::string_view text, PatternMode mode) {
  return SubjectOf(*Pattern::Compile(text, mode)).value_or("none");
}

TEST(NatsSubject, OfAGlobIsItsWholeTokens) {
  for (const auto& [glob, subject] : Pairs{{"*", ">"},
                                           {"news*", ">"},
                                           {"news.*", "news.>"},
                                           {"news.sp*", "news.>"},
                                           {"a.b.c?", "a.b.>"},
                                           {"a.[bc].d", "a.>"},
                                           {"a b.*", "%_a%20b.>"},
                                           {".*", "%_.>"},
                                           {"a\\*.x*", "a*.>"},
                                           {"a\\.b", "a.>"},
                                           {"plain.name", "plain.name"},
                                           {"plain name", "%_plain%20name"},
                                           {"", "%_"}}) {
    EXPECT_EQ(OfPattern(glob, PatternMode::kRedis), subject) << glob;
  }
}

TEST(NatsSubject, OfItsOwnPatternsIsThePattern) {
  for (const auto& [pattern, subject] : Pairs{{"*", "*"},
                                              {">", ">"},
                                              {"a.*.c.>", "a.*.c.>"},
                                              {"a*.b>", "a*.b>"},
                                              {"%_.x", "%_%25_.x"},
                                              {"a\x01.*", "%_a%01.*"}}) {
    EXPECT_EQ(OfPattern(pattern, PatternMode::kNats), subject) << pattern;
  }
}

}  // namespace
}  // namespace fio::nats_internal
