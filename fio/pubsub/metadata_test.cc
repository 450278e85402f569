// What is made of a message once, for all who get it.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "fio/pubsub/broker.h"
#include "fio/pubsub/broker_test_util.h"
#include "fio/pubsub/delivery.h"
#include "fio/pubsub/internal/broker_core.h"
#include "fio/pubsub/internal/frame_header.h"
#include "fio/pubsub/internal/message_block.h"
#include "fio/pubsub/internal/topics.h"
#include "fio/pubsub/internal/uplink.h"
#include "fio/pubsub/lane.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/publish_options.h"
#include "fio/pubsub/subscribe_options.h"
#include "fio/pubsub/subscription.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using pubsub_internal::MessageBlock;
using pubsub_internal::MustPublish;
using pubsub_internal::MustSubscribe;
using pubsub_internal::RunAll;
using pubsub_internal::Strings;
using ::testing::ElementsAre;

// Of "body" it makes "<body>", and counts.
MetadataBuilder Brackets(int& built) {
  return [&built](const Message& message) {
    ++built;
    return std::make_shared<const std::string>(
        absl::StrCat("<", message.body(), ">"));
  };
}

OnMessage NoteMetadata(MetadataId id, Strings& seen) {
  return [id, &seen](Delivery& delivery) {
    const auto* const made = delivery.message().metadata<std::string>(id);
    seen.push_back(made == nullptr ? "none" : *made);
  };
}

TEST(PubSub, MetaOnce) {
  Broker broker;
  const std::shared_ptr<Lane> lane = broker.NewLane(nullptr);
  int built = 0;
  const MetadataId id = broker.AddMetadata(Brackets(built));
  ASSERT_NE(id, MetadataId::kNone);
  MustPublish(broker, "news", "nobody listens");
  EXPECT_EQ(built, 0);
  Strings seen;
  std::vector<Subscription> subscriptions;
  for (Lane* const one : {&broker.main_lane(), lane.get()}) {
    subscriptions.push_back(MustSubscribe(*one, broker, {.channel = "news"},
                                          NoteMetadata(id, seen)));
    subscriptions.push_back(
        MustSubscribe(*one, broker, {.channel = "n*", .match = Match::kRedis},
                      NoteMetadata(id, seen)));
  }
  MustPublish(broker, "news", "x");
  EXPECT_EQ(built, 1) << "not before it is delivered";
  RunAll(broker);
  RunAll(*lane);
  EXPECT_EQ(built, 1);
  EXPECT_THAT(seen, ElementsAre("<x>", "<x>", "<x>", "<x>"));
}

TEST(PubSub, MetaOfAGroupAndOfAFilter) {
  Broker broker;
  int built = 0;
  const MetadataId id = broker.AddMetadata(Brackets(built));
  Strings seen;
  const Subscription member = MustSubscribe(
      broker, {.channel = "jobs", .group = "g"}, NoteMetadata(id, seen));
  const Subscription filtered = MustSubscribe(
      broker, {.channel = "jobs", .filter = 1}, NoteMetadata(id, seen));
  MustPublish(broker, "jobs", "x", {.filter = 1});
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre("none"));
  EXPECT_EQ(built, 0);
  MustPublish(broker, "jobs", "x");
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre("none", "<x>"));
  MustPublish(broker, "jobs", "x", {.reach = Reach::kSiblings});
  EXPECT_EQ(built, 1) << "nobody of this process gets it";
}

TEST(PubSub, MetaCleanupOnce) {
  Broker broker;
  int alive = 0;
  int cleaned = 0;
  const MetadataId id = broker.AddMetadata([&](const Message&) {
    ++alive;
    return std::shared_ptr<const void>(new int(7), [&](const int* value) {
      --alive;
      ++cleaned;
      delete value;
    });
  });
  std::vector<Message> kept;
  const auto keep = [&](Delivery& delivery) {
    EXPECT_EQ(*delivery.message().metadata<int>(id), 7);
    kept.push_back(delivery.message());
  };
  const Subscription one = MustSubscribe(broker, {.channel = "news"}, keep);
  const Subscription two = MustSubscribe(broker, {.channel = "news"}, keep);
  MustPublish(broker, "news", "x");
  RunAll(broker);
  EXPECT_EQ(cleaned, 0);
  kept.pop_back();
  EXPECT_EQ(cleaned, 0) << "somebody still has it";
  EXPECT_EQ(alive, 1);
  kept.pop_back();
  EXPECT_EQ(cleaned, 1);
  EXPECT_EQ(alive, 0);
}

