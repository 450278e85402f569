// Messages that are put off: Delivery::Defer(), Park(), Subscription::Resume().

#include <memory>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "fio/pubsub/broker.h"
#include "fio/pubsub/broker_test_util.h"
#include "fio/pubsub/delivery.h"
#include "fio/pubsub/lane.h"
#include "fio/pubsub/message.h"
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

// Notes the bodies. Puts off what is "A", so many times.
OnMessage DeferA(Strings& seen, int times) {
  return [&seen, times](Delivery& delivery) mutable {
    seen.push_back(std::string(delivery.body()));
    if (delivery.body() == "A" && times-- > 0) delivery.Defer();
  };
}

// Notes the bodies. Parks what is "A", once.
OnMessage ParkA(Strings& seen) {
  return [&seen, parked = false](Delivery& delivery) mutable {
    seen.push_back(std::string(delivery.body()));
    if (delivery.body() != "A" || parked) return;
    parked = true;
    delivery.Park();
  };
}

void PublishAll(Broker& broker, std::string_view letters) {
  for (const char letter : letters) {
    MustPublish(broker, "news", std::string_view(&letter, 1));
  }
}

TEST(PubSub, DeferKeepsMessage) {
  Broker broker;
  const MetadataId id = broker.AddMetadata([](const Message& message) {
    return std::make_shared<const std::string>(
        absl::StrCat("<", message.body(), ">"));
  });
  Message first;
  Message second;
  std::string made;
  const Subscription subscription =
      MustSubscribe(broker, {.channel = "news"}, [&](Delivery& delivery) {
        if (!first) {
          first = delivery.message();
          delivery.Defer();
          return;
        }
        second = delivery.message();
        made = *second.metadata<std::string>(id);
      });
  MustPublish(broker, "news", "x");
  broker.main_lane().Run();
  EXPECT_TRUE(first);
  EXPECT_FALSE(second) << "called again in the same Run()";
  EXPECT_EQ(subscription.stats().waiting, 1u);
  broker.main_lane().Run();
  EXPECT_EQ(first, second);
  EXPECT_EQ(second.body(), "x");
  EXPECT_EQ(made, "<x>");
  EXPECT_EQ(subscription.stats().delivered, 1u);
  EXPECT_EQ(subscription.stats().waiting, 0u);
}

TEST(PubSub, DeferKeepsOrder) {
  Broker broker;
  Strings seen;
  Strings other;
  const Subscription subscription =
      MustSubscribe(broker, {.channel = "news"}, DeferA(seen, 1));
  const Subscription quick =
      MustSubscribe(broker, {.channel = "news"}, NoteIn(other));
  PublishAll(broker, "ABC");
  broker.main_lane().Run();
  EXPECT_THAT(seen, ElementsAre("A"));
  EXPECT_EQ(other.size(), 3u) << "others need not wait";
  PublishAll(broker, "DE");
  broker.main_lane().Run();
  EXPECT_THAT(seen, ElementsAre("A", "A", "B", "C", "D", "E"));
}

TEST(PubSub, DeferOrder) {
  Broker broker;
  Strings seen;
  const Subscription subscription =
      MustSubscribe(broker, {.channel = "news"}, DeferA(seen, 3));
  PublishAll(broker, "AB");
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(broker.main_lane().Run([] { return false; })) << i;
    EXPECT_EQ(seen.size(), i + 1u);
  }
  EXPECT_FALSE(broker.main_lane().Run([] { return false; }));
  EXPECT_THAT(seen, ElementsAre("A", "A", "A", "A", "B"));
}

// More waits than is delivered at a time.
TEST(PubSub, DeferKeepsTheOrderOfMany) {
  Broker broker;
  int next = 0;
  bool deferred = false;
  const Subscription subscription =
      MustSubscribe(broker, {.channel = "news"}, [&](Delivery& delivery) {
        if (!deferred) {
          deferred = true;
          delivery.Defer();
          return;
        }
        EXPECT_EQ(delivery.body(), absl::StrCat(next));
        ++next;
      });
  int published = 0;
  for (int round = 0; round < 10; ++round) {
    for (int i = 0; i < 100; ++i) {
      MustPublish(broker, "news", absl::StrCat(published++));
    }
    broker.main_lane().Run();
  }
  RunAll(broker);
  EXPECT_EQ(next, published);
  EXPECT_EQ(subscription.stats().dropped, 0u);
}

TEST(PubSub, DeferThenUnsubscribe) {
  Broker broker;
  Strings seen;
  Subscription subscription = MustSubscribe(
      broker,
      {.channel = "news", .on_unsubscribe = [&] { seen.push_back("end"); }},
      DeferA(seen, 1'000'000));
  PublishAll(broker, "AB");
  broker.main_lane().Run();
  subscription.Unsubscribe();
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre("A", "end"));
}

TEST(PubSub, ParkWaitsForResume) {
  Broker broker;
  Strings seen;
  Subscription subscription =
      MustSubscribe(broker, {.channel = "news"}, ParkA(seen));
  PublishAll(broker, "AB");
  for (int i = 0; i < 3; ++i) {
    EXPECT_FALSE(broker.main_lane().Run([] { return false; }));
  }
  EXPECT_THAT(seen, ElementsAre("A"));
  EXPECT_EQ(subscription.stats().waiting, 2u);
  subscription.Resume();
  EXPECT_THAT(seen, ElementsAre("A")) << "delivered inside of Resume()";
  PublishAll(broker, "C");
  broker.main_lane().Run();
  EXPECT_THAT(seen, ElementsAre("A", "A", "B", "C"));
  EXPECT_EQ(subscription.stats().waiting, 0u);
  EXPECT_EQ(subscription.stats().delivered, 3u);
}

TEST(PubSub, ResumeBeforeParkCounts) {
  Broker broker;
  Strings seen;
  Subscription subscription =
      MustSubscribe(broker, {.channel = "news"}, ParkA(seen));
  subscription.Resume();
  broker.main_lane().Run();
  PublishAll(broker, "AB");
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre("A", "A", "B"));
}

TEST(PubSub, ResumeInsideOfTheCallbackCounts) {
  Broker broker;
  Strings seen;
  Subscription subscription;
  subscription =
      MustSubscribe(broker, {.channel = "news"}, [&](Delivery& delivery) {
        seen.push_back(std::string(delivery.body()));
        if (seen.size() > 1) return;
        subscription.Resume();
        delivery.Park();
      });
  PublishAll(broker, "AB");
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre("A", "A", "B"));
}

TEST(PubSub, ParkThenUnsubscribe) {
  Broker broker;
  Strings seen;
  Subscription subscription = MustSubscribe(
      broker,
      {.channel = "news", .on_unsubscribe = [&] { seen.push_back("end"); }},
      ParkA(seen));
  PublishAll(broker, "AB");
  RunAll(broker);
  subscription.Resume();
  subscription.Unsubscribe();
  subscription.Resume();  // Of nothing.
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre("A", "end"));
}

}  // namespace
}  // namespace fio
