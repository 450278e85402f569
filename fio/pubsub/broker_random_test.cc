// Random programs over a Broker, in which everything is called from everywhere:
// of each subscription is known what it must get, and in which order.
//
// A program is a function of its seed, so one that fails can be run again:
// FIO_RANDOM_SEED is the first, FIO_RANDOM_RUNS how many follow.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "fio/pubsub/broker.h"
#include "fio/pubsub/broker_random_test_util.h"
#include "fio/pubsub/delivery.h"
#include "fio/pubsub/history_options.h"
#include "fio/pubsub/internal/message_block.h"
#include "fio/pubsub/lane.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/publish_options.h"
#include "fio/pubsub/subscribe_options.h"
#include "fio/pubsub/subscription.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using pubsub_internal::Callbacks;
using pubsub_internal::kChannels;
using pubsub_internal::kTopics;
using pubsub_internal::MessageBlock;
using pubsub_internal::RandomEngine;
using pubsub_internal::Sub;
using pubsub_internal::Ticket;

constexpr int kSteps = 300;
constexpr int kMaxDepth = 3;  // Of calls in callbacks.
constexpr size_t kKept = 5;   // Messages of "kept" in history.

class World {
 public:
  explicit World(uint64_t seed)
      : random_(seed),
        owned_(std::make_unique<Broker>()),
        broker_(owned_.get()),
        engines_{{[this] { ActInEngine(); }, true},
                 {[this] { ActInEngine(); }, false}} {
    EXPECT_TRUE(
        broker_->KeepHistory("kept", Match::kExact, {.max_messages = kKept})
            .ok());
    lanes_.resize(4);
    running_.resize(4);
  }

  void Run() {
    for (int i = 0; i < kSteps; ++i) {
      ++step_;
      Act();
      if (Draw(4) == 0) RunLane(Draw(4));
    }
    Settle();
    CheckAll();
    End();
  }

  // Something, from wherever this is called.
  void Act() {
    if (depth_ >= kMaxDepth) return;
    ++depth_;
    Do(Draw(ending_ ? 6 : 20));
    --depth_;
  }

 private:
  void ActInEngine() {
    const bool was = std::exchange(in_engine_, true);
    Act();
    in_engine_ = was;
  }

  void Do(int what) {
    if (what < 6) return Publish();
    if (what < 9) return Subscribe();
    if (what < 11) return Unsubscribe();
    if (what < 13) return Replace();
    if (what < 15) return RunLane(Draw(4));
    if (what == 15) return ToggleEngine(engines_[Draw(2)]);
    if (what == 16) return PublishToEngine(engines_[Draw(2)]);
    if (what == 17) return ToggleBuilder();
    if (what == 18 && Draw(3) == 0) return EndLane(1 + Draw(3));
    Sub* const sub = Pick();
    if (sub == nullptr) return;
    if (Draw(8) != 0) return sub->handle->Resume();
    sub->handle->Keep();
    sub->handle = std::nullopt;
  }

  int Draw(int below) {
    return static_cast<int>(random_() % static_cast<uint64_t>(below));
  }

  // One with a handle.
  Sub* Pick() {
    std::vector<Sub*> some;
    for (const auto& sub : subs_) {
      if (!sub->ended && sub->handle.has_value()) some.push_back(sub.get());
    }
    return some.empty() ? nullptr : some[Draw(static_cast<int>(some.size()))];
  }

  Lane& LaneOf(int lane) {
    if (lane == 0) return broker_->main_lane();
    if (lanes_[lane] == nullptr) lanes_[lane] = broker_->NewLane(nullptr);
    return *lanes_[lane];
  }

  void RunLane(int lane) {
    if (lane != 0 && lanes_[lane] == nullptr) return;
    ++running_[lane];
    int left = 1 + Draw(20);
    LaneOf(lane).Run([&] { return --left == 0; });
    --running_[lane];
  }

  void EndLane(int lane) {
    if (running_[lane] > 0 || lanes_[lane] == nullptr) return;
    const std::shared_ptr<Lane> it = std::exchange(lanes_[lane], nullptr);
    for (const auto& sub : subs_) {
      if (sub->lane == lane) sub->ended = true;
    }
  }

