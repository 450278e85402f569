#include "fio/pubsub/internal/share.h"

#include <memory>
#include <vector>

#include "fio/pubsub/broker.h"
#include "fio/pubsub/delivery.h"
#include "fio/pubsub/internal/subscriber.h"
#include "fio/pubsub/subscribe_options.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio::pubsub_internal {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

using Subscribers = std::vector<std::shared_ptr<Subscriber>>;

Subscribers TakeAll(Share& share) {
  Subscribers taken;
  share.TakeIf([](const Subscriber&) { return true; }, taken);
  return taken;
}

TEST(Share, RemovesWhoeverIsMeant) {
  Broker broker;
  Share share(broker.main_lane());
  Subscribers all;
  for (int i = 0; i < 4; ++i) {
    SubscribeOptions options;
    all.push_back(std::make_shared<Subscriber>(
        broker.main_lane(), options, [](Delivery&) {}, /*preset=*/false));
    share.Add(all.back());
  }
  share.Remove(*all[0]);  // The last one takes its place.
  share.Remove(*all[3]);
  share.Remove(*all[3]);  // Is not there.
  share.Remove(*all[1]);
  EXPECT_THAT(TakeAll(share), ElementsAre(all[2]));
  EXPECT_THAT(TakeAll(share), IsEmpty());
}

TEST(Share, TakesTheRightOnes) {
  Broker broker;
  Share share(broker.main_lane());
  Subscribers all;
  for (int i = 0; i < 4; ++i) {
    SubscribeOptions options;
    all.push_back(std::make_shared<Subscriber>(
        broker.main_lane(), options, [](Delivery&) {}, /*preset=*/i == 1));
    share.Add(all.back());
  }
  Subscribers taken;
  share.TakeIf([](const Subscriber& one) { return !one.preset(); }, taken);
  EXPECT_THAT(taken, ::testing::UnorderedElementsAre(all[0], all[2], all[3]));
  EXPECT_THAT(TakeAll(share), ElementsAre(all[1]));
}

}  // namespace
}  // namespace fio::pubsub_internal
