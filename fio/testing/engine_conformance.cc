#include "fio/testing/engine_conformance.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "fio/pubsub/broker.h"
#include "fio/pubsub/delivery.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/subscribe_options.h"
#include "fio/pubsub/subscription.h"
#include "gtest/gtest.h"

namespace fio::testing {
namespace {

using namespace std::string_view_literals;  // NOLINT: for names with a NUL.

using Lines = std::vector<std::string>;

// How often it looks whether something has come, a millisecond between two.
constexpr int kTurns = 10'000;
// The same where all is done on this thread.
constexpr int kTurnsAlone = 10;

std::string Line(std::string_view channel, std::string_view body) {
  return absl::StrCat(absl::CEscape(channel), " ", absl::CEscape(body));
}

class Kit {
 public:
  explicit Kit(EngineUnderTest& it) : it_(it) {}
  // Callbacks that run have ended after that.
  ~Kit() {
    it_.Do([] {});
  }

  void Run();

 private:
  void Attach();
  void LastLeaves();
  void LastLeaves(std::string_view channel, std::string_view topic,
                  Match match);
  void Once();
  void Order();
  void Bytes();
  void Echo();
  void Many();
  void Inside();
  void DetachAndAttach();

  // Each message adds a line to what the near side has heard: "CHANNEL BODY",
  // after `name` and a blank if there is one.
  Subscription Subscribe(std::string_view channel, Match match = Match::kExact,
                         std::string_view name = "");
  void Publish(std::string_view channel, std::string_view body);
  void Tell(std::string line);

  // Returns when the outside knows all that the near side has subscribed to.
  void Settle();
  void Reattach();

  // Waits for as many lines as are expected. More of them are a failure, if
  // they have come by then.
  void ExpectNear(const Lines& expected);
  // In any order.
  void ExpectNearSorted(Lines expected);
  void ExpectFar(std::string_view channel, const Lines& bodies);
  bool Await(absl::FunctionRef<bool()> done);
  Lines Near();
  Lines TakeNear();
  void ExpectTrue(bool is_true, std::string_view otherwise);
  void ExpectLines(std::string_view who, const Lines& got,
                   const Lines& expected);

