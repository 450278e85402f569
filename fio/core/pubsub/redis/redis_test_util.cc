#include "fio/core/pubsub/redis/redis_test_util.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <cerrno>
#include <cstddef>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "fio/base/clock.h"
#include "fio/base/unique_fd.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/pubsub/pub_sub.h"
#include "fio/core/pubsub/redis/redis_engine.h"
#include "fio/core/pubsub/redis/redis_options.h"
#include "fio/core/pubsub/redis/redis_reply.h"
#include "fio/core/reactor.h"
#include "fio/core/reactor_options.h"
#include "fio/pubsub/delivery.h"
#include "fio/pubsub/subscribe_options.h"

namespace fio::redis_testing {

Node::Node(std::string url, std::vector<Topic> topics, RedisOptions options,
           const Clock& clock)
    : thread_([this, url = std::move(url), topics = std::move(topics),
               options = std::move(options),
               &clock] { Run(url, topics, options, clock); }) {
  running_.WaitForNotification();
}

Node::~Node() {
  if (!thread_.joinable()) return;
  reactor_->Stop(absl::ZeroDuration());
  stopped_.Notify();
  thread_.join();
}

void Node::Stop() {
  reactor_->Stop();
  stopped_.Notify();
  thread_.join();
}

void Node::Run(const std::string& url, const std::vector<Topic>& topics,
               RedisOptions options, const Clock& clock) {
  Reactor reactor(
      {.threads = 1,
       .workers = 1,
       .signals = {.stop = {}, .restart = {}, .ignore_sigpipe = false},
       .linger_timeout = absl::ZeroDuration(),
       .loop = {.clock = &clock}});
  PubSub pubsub(reactor);
  options.on_lost = [this](const absl::Status& why) {
    Log(absl::StrCat("lost ", absl::StatusCodeToString(why.code()), " ",
                     why.message()));
  };
  options.on_connected = [this](const RedisGap& gap) {
    gap_ = gap;
    Log("connected");
  };
  reactor.lifecycle().Add(LifecycleEvent::kOnPubSubError,
                          [this] { Log("error"); });
  const absl::StatusOr<std::unique_ptr<RedisEngine>> engine =
      RedisEngine::Create(reactor, pubsub.broker(), url, std::move(options));
  ABSL_CHECK_OK(engine);
  reactor_ = &reactor;
  pubsub_ = &pubsub;
  engine_ = engine->get();
  for (const Topic& topic : topics) SubscribeNow(topic);
  ABSL_CHECK_OK(pubsub.broker().Attach(**engine));
  ABSL_CHECK_OK(pubsub.broker().SetDefault(**engine));
  ABSL_CHECK(reactor.Defer([this] { running_.Notify(); }));
  ABSL_CHECK_OK(reactor.Run());
  stopped_.WaitForNotification();
  subscribed_.clear();
}

void Node::SubscribeNow(const Topic& topic) {
  absl::StatusOr<fio::Subscription> subscription = pubsub_->Subscribe(
      {.channel = topic.channel, .match = topic.match},
      [this, topic](Delivery& delivery) {
        Log(absl::StrCat(topic.channel, " ", delivery.channel(), " ",
                         delivery.body()));
      });
  ABSL_CHECK_OK(subscription);
  subscribed_.push_back(
      {.topic = topic, .subscription = *std::move(subscription)});
}

void Node::Post(std::function<void()> task) {
  ABSL_CHECK(reactor_->Post(std::move(task)));
}

void Node::Do(const std::function<void()>& task) {
  absl::Notification done;
  Post([&] {
    task();
    done.Notify();
  });
  done.WaitForNotification();
}

void Node::Subscribe(const Topic& topic) {
  Do([&] { SubscribeNow(topic); });
}

void Node::Unsubscribe(const Topic& topic) {
  Do([&] {
    for (size_t i = subscribed_.size(); i-- > 0;) {
      if (subscribed_[i].topic.channel != topic.channel ||
          subscribed_[i].topic.match != topic.match) {
        continue;
      }
      subscribed_.erase(subscribed_.begin() + static_cast<ptrdiff_t>(i));
      return;
    }
    ABSL_CHECK(false) << topic.channel;
  });
}

void Node::Publish(std::string_view channel, std::string_view body) {
  ABSL_CHECK_OK(pubsub_->Publish(channel, body));
}

absl::StatusOr<RedisReply> Node::Ask(
    std::initializer_list<std::string_view> command) {
  absl::Notification done;
  absl::StatusOr<RedisReply> answer = absl::UnknownError("none");
  Do([&] {
    const absl::Status sent =
        engine_->Send(command, [&](absl::StatusOr<RedisReply> reply) {
          answer = std::move(reply);
          done.Notify();
        });
    if (sent.ok()) return;
    answer = sent;
    done.Notify();
  });
  done.WaitForNotification();
  return answer;
}

void Node::Log(std::string line) {
  const absl::MutexLock lock(&mutex_);
  lines_.push_back(std::move(line));
}

std::string Node::Next() {
  const absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(
      +[](std::deque<std::string>* lines) { return !lines->empty(); },
      &lines_));
  std::string line = std::move(lines_.front());
  lines_.pop_front();
  return line;
}

std::vector<std::string> Node::Until(std::string_view beginning) {
  std::vector<std::string> lines;
  do {
    lines.push_back(Next());
  } while (!absl::StartsWith(lines.back(), beginning));
  return lines;
}

RedisStats Node::stats() {
  RedisStats stats;
  Do([&] { stats = engine_->stats(); });
  return stats;
}

RedisGap Node::gap() {
  RedisGap gap;
  Do([&] { gap = gap_; });
  return gap;
}

// --- FakeServer ---

FakeServer::FakeServer()
    : listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ABSL_CHECK_EQ(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address),
                     sizeof(address)),
                0);
  ABSL_CHECK_EQ(listen(listener_.get(), 16), 0);
}

std::string FakeServer::url() const {
  sockaddr_in address = {};
  socklen_t size = sizeof(address);
  ABSL_CHECK_EQ(getsockname(listener_.get(),
                            reinterpret_cast<sockaddr*>(&address), &size),
                0);
  return absl::StrCat("redis://127.0.0.1:", ntohs(address.sin_port));
}

void FakeServer::Accept() {
  client_.Reset(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  ABSL_CHECK_GE(client_.get(), 0);
  received_.clear();
}

void FakeServer::Await(std::string_view text) {
  while (!absl::StrContains(received_, text)) {
    char buffer[4096];
    const ssize_t size = recv(client_.get(), buffer, sizeof(buffer), 0);
    ABSL_CHECK(size > 0 || (size < 0 && errno == EINTR))
        << "no " << absl::CEscape(text) << " in " << absl::CEscape(received_);
    if (size > 0) received_.append(buffer, static_cast<size_t>(size));
  }
  received_.erase(0, received_.find(text) + text.size());
}

// A client that has gone is no fault.
void FakeServer::Send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent =
        send(client_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno != EINTR) return;
    if (sent > 0) bytes.remove_prefix(static_cast<size_t>(sent));
  }
}

void FakeServer::AwaitEnd() {
  char buffer[4096];
  ssize_t size;
  do {
    size = recv(client_.get(), buffer, sizeof(buffer), 0);
  } while (size > 0 || (size < 0 && errno == EINTR));
}

}  // namespace fio::redis_testing
