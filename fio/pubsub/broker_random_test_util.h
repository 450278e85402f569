// What a random program subscribes to, what it knows of its subscriptions, and
// its engines: see broker_random_test.cc.
//
// Thread safety: none.

#ifndef FIO_PUBSUB_BROKER_RANDOM_TEST_UTIL_H_
#define FIO_PUBSUB_BROKER_RANDOM_TEST_UTIL_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "fio/pubsub/engine.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/subscribe_options.h"
#include "fio/pubsub/subscription.h"
#include "gtest/gtest.h"

namespace fio::pubsub_internal {

struct TopicOfTest {
  std::string_view channel;
  Match match;
};
inline constexpr TopicOfTest kTopics[] = {
    {"a", Match::kExact},    {"kept", Match::kExact}, {"", Match::kExact},
    {"*", Match::kRedis},    {"a*", Match::kRedis},   {"k*t", Match::kRedis},
    {"kept", Match::kRedis}, {">", Match::kNats},     {"*.b", Match::kNats},
};
inline constexpr std::string_view kChannels[] = {"a", "kept", "", "a.b"};

// As pattern.h says, for the topics and channels of the test.
inline bool Matches(const TopicOfTest& topic, std::string_view channel) {
  if (topic.match == Match::kExact) return topic.channel == channel;
  if (topic.match == Match::kNats) {
    return topic.channel == ">" ? !channel.empty() : channel == "a.b";
  }
  if (topic.channel == "*") return !channel.empty();
  if (topic.channel == "a*") return channel.substr(0, 1) == "a";
  return channel == "kept";
}

// Callbacks that were given together, and what has become of them.
struct Callbacks {
  int ended = 0;  // on_unsubscribe.
  int slow = 0;
};

struct Sub {
  TopicOfTest topic;
  int32_t filter = 0;
  uint64_t owner = 0;
  int lane = 0;
  std::string group;
  std::optional<Subscription> handle;
  Callbacks* now = nullptr;
  bool ended = false;
  bool replays = false;
  bool replay_ended = false;
  size_t past = 0;  // So many of `expected` were there before.
  // What it must get, in order; of a group: what it may get.
  std::vector<int> expected;
  size_t next = 0;
  bool again = false;  // It has deferred the last one.
  uint64_t lost = 0;   // As Delivery::lost() has told.
  uint64_t replay_lost = 0;
};

// Of a group: one of those gets it.
struct Ticket {
  std::vector<Sub*> members;
  int got = 0;
};

// Checks what it is told, and does something in each callback.
class RandomEngine final : public Engine {
 public:
  RandomEngine(std::function<void()> act, bool echo)
      : act_(std::move(act)), echo_(echo) {}

  void OnAttach() override { act_(); }
  void OnDetach() override { act_(); }
  void Subscribe(std::string_view channel, Match match) override {
    EXPECT_TRUE(attached);
    EXPECT_TRUE(topics.emplace(channel, match).second) << channel;
    act_();
  }
  void Unsubscribe(std::string_view channel, Match match) override {
    EXPECT_TRUE(attached);
    EXPECT_EQ(topics.erase({std::string(channel), match}), 1u) << channel;
    act_();
  }
  void Publish(const Message& message) override {
    ASSERT_LT(next, expected.size());
    EXPECT_EQ(absl::StrCat(expected[next++]), message.body());
    act_();
  }
  bool local_echo() const override { return echo_; }

  // What the program knows of it.
  bool attached = false;
  int attachments = 0;
  std::vector<int> expected;  // Its messages.
  size_t next = 0;
  // What it was told.
  std::set<std::pair<std::string, Match>> topics;

 private:
  const std::function<void()> act_;
  const bool echo_;
};

}  // namespace fio::pubsub_internal

#endif  // FIO_PUBSUB_BROKER_RANDOM_TEST_UTIL_H_