TEST(PubSub, MetaRemoveLive) {
  Broker broker;
  int built = 0;
  const MetadataId id = broker.AddMetadata(Brackets(built));
  Strings seen;
  const Subscription subscription =
      MustSubscribe(broker, {.channel = "news"}, NoteMetadata(id, seen));
  MustPublish(broker, "news", "before");
  EXPECT_TRUE(broker.RemoveMetadata(id));
  EXPECT_FALSE(broker.RemoveMetadata(id));
  MustPublish(broker, "news", "after");
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre("<before>", "none"));
  int built_anew = 0;
  EXPECT_NE(broker.AddMetadata(Brackets(built_anew)), id);
}

TEST(PubSub, MetaOfFourBuildersAtMost) {
  Broker broker;
  int built = 0;
  std::vector<MetadataId> ids;
  for (int i = 0; i < 4; ++i) {
    ids.push_back(broker.AddMetadata(Brackets(built)));
    EXPECT_NE(ids.back(), MetadataId::kNone);
  }
  EXPECT_EQ(broker.AddMetadata(Brackets(built)), MetadataId::kNone);
  EXPECT_EQ(broker.AddMetadata(nullptr), MetadataId::kNone);
  EXPECT_FALSE(broker.RemoveMetadata(MetadataId::kNone));
  EXPECT_TRUE(broker.RemoveMetadata(ids[1]));
  ids[1] = broker.AddMetadata([](const Message&) { return nullptr; });
  EXPECT_NE(ids[1], MetadataId::kNone);
  int calls = 0;
  const Subscription subscription =
      MustSubscribe(broker, {.channel = "news"}, [&](Delivery& delivery) {
        ++calls;
        const Message& message = delivery.message();
        EXPECT_EQ(message.metadata<std::string>(ids[1]), nullptr);
        for (const int i : {0, 2, 3}) {
          EXPECT_EQ(*message.metadata<std::string>(ids[i]), "<x>");
        }
      });
  MustPublish(broker, "news", "x");
  RunAll(broker);
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(built, 3);
}

// It was kept when nobody listened.
TEST(PubSub, MetaOfAReplayedMessage) {
  Broker broker;
  int built = 0;
  const MetadataId id = broker.AddMetadata(Brackets(built));
  ASSERT_TRUE(broker.KeepHistory("news", Match::kExact, {}).ok());
  MustPublish(broker, "news", "old");
  Strings seen;
  for (int i = 0; i < 2; ++i) {
    const Subscription subscription =
        MustSubscribe(broker, {.channel = "news", .replay = ReplayFrom()},
                      NoteMetadata(id, seen));
    RunAll(broker);
  }
  EXPECT_THAT(seen, ElementsAre("<old>", "<old>"));
  EXPECT_EQ(built, 1);
}

// As in a worker, whose root has the history.
class NotingUplink final : public pubsub_internal::Uplink {
 public:
  bool Send(const Message& /*message*/) override { return true; }
  void AskReplay(uint32_t request, std::string_view /*channel*/,
                 const ReplayFrom& /*from*/) override {
    requests.push_back(request);
  }
  void OnInterest(const pubsub_internal::Interest& /*interest*/) override {}

  std::vector<uint32_t> requests;
};

TEST(PubSub, MetaOfTheReplayedMaySubscribe) {
  Broker broker;
  NotingUplink uplink;
  broker.core().SetUplink(&uplink);
  Strings seen;
  Subscription inner;
  const MetadataId id = broker.AddMetadata([&](const Message&) {
    inner = MustSubscribe(broker, {.channel = "b", .replay = ReplayFrom{}},
                          NoteMetadata(MetadataId::kNone, seen));
    return std::make_shared<const std::string>("made");
  });
  const Subscription outer = MustSubscribe(
      broker, {.channel = "a", .replay = ReplayFrom{}}, NoteMetadata(id, seen));
  ASSERT_THAT(uplink.requests, ElementsAre(1u));
  broker.core().OnReplayItem(1, MessageBlock::New({.sequence = 1}, "a", "1"));
  broker.core().OnReplayEnd(1, {.last_sequence = 1});
  EXPECT_THAT(uplink.requests, ElementsAre(1u, 2u));
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre("made"));
  broker.core().SetUplink(nullptr);
}

}  // namespace
}  // namespace fio
