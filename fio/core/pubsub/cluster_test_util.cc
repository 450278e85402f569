#include "fio/core/pubsub/cluster_test_util.h"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "fio/core/exit_with.h"
#include "fio/core/loop/loop.h"
#include "fio/core/poller/event.h"
#include "fio/core/process/lifecycle.h"
#include "fio/pubsub/publish_options.h"

namespace fio::pubsub_internal {
namespace {

// What a process says to the root when it has obeyed.
constexpr std::string_view kReady = "fio.test.ready";

Reach ReachOf(std::string_view word) {
  if (word == "process") return Reach::kProcess;
  if (word == "siblings") return Reach::kSiblings;
  if (word == "root") return Reach::kRoot;
  ABSL_CHECK_EQ(word, "cluster");
  return Reach::kCluster;
}

}  // namespace

Orders::Orders() {
  for (Pair& pair : pairs_) {
    std::array<int, 2> ends;
    ABSL_CHECK_EQ(
        socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    for (size_t i = 0; i < 2; ++i) pair[i] = UniqueFd(ends[i]);
  }
}

void Orders::Give(int place, std::string_view order) const {
  ABSL_CHECK_EQ(send(Of(place)[1].get(), order.data(), order.size(), 0),
                static_cast<ssize_t>(order.size()));
}

void TracingEngine::Subscribe(std::string_view channel, Match /*match*/) {
  trace_.Tell(absl::StrCat("engine +", channel));
}
void TracingEngine::Unsubscribe(std::string_view channel, Match /*match*/) {
  trace_.Tell(absl::StrCat("engine -", channel));
}
void TracingEngine::Publish(const Message& message) {
  trace_.Tell(absl::StrCat("engine ", message.channel(), ": ", message.body()));
}

ReactorOptions Node::Workers(int workers) {
  return {.threads = 1,
          .workers = workers,
          .respawn_delay = absl::ZeroDuration(),
          .max_respawn_delay = absl::ZeroDuration()};
}

Node::Node(const core_internal::Trace& trace, const Orders& orders,
           const ReactorOptions& options, const PubSubOptions& pubsub)
    : trace_(trace),
      orders_(orders),
      reactor_(options),
      pubsub_(reactor_, pubsub) {
  trace_.Follow(reactor_.lifecycle());
  On("sub", [this](const Words& words) {
    Subscribe({.channel = words.at(1),
               .group = words.size() > 2 ? words[2] : std::string_view()});
    TellReady(words[1]);
  });
  On("psub", [this](const Words& words) {
    Subscribe({.channel = words.at(1), .match = Match::kRedis});
    TellReady(words[1]);
  });
  On("unsub", [this](const Words& words) {
    subscriptions_.erase(words.at(1));
    TellReady(words[1]);
  });
  On("pub", [this](const Words& words) { Publish(words); });
  On("stop", [this](const Words&) { reactor_.Stop(); });
  Keep(*pubsub_.Subscribe({.channel = kReady}, [this](Delivery& delivery) {
    trace_.Tell(absl::StrCat("ready ", delivery.body()));
  }));
}

int Node::place() const {
  return getpid() == reactor_.root_pid() && !reactor_.is_worker()
             ? Orders::kRoot
             : reactor_.worker_place();
}

void Node::On(std::string name, std::function<void(const Words&)> obey) {
  obeyed_[std::move(name)] = std::move(obey);
}

int Node::Run() {
  reactor_.Defer([this] { Begin(); });
  return ExitWith(reactor_.Run());
}

void Node::Begin() {
  const int fd = orders_.fd(place());
  const auto watch = reactor_.loop().Watch(
      fd, Interest::kReadable, Trigger::kLevel, [this](Readiness) { Read(); });
  ABSL_CHECK_OK(watch);
  reactor_.loop().Unref(*watch);
  trace_.Tell(absl::StrCat("place ", place()));
  TellReady("up");
}

void Node::Read() {
  std::array<char, 256> bytes;
  const ssize_t got =
      recv(orders_.fd(place()), bytes.data(), bytes.size(), MSG_DONTWAIT);
  if (got < 0) return;
  const std::string_view order(bytes.data(), static_cast<size_t>(got));
  const Words words = absl::StrSplit(order, ' ');
  const auto found = obeyed_.find(words.at(0));
  ABSL_CHECK(found != obeyed_.end()) << order;
  found->second(words);
}

void Node::Subscribe(SubscribeOptions options) {
  const std::string channel(options.channel);
  auto subscription =
      pubsub_.Subscribe(std::move(options), [this, channel](Delivery& it) {
        trace_.Tell(absl::StrCat("got ", channel, " ", it.body()));
      });
  ABSL_CHECK_OK(subscription);
  subscriptions_[channel] = *std::move(subscription);
}

void Node::Publish(const Words& words) {
  const absl::Status published = pubsub_.Publish(
      words.at(2), words.at(3), {.reach = ReachOf(words.at(1))});
  if (!published.ok()) trace_.Tell(absl::StrCat("refused ", words.at(3)));
}

void Node::TellReady(std::string_view channel) {
  ABSL_CHECK_OK(pubsub_.Publish(kReady, channel, {.reach = Reach::kRoot}));
}

}  // namespace fio::pubsub_internal