  void ToggleEngine(RandomEngine& engine) {
    const bool was = engine.attached;
    if (in_engine_) {
      const absl::Status status =
          was ? broker_->Detach(engine) : broker_->Attach(engine);
      EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
      return;
    }
    engine.attached = !was;
    ++engine.attachments;
    engine.expected.clear();
    engine.topics.clear();
    engine.next = 0;
    EXPECT_TRUE((was ? broker_->Detach(engine) : broker_->Attach(engine)).ok());
  }

  void ToggleBuilder() {
    if (builder_ != MetadataId::kNone) {
      EXPECT_TRUE(broker_->RemoveMetadata(builder_));
      builder_ = MetadataId::kNone;
      return;
    }
    builder_ = broker_->AddMetadata(
        [this, alive = std::make_shared<int>()](const Message& message) {
          if (Draw(4) == 0) Act();
          ++*alive;
          return std::make_shared<std::string>(message.body());
        });
  }

  // --- Publishing ---

  void Publish() {
    const std::string_view channel = kChannels[Draw(4)];
    const PublishOptions options{.filter = Draw(5) == 0 ? 7 : 0,
                                 .from = static_cast<uint64_t>(Draw(3)),
                                 .total_order = Draw(8) == 0};
    const int id = ++last_id_;
    EXPECT_TRUE(broker_->Publish(channel, absl::StrCat(id), options).ok());
    Expect(id, channel, options);
  }

  void PublishToEngine(RandomEngine& engine) {
    const std::string_view channel = kChannels[Draw(4)];
    const PublishOptions options{.engine = &engine};
    const int id = ++last_id_;
    const bool attached = engine.attached;
    const int attachments = engine.attachments;
    const absl::Status status =
        broker_->Publish(channel, absl::StrCat(id), options);
    EXPECT_EQ(status.ok(), attached) << status;
    if (!status.ok()) return;
    if (engine.local_echo()) Expect(id, channel, options);
    // A builder may have detached it meanwhile.
    if (engine.attachments == attachments) engine.expected.push_back(id);
  }

  void Expect(int id, std::string_view channel, const PublishOptions& options) {
    if (channel == "kept" && options.filter == 0) history_.push_back(id);
    std::map<std::tuple<std::string_view, Match, std::string>, Ticket> groups;
    for (const auto& sub : subs_) {
      if (sub->ended || sub->filter != options.filter ||
          !Matches(sub->topic, channel)) {
        continue;
      }
      if (sub->owner != 0 && sub->owner == options.from) continue;
      sub->expected.push_back(id);
      if (sub->group.empty()) continue;
      groups[{sub->topic.channel, sub->topic.match, sub->group}]
          .members.push_back(sub.get());
    }
    for (auto& [key, ticket] : groups) tickets_[id].push_back(ticket);
  }

  // --- Subscribing ---

  SlowOptions DrawSlow() {
    if (Draw(2) == 0) return {};
    return {.policy = static_cast<SlowPolicy>(Draw(3)),
            .max_messages = static_cast<size_t>(Draw(4))};
  }

  OnMessage NewOnMessage(Sub* sub, Callbacks* it) {
    return [this, sub, it, alive = std::make_unique<int>()](Delivery& d) {
      OnDelivery(*sub, *it, d);
      ++*alive;
    };
  }

  SubscribeOptions NewOptions(Sub* sub, Callbacks* it) {
    return {.channel = sub->topic.channel,
            .match = sub->topic.match,
            .filter = sub->filter,
            .group = sub->group,
            .slow = sub->group.empty() ? DrawSlow() : SlowOptions(),
            .on_slow =
                [this, sub, it, alive = std::make_unique<int>()] {
                  EXPECT_EQ(it->slow++, 0);
                  EXPECT_EQ(it->ended, 0);
                  sub->ended = true;
                  Act();
                  ++*alive;
                },
            .on_replay_end =
                [this, sub, it,
                 alive = std::make_unique<int>()](const ReplayEnd& end) {
                  sub->replay_lost = end.lost;
                  EXPECT_EQ(it->ended, 0);
                  EXPECT_TRUE(sub->replays);
                  EXPECT_FALSE(std::exchange(sub->replay_ended, true));
                  EXPECT_GE(sub->next, sub->past);
                  Act();
                  ++*alive;
                },
            .on_unsubscribe =
                [this, it, alive = std::make_unique<int>()] {
                  EXPECT_EQ(it->ended++, 0);
                  Act();
                  ++*alive;
                },
            .owner = sub->owner};
  }

