// Queue groups: one of each group gets a message.

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "fio/pubsub/broker.h"
#include "fio/pubsub/broker_test_util.h"
#include "fio/pubsub/delivery.h"
#include "fio/pubsub/lane.h"
#include "fio/pubsub/publish_options.h"
#include "fio/pubsub/subscribe_options.h"
#include "fio/pubsub/subscription.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using pubsub_internal::MustPublish;
using pubsub_internal::MustSubscribe;
using pubsub_internal::NoteIn;
using pubsub_internal::RunAll;
using pubsub_internal::Strings;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

TEST(PubSub, GroupGetsEachMessageOnce) {
  Broker broker;
  const std::shared_ptr<Lane> lane = broker.NewLane(nullptr);
  std::vector<Strings> seen(3);
  Strings outside;
  std::vector<Subscription> members;
  for (size_t i = 0; i < seen.size(); ++i) {
    members.push_back(MustSubscribe(i == 0 ? *lane : broker.main_lane(), broker,
                                    {.channel = "jobs", .group = "g"},
                                    NoteIn(seen[i])));
  }
  const Subscription alone =
      MustSubscribe(broker, {.channel = "jobs"}, NoteIn(outside));
  for (int i = 0; i < 9; ++i) MustPublish(broker, "jobs", absl::StrCat(i));
  RunAll(broker);
  RunAll(*lane);
  EXPECT_EQ(outside.size(), 9u);
  Strings all;
  for (const Strings& one : seen) {
    EXPECT_EQ(one.size(), 3u) << "they take turns";
    all.insert(all.end(), one.begin(), one.end());
  }
  EXPECT_THAT(all, ::testing::UnorderedElementsAreArray(outside));
}

TEST(PubSub, GroupsOfOtherNamesChannelsAndFilters) {
  Broker broker;
  Strings seen;
  std::vector<Subscription> members;
  const auto join = [&](SubscribeOptions options) {
    members.push_back(MustSubscribe(broker, std::move(options), NoteIn(seen)));
  };
  join({.channel = "jobs", .group = "g"});
  join({.channel = "jobs", .group = "h"});
  join({.channel = "jobs", .match = Match::kRedis, .group = "g"});
  join({.channel = "jobs", .match = Match::kNats, .group = "g"});
  join({.channel = "jobs", .filter = 1, .group = "g"});
  join({.channel = "other", .group = "g"});
  MustPublish(broker, "jobs", "x");
  RunAll(broker);
  EXPECT_EQ(seen.size(), 4u);
  seen.clear();
  MustPublish(broker, "jobs", "x", {.filter = 1});
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre("jobs=x"));
}

TEST(PubSub, GroupGoesOnWithoutWhoLeaves) {
  Broker broker;
  Strings first;
  Strings second;
  Subscription leaves =
      MustSubscribe(broker, {.channel = "jobs", .group = "g"}, NoteIn(first));
  Subscription stays =
      MustSubscribe(broker, {.channel = "jobs", .group = "g"}, NoteIn(second));
  leaves.Unsubscribe();
  for (int i = 0; i < 3; ++i) MustPublish(broker, "jobs", absl::StrCat(i));
  RunAll(broker);
  EXPECT_THAT(first, IsEmpty());
  EXPECT_THAT(second, ElementsAre("jobs=0", "jobs=1", "jobs=2"));
  stays.Unsubscribe();
  MustPublish(broker, "jobs", "nobody's");
  RunAll(broker);
  leaves =
      MustSubscribe(broker, {.channel = "jobs", .group = "g"}, NoteIn(first));
  MustPublish(broker, "jobs", "again");
  RunAll(broker);
  EXPECT_THAT(first, ElementsAre("jobs=again"));
  EXPECT_EQ(second.size(), 3u);
}

TEST(PubSub, GroupGoesOnWithoutALaneThatEnds) {
  Broker broker;
  std::shared_ptr<Lane> lane = broker.NewLane(nullptr);
  Strings first;
  Strings second;
  Subscription gone =
      MustSubscribe(*lane, broker,
                    {.channel = "jobs",
                     .group = "g",
                     .on_unsubscribe = [&] { first.push_back("end"); }},
                    NoteIn(first));
  const Subscription stays =
      MustSubscribe(broker, {.channel = "jobs", .group = "g"}, NoteIn(second));
  lane = nullptr;
  EXPECT_THAT(first, ElementsAre("end"));
  EXPECT_FALSE(gone.active());
  for (int i = 0; i < 3; ++i) MustPublish(broker, "jobs", absl::StrCat(i));
  RunAll(broker);
  EXPECT_EQ(second.size(), 3u);
}

// Another member gets it, and not nobody.
TEST(PubSub, GroupPassesOverTheSender) {
  Broker broker;
  Strings sender;
  Strings other;
  const Subscription one = MustSubscribe(
      broker, {.channel = "jobs", .group = "g", .owner = 7}, NoteIn(sender));
  Subscription two = MustSubscribe(
      broker, {.channel = "jobs", .group = "g", .owner = 8}, NoteIn(other));
  for (int i = 0; i < 4; ++i) MustPublish(broker, "jobs", "x", {.from = 7});
  RunAll(broker);
  EXPECT_THAT(sender, IsEmpty());
  EXPECT_EQ(other.size(), 4u);
  two.Unsubscribe();
  MustPublish(broker, "jobs", "x", {.from = 7});
  RunAll(broker);
  EXPECT_THAT(sender, IsEmpty());
}

TEST(PubSub, GroupMembersMayDefer) {
  Broker broker;
  Strings seen;
  const auto note = [&, deferred = false](Delivery& delivery) mutable {
    seen.push_back(std::string(delivery.body()));
    if (!deferred) delivery.Defer();
    deferred = true;
  };
  const Subscription one =
      MustSubscribe(broker, {.channel = "jobs", .group = "g"}, note);
  const Subscription two =
      MustSubscribe(broker, {.channel = "jobs", .group = "g"}, note);
  MustPublish(broker, "jobs", "a");
  MustPublish(broker, "jobs", "b");
  MustPublish(broker, "jobs", "c");
  RunAll(broker);
  EXPECT_THAT(seen, UnorderedElementsAre("a", "a", "b", "b", "c"));
}

}  // namespace
}  // namespace fio