  EngineUnderTest& it_;
  std::atomic<bool> failed_ = false;  // From then on nothing is waited for.
  std::string_view rule_;
  int settled_ = 0;
  Lines far_;
  absl::Mutex mutex_;
  Lines near_ ABSL_GUARDED_BY(mutex_);
};

void Kit::Tell(std::string line) {
  const absl::MutexLock lock(&mutex_);
  near_.push_back(std::move(line));
}

Lines Kit::Near() {
  const absl::MutexLock lock(&mutex_);
  return near_;
}

Lines Kit::TakeNear() {
  const absl::MutexLock lock(&mutex_);
  return std::exchange(near_, {});
}

Subscription Kit::Subscribe(std::string_view channel, Match match,
                            std::string_view name) {
  absl::StatusOr<Subscription> subscription = it_.broker().Subscribe(
      {.channel = channel, .match = match},
      [this, start = std::string(name)](Delivery& delivery) {
        Tell(absl::StrCat(start, start.empty() ? "" : " ",
                          Line(delivery.channel(), delivery.body())));
      });
  ABSL_CHECK_OK(subscription);
  return *std::move(subscription);
}

void Kit::Publish(std::string_view channel, std::string_view body) {
  const absl::Status published =
      it_.broker().Publish(channel, body, it_.options());
  ExpectTrue(published.ok(), published.ToString());
}

bool Kit::Await(absl::FunctionRef<bool()> done) {
  for (int turn = 0; !failed_; ++turn) {
    const size_t seen = Near().size();
    const bool alone = !it_.Turn();
    for (const EngineUnderTest::Heard& heard : it_.TakeHeard()) {
      far_.push_back(Line(heard.channel, heard.body));
    }
    if (done()) return true;
    if (turn == (alone ? kTurnsAlone : kTurns)) return false;
    if (alone) continue;
    const auto is_more = [this, seen]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return near_.size() != seen;
    };
    const absl::MutexLock lock(&mutex_);
    mutex_.AwaitWithTimeout(absl::Condition(&is_more), absl::Milliseconds(1));
  }
  return false;
}

// A channel that nobody else uses, subscribed to after all others: when it is
// heard, they are known outside.
void Kit::Settle() {
  const std::string channel = absl::StrCat("settle/", ++settled_);
  const bool is_connected = Await([this] {
    bool connected = false;
    it_.Do([&] { connected = it_.IsConnected(); });
    return connected;
  });
  ExpectTrue(is_connected, "the engine does not connect");
  std::atomic<bool> is_heard = false;
  absl::StatusOr<Subscription> subscription = it_.broker().Subscribe(
      {.channel = channel}, [&is_heard](Delivery&) { is_heard = true; });
  ABSL_CHECK_OK(subscription);
  const bool came = Await([&] {
    it_.Publish(channel, "");
    return is_heard.load();
  });
  subscription->Unsubscribe();
  it_.Do([] {});  // No callback has `is_heard` any more.
  ExpectTrue(came, "a new subscriber hears nothing from the far side");
}

void Kit::ExpectTrue(bool is_true, std::string_view otherwise) {
  // What follows from a failure says nothing.
  if (is_true || failed_) return;
  failed_ = true;
  ADD_FAILURE() << "rule: " << rule_ << ": " << otherwise;
}

void Kit::ExpectLines(std::string_view who, const Lines& got,
                      const Lines& expected) {
  if (got == expected) return;
  const auto line = [](const Lines& lines, size_t i) {
    return i < lines.size() ? absl::StrCat("\"", lines[i].substr(0, 200), "\"")
                            : "nothing more";
  };
  size_t i = 0;
  while (i < got.size() && i < expected.size() && got[i] == expected[i]) ++i;
  ExpectTrue(false, absl::StrCat("the ", who, " side has heard ", got.size(),
                                 " messages of ", expected.size(), "; message ",
                                 i, ": ", line(got, i), ", expected ",
                                 line(expected, i)));
}

void Kit::ExpectNear(const Lines& expected) {
  Await([&] { return Near().size() >= expected.size(); });
  const Lines got = TakeNear();
  ExpectLines("near", got, expected);
}

void Kit::ExpectNearSorted(Lines expected) {
  Await([&] { return Near().size() >= expected.size(); });
  Lines got = TakeNear();
  std::sort(got.begin(), got.end());
  std::sort(expected.begin(), expected.end());
  ExpectLines("near", got, expected);
}

void Kit::ExpectFar(std::string_view channel, const Lines& bodies) {
  Lines expected;
  for (const std::string& body : bodies) {
    expected.push_back(Line(channel, body));
  }
  Await([&] { return far_.size() >= expected.size(); });
  ExpectLines("far", std::exchange(far_, {}), expected);
}

void Kit::Attach() {
  const Subscription name = Subscribe("kit/attach/a");
  const Subscription pattern =
      Subscribe("kit/attach/[b-c]*", Match::kRedis, "pattern");
  const Subscription subject =
      Subscribe("kit/attach.>", Match::kNats, "subject");
  Reattach();
  Settle();
  it_.Publish("kit/attach/a", "1");
  ExpectNear({"kit/attach/a 1"});
  it_.Publish("kit/attach/cx", "2");
  ExpectNear({"pattern kit/attach/cx 2"});
  it_.Publish("kit/attach.d", "3");
  ExpectNear({"subject kit/attach.d 3"});
}

void Kit::Reattach() {
  if (it_.engine() == nullptr) return;
  it_.Do([this] {
    if (it_.broker().IsAttached(*it_.engine())) {
      ABSL_CHECK_OK(it_.broker().Detach(*it_.engine()));
    }
    ABSL_CHECK_OK(it_.broker().Attach(*it_.engine()));
  });
}

void Kit::LastLeaves() {
  if (it_.engine() == nullptr) return;
  LastLeaves("kit/last/name", "kit/last/name", Match::kExact);
  LastLeaves("kit/last/glob", "kit/last/g*", Match::kRedis);
  LastLeaves("kit/last.token", "kit/last.*", Match::kNats);
}

// The channel is kept in history, so that a message is seen that comes though
// nobody has subscribed.
void Kit::LastLeaves(std::string_view channel, std::string_view topic,
                     Match match) {
  ABSL_CHECK_OK(it_.broker().KeepHistory(channel, Match::kExact, {}));
  const MetadataId seen = it_.broker().AddMetadata(
      [this, channel = std::string(channel)](const Message& message) {
        if (message.channel() == channel) {
          Tell(absl::StrCat("came ", message.body()));
        }
        return nullptr;
      });
  ABSL_CHECK(seen != MetadataId::kNone);
  Subscription one = Subscribe(topic, match);
  Subscription two = Subscribe(topic, match);
  Settle();
  one.Unsubscribe();
  Settle();
  it_.Publish(channel, "1");
  ExpectNear({"came 1", Line(channel, "1")});
  two.Unsubscribe();
  Settle();
  it_.Publish(channel, "to nobody");
  const Subscription three = Subscribe(topic, match);
  Settle();
  it_.Publish(channel, "3");
  ExpectNear({"came 3", Line(channel, "3")});
  it_.broker().RemoveMetadata(seen);
}

void Kit::Once() {
  const Subscription name = Subscribe("kit/once.x", Match::kExact, "name");
  const Subscription again = Subscribe("kit/once.x", Match::kExact, "name");
  const Subscription glob = Subscribe("kit/once*", Match::kRedis, "glob");
  const Subscription wide = Subscribe("kit/on[c-d]e.?", Match::kRedis, "wide");
  const Subscription token = Subscribe("kit/once.*", Match::kNats, "token");
  Settle();
  it_.Publish("kit/once.x", "1");
  it_.Publish("kit/once.x", "2");
  Await([this] { return Near().size() >= 10; });
  Settle();  // What comes too often is there by then.
  Lines lines;
  for (const std::string_view one : {"name", "name", "glob", "wide", "token"}) {
    for (const std::string_view body : {"1", "2"}) {
      lines.push_back(absl::StrCat(one, " kit/once.x ", body));
    }
  }
  ExpectNearSorted(lines);
  it_.Listen("kit/far");
  Publish("kit/far", "1");
  Publish("kit/far", "2");
  ExpectFar("kit/far", {"1", "2"});
}

void Kit::Order() {
  constexpr int kMessages = 500;
  const Subscription subscription = Subscribe("kit/order/near");
  it_.Listen("kit/order/far");
  Settle();
  Lines near;
  Lines far;
  for (int i = 0; i < kMessages; ++i) {
    it_.Publish("kit/order/near", absl::StrCat(i));
    near.push_back(absl::StrCat("kit/order/near ", i));
    Publish("kit/order/far", absl::StrCat(i));
    far.push_back(absl::StrCat(i));
  }
  ExpectNear(near);
  ExpectFar("kit/order/far", far);
}

void Kit::Bytes() {
  std::string all;
  for (int i = 0; i < 256; ++i) all.push_back(static_cast<char>(i));
  const std::vector<std::string> bodies = {"", std::string("\0", 1),
                                           "\r\nPUB x 0\r\n\r\n", all,
                                           std::string(100'000, 'x')};
  for (const std::string_view channel :
       {"kit/bytes"sv, ""sv, "kit two words"sv, "kit.\r\n*1\r\n"sv, "kit\0."sv,
        "kit..\xFF\xC0"sv, "kit.*"sv, "kit.>"sv, "%_kit%20%"sv}) {
    const Subscription subscription = Subscribe(channel);
    Settle();
    Lines lines;
    for (const std::string& body : bodies) {
      lines.push_back(Line(channel, body));
      it_.Publish(channel, body);
    }
    ExpectNear(lines);
  }
  for (const std::string_view channel : {"kit/bytes/far"sv, "kit\0 far"sv,
                                         "kit.\r\nfar\xFF"sv, "kit..far.*"sv}) {
    it_.Listen(channel);
    for (const std::string& body : bodies) Publish(channel, body);
    ExpectFar(channel, bodies);
  }
}

void Kit::Echo() {
  const Subscription subscription = Subscribe("kit/echo");
  it_.Listen("kit/echo/end");
  Settle();
  Publish("kit/echo", "1");
  Publish("kit/echo", "2");
  Publish("kit/echo/end", "");
  // What comes back is on its way before what the far side says then.
  ExpectFar("kit/echo/end", {""});
  it_.Publish("kit/echo", "end");
  const auto is_end = [this] {
    const Lines lines = Near();
    return !lines.empty() && lines.back() == "kit/echo end";
  };
  ExpectTrue(Await(is_end), "the far side is not heard");
  if (it_.hears_itself()) {
    ExpectNear({"kit/echo 1", "kit/echo 2", "kit/echo end"});
  } else {
    ExpectNear({"kit/echo end"});
  }
}

void Kit::Many() {
  constexpr int kChannels = 1000;
  std::vector<Subscription> subscriptions;
  const auto channel = [](int i) { return absl::StrCat("kit/many/", i); };
  for (int i = 0; i < kChannels; ++i) {
    subscriptions.push_back(Subscribe(channel(i)));
  }
  Settle();
  Lines lines;
  for (int i = 0; i < kChannels; ++i) {
    it_.Publish(channel(i), "x");
    lines.push_back(absl::StrCat(channel(i), " x"));
  }
  ExpectNearSorted(lines);
}

void Kit::Inside() {
  Subscription within;
  Subscription ask =
      *it_.broker().Subscribe({.channel = "kit/ask"}, [&](Delivery& delivery) {
        Publish("kit/answer", delivery.body());
        within = Subscribe("kit/within");
        ask.Unsubscribe();
        Tell("asked");
      });
  it_.Listen("kit/answer");
  Settle();
  it_.Publish("kit/ask", "hello");
  ExpectFar("kit/answer", {"hello"});
  ExpectNear({"asked"});
  it_.Do([&ask] { ask.Unsubscribe(); });  // The callback runs no more.
  Settle();
  it_.Publish("kit/ask", "again");
  it_.Publish("kit/within", "there");
  ExpectNear({"kit/within there"});
}

void Kit::DetachAndAttach() {
  if (it_.engine() == nullptr) return;
  const Subscription subscription = Subscribe("kit/detach");
  Settle();
  it_.Publish("kit/detach", "before");
  ExpectNear({"kit/detach before"});
  it_.Do([this] { ABSL_CHECK_OK(it_.broker().Detach(*it_.engine())); });
  it_.Publish("kit/detach", "to nobody");
  const Subscription meanwhile = Subscribe("kit/meanwhile");
  Reattach();
  Settle();
  it_.Publish("kit/detach", "after");
  ExpectNear({"kit/detach after"});
  it_.Publish("kit/meanwhile", "too");
  ExpectNear({"kit/meanwhile too"});
  it_.Listen("kit/detach/far");
  Publish("kit/detach/far", "after");
  ExpectFar("kit/detach/far", {"after"});
}

void Kit::Run() {
  const std::pair<std::string_view, void (Kit::*)()> rules[] = {
      {"attach", &Kit::Attach},
      {"last leaves", &Kit::LastLeaves},
      {"once", &Kit::Once},
      {"order", &Kit::Order},
      {"bytes", &Kit::Bytes},
      {"echo", &Kit::Echo},
      {"many", &Kit::Many},
      {"inside", &Kit::Inside},
      {"detach", &Kit::DetachAndAttach},
  };
  for (const auto& [name, check] : rules) {
    rule_ = name;
    (this->*check)();
    if (failed_) return;
  }
}

}  // namespace

void CheckEngine(EngineUnderTest& engine) { Kit(engine).Run(); }

}  // namespace fio::testing