  Callbacks* NewCallbacks() {
    callbacks_.push_back(std::make_unique<Callbacks>());
    return callbacks_.back().get();
  }

  void Subscribe() {
    subs_.push_back(std::make_unique<Sub>());
    Sub* const sub = subs_.back().get();
    sub->ended = true;  // Until it has begun.
    sub->topic = kTopics[Draw(9)];
    sub->filter = Draw(6) == 0 ? 7 : 0;
    sub->owner = Draw(3);
    sub->lane = Draw(4);
    if (Draw(4) == 0) sub->group = "group";
    Callbacks* const it = sub->now = NewCallbacks();
    Lane& lane = LaneOf(sub->lane);
    if (sub->topic.channel == "kept" && sub->topic.match == Match::kExact &&
        Draw(2) == 0) {
      sub->group = "";
      sub->filter = 0;
      sub->owner = 0;
      sub->replays = true;
    }
    SubscribeOptions options = NewOptions(sub, it);
    if (sub->replays) options.replay = BeginReplay(*sub);
    absl::StatusOr<Subscription> begun =
        broker_->Subscribe(lane, std::move(options), NewOnMessage(sub, it));
    if (in_engine_) {
      EXPECT_EQ(begun.status().code(), absl::StatusCode::kFailedPrecondition);
      EXPECT_EQ(it->ended, 1);
      return;
    }
    ASSERT_TRUE(begun.ok()) << begun.status();
    sub->ended = false;
    sub->handle = *std::move(begun);
  }

  ReplayFrom BeginReplay(Sub& sub) {
    const size_t had = history_.size();
    ReplayFrom from;
    size_t first = had - std::min(had, kKept);
    if (Draw(2) == 0) {
      first = static_cast<size_t>(Draw(static_cast<int>(had) + 1));
      from.after_sequence = first;
    }
    sub.expected.assign(history_.begin() + static_cast<ptrdiff_t>(first),
                        history_.end());
    sub.past = had - first;
    return from;
  }

  void Unsubscribe() {
    Sub* const sub = Pick();
    if (sub == nullptr) return;
    sub->ended = true;
    sub->handle->Unsubscribe();
    EXPECT_FALSE(sub->handle->active());
    sub->handle = std::nullopt;
  }

  void Replace() {
    Sub* const sub = Pick();
    if (sub == nullptr || !sub->group.empty()) return;
    EXPECT_TRUE(sub->handle->active());
    Callbacks* const it = NewCallbacks();
    SubscribeOptions options = NewOptions(sub, it);
    OnMessage on_message = NewOnMessage(sub, it);
    EXPECT_TRUE(broker_->Replace(*sub->handle, options, on_message));
  }

  // --- What comes ---

  void OnDelivery(Sub& sub, const Callbacks& it, Delivery& delivery) {
    EXPECT_EQ(it.ended, 0) << "step " << step_;
    EXPECT_FALSE(sub.ended) << "step " << step_;
    int id = 0;
    EXPECT_TRUE(absl::SimpleAtoi(delivery.body(), &id));
    if (builder_ != MetadataId::kNone) {
      const auto* const made =
          delivery.message().metadata<std::string>(builder_);
      EXPECT_TRUE(made == nullptr || *made == delivery.body());
    }
    if (sub.group.empty()) {
      Find(sub, id, delivery);
    } else {
      FindTicket(sub, id);
    }
    sub.again = false;
    // Before what comes next, so that a nested run of the lane would be seen.
    const int what = settling_ ? 11 : Draw(12);
    if (what < 3) sub.again = true;
    if (what == 0) delivery.Park();
    if (what == 1 || what == 2) delivery.Defer();
    if (Draw(2) == 0) Act();
  }

  void Find(Sub& sub, int id, const Delivery& delivery) {
    if (sub.again) {
      ASSERT_GT(sub.next, 0u);
      ASSERT_EQ(sub.expected[sub.next - 1], id) << "step " << step_;
      return;
    }
    sub.next += delivery.lost();
    sub.lost += delivery.lost();
    ASSERT_LT(sub.next, sub.expected.size()) << "step " << step_;
    ASSERT_EQ(sub.expected[sub.next], id) << "step " << step_;
    ++sub.next;
    if (sub.replays) {
      EXPECT_EQ(delivery.replayed(), !sub.replay_ended);
    }
  }

