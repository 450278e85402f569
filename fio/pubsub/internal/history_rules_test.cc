#include "fio/pubsub/internal/history_rules.h"

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/pubsub/history_options.h"
#include "fio/pubsub/subscribe_options.h"
#include "fio/testing/allocation_counter.h"
#include "gtest/gtest.h"

namespace fio::pubsub_internal {
namespace {

using testing::AllocationCounter;

// The max_messages of the rule for `channel`; 0 if there is none.
size_t Of(HistoryRules& rules, std::string_view channel) {
  const HistoryRule* const rule = rules.Find(channel);
  return rule == nullptr ? 0 : rule->options.max_messages;
}

void Add(HistoryRules& rules, std::string_view channel, Match match,
         size_t max_messages) {
  const absl::Status status =
      rules.Add(channel, match, {.max_messages = max_messages});
  ASSERT_TRUE(status.ok()) << status;
}

TEST(HistoryRules, FindsChannelsAndPatterns) {
  HistoryRules rules;
  EXPECT_TRUE(rules.empty());
  EXPECT_EQ(Of(rules, "news"), 0u);
  Add(rules, "news", Match::kExact, 1);
  Add(rules, "", Match::kExact, 2);
  EXPECT_EQ(Of(rules, "news"), 1u);
  EXPECT_EQ(Of(rules, ""), 2u);
  EXPECT_EQ(Of(rules, "news.a"), 0u);
  Add(rules, "news.*", Match::kRedis, 3);
  Add(rules, "a.*.c", Match::kNats, 4);
  EXPECT_FALSE(rules.empty());
  EXPECT_EQ(rules.rules().size(), 4u);
  EXPECT_EQ(Of(rules, "news"), 1u);
  EXPECT_EQ(Of(rules, "news.a"), 3u);
  EXPECT_EQ(Of(rules, "a.b.c"), 4u);
  EXPECT_EQ(Of(rules, "a.b.b.c"), 0u);
}

TEST(HistoryRules, TheFirstThatMatchesCounts) {
  HistoryRules rules;
  Add(rules, "a*", Match::kRedis, 1);
  Add(rules, "abc", Match::kExact, 2);
  Add(rules, "b", Match::kExact, 3);
  Add(rules, "b", Match::kExact, 4);
  Add(rules, "*", Match::kRedis, 5);
  Add(rules, "c", Match::kExact, 6);
  EXPECT_EQ(Of(rules, "abc"), 1u);
  EXPECT_EQ(Of(rules, "b"), 3u);
  EXPECT_EQ(Of(rules, "c"), 5u);
}

TEST(HistoryRules, ANewRuleCountsForChannelsThatWereAskedFor) {
  HistoryRules rules;
  Add(rules, "a*", Match::kRedis, 1);
  EXPECT_EQ(Of(rules, "b"), 0u);
  Add(rules, "b", Match::kExact, 2);
  EXPECT_EQ(Of(rules, "b"), 2u);
  EXPECT_EQ(Of(rules, "c"), 0u);
  Add(rules, "c*", Match::kRedis, 3);
  EXPECT_EQ(Of(rules, "c"), 3u);
}

// There are more channels than are remembered.
TEST(HistoryRules, RemembersOfEachChannelItsOwn) {
  HistoryRules rules;
  Add(rules, "*even", Match::kRedis, 1);
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 5000; ++i) {
      ASSERT_EQ(Of(rules, absl::StrCat(i, i % 2 == 0 ? "even" : "odd")),
                i % 2 == 0 ? 1u : 0u);
    }
  }
  EXPECT_EQ(Of(rules, std::string(60'000, 'c')), 0u);
  EXPECT_EQ(Of(rules, std::string(60'000, 'c') + "even"), 1u);
}

TEST(HistoryRules, AskedAgainDoesNotAllocate) {
  HistoryRules rules;
  Add(rules, "news.*", Match::kRedis, 1);
  const std::string long_name(1000, 'n');
  EXPECT_EQ(Of(rules, "sports"), 0u);
  const AllocationCounter counter;
  EXPECT_EQ(Of(rules, "sports"), 0u);
  EXPECT_EQ(Of(rules, long_name), 0u);
  EXPECT_EQ(counter.allocations(), 0);
}

TEST(HistoryRules, RefusesWhatKeepsNothing) {
  HistoryRules rules;
  for (const HistoryOptions& options :
       {HistoryOptions{.max_messages = 0}, HistoryOptions{.max_bytes = 0},
        HistoryOptions{.max_age = absl::ZeroDuration()},
        HistoryOptions{.max_age = -absl::Seconds(1)}}) {
    const absl::Status status = rules.Add("news", Match::kExact, options);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  }
  const std::string longest(65'535, 'c');
  EXPECT_TRUE(
      absl::IsInvalidArgument(rules.Add(longest + "c", Match::kExact, {})));
  EXPECT_TRUE(
      absl::IsInvalidArgument(rules.Add(longest + "c", Match::kRedis, {})));
  EXPECT_TRUE(absl::IsInvalidArgument(rules.Add("a..b", Match::kNats, {})));
  EXPECT_TRUE(rules.empty());
  EXPECT_TRUE(rules.Add(longest, Match::kExact, {}).ok());
  EXPECT_NE(rules.Find(longest), nullptr);
}

}  // namespace
}  // namespace fio::pubsub_internal
