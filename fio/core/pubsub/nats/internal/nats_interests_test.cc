#include "fio/core/pubsub/nats/internal/nats_interests.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "fio/pubsub/subscribe_options.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio::nats_internal {
namespace {

using ::testing::ElementsAre;
using Added = NatsInterests::Added;

uint64_t MustAdd(NatsInterests& interests, std::string_view channel,
                 Match match = Match::kExact) {
  uint64_t sid = 0;
  EXPECT_EQ(interests.Add(channel, match, sid), Added::kNew) << channel;
  return sid;
}

std::vector<std::string> All(const NatsInterests& interests) {
  std::vector<std::string> all;
  interests.ForEach([&all](uint64_t sid, std::string_view subject) {
    all.push_back(absl::StrCat(sid, " ", subject));
  });
  return all;
}

TEST(NatsInterests, EachHasASid) {
  NatsInterests interests;
  uint64_t sid = 0;
  MustAdd(interests, "b");
  MustAdd(interests, "b", Match::kRedis);
  MustAdd(interests, "a.*", Match::kRedis);
  MustAdd(interests, "a.*", Match::kNats);
  EXPECT_EQ(interests.Add("a.*", Match::kNats, sid), Added::kKnown);
  EXPECT_THAT(All(interests), ElementsAre("1 b", "2 b", "3 a.>", "4 a.*"));
  EXPECT_EQ(interests.Remove("a.*", Match::kRedis), 3u);
  EXPECT_EQ(interests.Remove("a.*", Match::kRedis), std::nullopt);
  EXPECT_EQ(MustAdd(interests, "a.*", Match::kRedis), 5u) << "never reused";
  EXPECT_THAT(All(interests), ElementsAre("1 b", "2 b", "4 a.*", "5 a.>"));
  EXPECT_EQ(interests.subject(4), "a.*");
}

TEST(NatsInterests, NoSubject) {
  NatsInterests interests;
  uint64_t sid = 0;
  EXPECT_EQ(interests.Add(std::string(5000, 'a'), Match::kExact, sid),
            Added::kNoSubject);
  EXPECT_EQ(interests.Add("a..b", Match::kNats, sid), Added::kNoSubject);
  EXPECT_EQ(interests.size(), 0u);
}

TEST(NatsInterests, TheOldestThatMatchesCounts) {
  NatsInterests interests;
  const uint64_t exact = MustAdd(interests, "a.b");
  EXPECT_TRUE(interests.Counts(exact, "a.b"));
  EXPECT_FALSE(interests.Counts(exact, "a.c"));
  EXPECT_FALSE(interests.Counts(exact + 1, "a.b"));
  const uint64_t glob = MustAdd(interests, "a.*", Match::kRedis);
  const uint64_t subject = MustAdd(interests, "*.c", Match::kNats);
  const uint64_t later = MustAdd(interests, "a.d");
  EXPECT_TRUE(interests.Counts(exact, "a.b"));
  EXPECT_FALSE(interests.Counts(glob, "a.b"));
  EXPECT_TRUE(interests.Counts(glob, "a.c"));
  EXPECT_FALSE(interests.Counts(subject, "a.c"));
  EXPECT_TRUE(interests.Counts(subject, "b.c"));
  EXPECT_TRUE(interests.Counts(glob, "a.d"));
  EXPECT_FALSE(interests.Counts(later, "a.d"));
  interests.Remove("a.*", Match::kRedis);
  EXPECT_TRUE(interests.Counts(later, "a.d"));
  EXPECT_TRUE(interests.Counts(subject, "a.c"));
  EXPECT_FALSE(interests.Counts(glob, "a.c"));
}

TEST(NatsInterests, Clear) {
  NatsInterests interests;
  MustAdd(interests, "a");
  const uint64_t glob = MustAdd(interests, "*", Match::kRedis);
  interests.Clear();
  EXPECT_EQ(interests.size(), 0u);
  EXPECT_FALSE(interests.Counts(glob, "a"));
  const uint64_t again = MustAdd(interests, "a");
  EXPECT_EQ(again, glob + 1);
  EXPECT_TRUE(interests.Counts(again, "a"));
}

// The server sends more than the pattern wants.
TEST(NatsInterests, WhatDoesNotMatchDoesNotCount) {
  NatsInterests interests;
  const uint64_t sid = MustAdd(interests, "a.b*", Match::kRedis);
  EXPECT_EQ(interests.subject(sid), "a.>");
  EXPECT_TRUE(interests.Counts(sid, "a.bc"));
  EXPECT_FALSE(interests.Counts(sid, "a.c"));
}

}  // namespace
}  // namespace fio::nats_internal