  void FindTicket(Sub& sub, int id) {
    if (sub.again) return;
    for (Ticket& ticket : tickets_[id]) {
      const auto& members = ticket.members;
      if (std::find(members.begin(), members.end(), &sub) == members.end()) {
        continue;
      }
      EXPECT_EQ(ticket.got++, 0);
      return;
    }
    ADD_FAILURE() << "a member has got what is not for it";
  }

  // --- The end ---

  // Nothing waits but for Resume().
  void Settle() {
    depth_ = kMaxDepth;
    settling_ = true;
    for (int i = 0; i < 40; ++i) {
      for (const auto& sub : subs_) {
        if (!sub->ended && sub->handle.has_value()) sub->handle->Resume();
      }
      for (int lane = 0; lane < 4; ++lane) LaneOf(lane).Run();
    }
  }

  void CheckAll() {
    std::set<std::pair<std::string, Match>> topics;
    for (const auto& sub : subs_) {
      if (sub->ended) continue;
      if (sub->filter == 0) {
        topics.emplace(std::string(sub->topic.channel), sub->topic.match);
      }
      if (!sub->group.empty() || !sub->handle.has_value()) continue;
      const SubscriptionStats stats = sub->handle->stats();
      EXPECT_EQ(stats.waiting, 0u);
      const uint64_t lost_behind = stats.dropped + sub->replay_lost - sub->lost;
      EXPECT_EQ(sub->next + lost_behind, sub->expected.size());
      EXPECT_EQ(stats.delivered, sub->next - sub->lost);
      EXPECT_EQ(sub->replays && !sub->replay_ended, false);
    }
    for (const RandomEngine& engine : engines_) {
      if (!engine.attached) continue;
      EXPECT_EQ(engine.topics, topics);
      EXPECT_EQ(engine.next, engine.expected.size());
    }
    for (const auto& [id, tickets] : tickets_) {
      for (const Ticket& ticket : tickets) CheckTicket(ticket);
    }
  }

  static void CheckTicket(const Ticket& ticket) {
    EXPECT_LE(ticket.got, 1);
    for (const Sub* const member : ticket.members) {
      if (member->ended || !member->handle.has_value() ||
          member->handle->stats().waiting > 0 ||
          member->handle->stats().dropped > 0) {
        return;
      }
    }
    EXPECT_EQ(ticket.got, 1);
  }

  void End() {
    depth_ = 0;
    if (Draw(2) == 0) {
      for (int lane = 1; lane < 4; ++lane) EndLane(lane);
    }
    ending_ = true;
    for (const auto& sub : subs_) sub->ended = true;
    if (Draw(2) == 0) {
      for (const auto& sub : subs_) sub->handle = std::nullopt;
    }
    owned_ = nullptr;
    depth_ = kMaxDepth;
    lanes_.clear();
    for (const auto& sub : subs_) sub->handle = std::nullopt;
    for (const auto& it : callbacks_) EXPECT_EQ(it->ended, 1);
  }

  std::mt19937_64 random_;
  int step_ = 0;
  int depth_ = 0;
  std::unique_ptr<Broker> owned_;
  Broker* const broker_;
  RandomEngine engines_[2];
  std::vector<std::shared_ptr<Lane>> lanes_;
  std::vector<int> running_;
  std::vector<std::unique_ptr<Sub>> subs_;
  std::vector<std::unique_ptr<Callbacks>> callbacks_;
  MetadataId builder_ = MetadataId::kNone;
  int last_id_ = 0;
  std::vector<int> history_;  // All that was ever kept, in order.
  std::map<int, std::vector<Ticket>> tickets_;
  bool in_engine_ = false;
  bool settling_ = false;
  bool ending_ = false;
};

int FromEnvironment(const char* name, int otherwise) {
  const char* const value = std::getenv(name);
  int number = 0;
  return value != nullptr && absl::SimpleAtoi(value, &number) ? number
                                                              : otherwise;
}

TEST(BrokerRandom, EachSubscriptionGetsWhatIsForItInOrder) {
  const int first = FromEnvironment("FIO_RANDOM_SEED", 1);
  const int runs = FromEnvironment("FIO_RANDOM_RUNS", 100);
  for (int seed = first; seed < first + runs; ++seed) {
    SCOPED_TRACE(seed);
    World(static_cast<uint64_t>(seed)).Run();
    ASSERT_EQ(MessageBlock::live(), 0);
    if (::testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace fio
