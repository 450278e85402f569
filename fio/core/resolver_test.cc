#include "fio/core/resolver.h"

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "fio/base/clock.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/loop/loop.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Addresses = std::vector<SocketAddress>;

constexpr int kManyTurns = 1000;

Url Parse(std::string_view text) {
  const absl::StatusOr<Url> url = Url::Parse(text);
  EXPECT_TRUE(url.ok()) << url.status();
  return *url;
}

std::unique_ptr<Loop> NewLoop() {
  absl::StatusOr<std::unique_ptr<Loop>> loop = Loop::Create({});
  EXPECT_TRUE(loop.ok()) << loop.status();
  return *std::move(loop);
}

bool RunUntil(Loop& loop, const std::function<bool()>& so) {
  for (int i = 0; i < kManyTurns && !so(); ++i) {
    const MonotonicTime soon =
        loop.options().clock->Now() + absl::Milliseconds(10);
    if (!loop.RunOnce(soon).ok()) return false;
  }
  return so();
}

// What names mean until they are answered otherwise.
Resolver::Addresses Somewhere(const Url& /*url*/) {
  return Addresses{*SocketAddress::FromIp("192.0.2.1", 80)};
}

// Blocks every question until it is opened.
struct Gate {
  std::atomic<int> asked = 0, answered = 0;
  absl::Notification open;

  static Resolver::Function Of(const std::shared_ptr<Gate>& gate) {
    return [gate](const Url& url) {
      ++gate->asked;
      gate->open.WaitForNotification();
      ++gate->answered;
      return Somewhere(url);
    };
  }
};

Url Named(int i) { return Parse(absl::StrCat("tcp://name", i, ".test:80")); }

TEST(Resolver, AnswersInATask) {
  const std::unique_ptr<Loop> loop = NewLoop();
  Resolver resolver(&Somewhere);
  for (const char* url :
       {"tcp://127.0.0.1:80", "tcp://[::1]:80", "tcp://:80", "/run/x.sock",
        "unix://@name", "tcp://127.1:80", "tcp://name.test:80"}) {
    Resolver::Addresses answer = absl::UnknownError("none");
    bool done = false;
    resolver.Resolve(Parse(url), loop->handle(), [&](Resolver::Addresses got) {
      answer = std::move(got);
      done = true;
    });
    EXPECT_FALSE(done);
    ASSERT_TRUE(RunUntil(*loop, [&] { return done; })) << url;
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ(answer->size(), 1u);
  }
}

TEST(Resolver, OnlyNamesNeedThreads) {
  const std::unique_ptr<Loop> loop = NewLoop();
  const std::thread::id here = std::this_thread::get_id();
  std::atomic<int> asked = 0;
  Resolver resolver([&](const Url& url) {
    ++asked;
    EXPECT_NE(std::this_thread::get_id(), here);
    return Somewhere(url);
  });
  int done = 0;
  const auto count = [&](const Resolver::Addresses&) {
    EXPECT_EQ(std::this_thread::get_id(), here);
    ++done;
  };
  for (const char* url : {"tcp://127.0.0.1:80", "tcp6://[::1]:80", "tcp://:80",
                          "/run/x.sock", "tcp://127.0.0.1"}) {
    resolver.Resolve(Parse(url), loop->handle(), count);
  }
  ASSERT_TRUE(RunUntil(*loop, [&] { return done == 5; }));
  EXPECT_EQ(asked, 0);
  EXPECT_EQ(resolver.asking(), 0);
  resolver.Resolve(Parse("tcp://name.test:80"), loop->handle(), count);
  ASSERT_TRUE(RunUntil(*loop, [&] { return done == 6; }));
  EXPECT_EQ(asked, 1);
}

TEST(Resolver, LocalhostIsKnown) {
  const std::unique_ptr<Loop> loop = NewLoop();
  Resolver resolver([](const Url&) -> Resolver::Addresses {
    ADD_FAILURE() << "asked";
    return absl::UnknownError("asked");
  });
  for (const char* text : {"tcp://localhost:80", "tcp4://localhost:80",
                           "tcp6://localhost:80", "http://a.localhost"}) {
    bool done = false;
    resolver.Resolve(Parse(text), loop->handle(),
                     [&](const Resolver::Addresses& answer) {
                       done = true;
                       ASSERT_TRUE(answer.ok()) << answer.status();
                       EXPECT_EQ(*answer, *Resolve(Parse(text))) << text;
                     });
    EXPECT_TRUE(RunUntil(*loop, [&] { return done; }));
  }
}

TEST(Resolver, DiesWithoutWaiting) {
  const std::unique_ptr<Loop> loop = NewLoop();
  const auto gate = std::make_shared<Gate>();
  const auto owned = std::make_shared<int>(0);
  bool done = false;
  {
    Resolver resolver(Gate::Of(gate));
    for (int i = 0; i < 2 * Resolver::kAtATime; ++i) {
      resolver.Resolve(
          Named(i), loop->handle(),
          [&done, owned](const Resolver::Addresses&) { done = true; });
    }
    ASSERT_TRUE(
        RunUntil(*loop, [&] { return gate->asked == Resolver::kAtATime; }));
    EXPECT_EQ(resolver.asking(), Resolver::kAtATime);
  }
  EXPECT_EQ(owned.use_count(), 1);
  gate->open.Notify();
  // Those under way are answered to nobody, the others are not asked.
  ASSERT_TRUE(
      RunUntil(*loop, [&] { return gate->answered == Resolver::kAtATime; }));
  EXPECT_EQ(gate->asked, Resolver::kAtATime);
  EXPECT_FALSE(done);
}

// An answer that is on its way to the loop already.
TEST(Resolver, DropsAnswersWhenItHasGone) {
  const std::unique_ptr<Loop> loop = NewLoop();
  bool done = false;
  auto resolver = std::make_unique<Resolver>();
  resolver->Resolve(Parse("tcp://127.0.0.1:80"), loop->handle(),
                    [&](const Resolver::Addresses&) { done = true; });
  resolver = nullptr;
  EXPECT_TRUE(loop->RunOnce(MonotonicTime::InfinitePast()).ok());
  EXPECT_FALSE(done);
}

TEST(Resolver, OutlivesTheLoop) {
  std::unique_ptr<Loop> loop = NewLoop();
  const auto gate = std::make_shared<Gate>();
  const auto owned = std::make_shared<int>(0);
  bool done = false;
  Resolver resolver(Gate::Of(gate));
  resolver.Resolve(Parse("tcp://name.test:80"), loop->handle(),
                   [&done, owned](const Resolver::Addresses&) { done = true; });
  ASSERT_TRUE(RunUntil(*loop, [&] { return gate->asked == 1; }));
  loop = nullptr;
  gate->open.Notify();
  const std::unique_ptr<Loop> other = NewLoop();
  ASSERT_TRUE(RunUntil(*other, [&] { return owned.use_count() == 1; }));
  EXPECT_FALSE(done);
}

TEST(Resolver, RefusesWhenTooManyWait) {
  const std::unique_ptr<Loop> loop = NewLoop();
  const auto gate = std::make_shared<Gate>();
  Resolver resolver(Gate::Of(gate));
  int answered = 0, refused = 0;
  const auto ask = [&](int i) {
    resolver.Resolve(Named(i), loop->handle(),
                     [&, i](const Resolver::Addresses& answer) {
                       ++answered;
                       if (answer.ok()) return;
                       ++refused;
                       EXPECT_TRUE(absl::IsResourceExhausted(answer.status()));
                       EXPECT_THAT(answer.status().message(),
                                   HasSubstr(Named(i).ToString()));
                     });
  };
  for (int i = 0; i < Resolver::kAtATime; ++i) ask(i);
  ASSERT_TRUE(
      RunUntil(*loop, [&] { return gate->asked == Resolver::kAtATime; }));
  for (int i = 0; i < Resolver::kWaiting + 3; ++i) ask(Resolver::kAtATime + i);
  EXPECT_EQ(answered, 0);
  ASSERT_TRUE(RunUntil(*loop, [&] { return answered == 3; }));
  EXPECT_EQ(refused, 3);
  gate->open.Notify();
  const int all = Resolver::kAtATime + Resolver::kWaiting + 3;
  ASSERT_TRUE(RunUntil(*loop, [&] { return answered == all; }));
  EXPECT_EQ(refused, 3);
}

// Names whose servers do not answer take no more than their share.
TEST(Resolver, DeadNamesHoldNobodyUp) {
  const std::unique_ptr<Loop> loop = NewLoop();
  const auto gate = std::make_shared<Gate>();
  Resolver resolver([ask_dead = Gate::Of(gate)](const Url& url) {
    return url.host().starts_with("dead") ? ask_dead(url) : Somewhere(url);
  });
  const auto dead = [](int i) {
    return Parse(absl::StrCat("tcp://dead", i, ".test:80"));
  };
  int answered = 0, dead_answered = 0;
  const auto count_dead = [&](const Resolver::Addresses&) { ++dead_answered; };
  std::vector<Resolver::QuestionId> questions;
  // Each is asked for by many, and one name less than there are threads.
  for (int i = 0; i < Resolver::kAtATime - 1; ++i) {
    for (int j = 0; j < 20; ++j) {
      questions.push_back(
          resolver.Resolve(dead(i), loop->handle(), count_dead));
    }
  }
  const auto ask = [&](std::string_view url) {
    resolver.Resolve(Parse(url), loop->handle(),
                     [&](const Resolver::Addresses& answer) {
                       EXPECT_TRUE(answer.ok()) << answer.status();
                       ++answered;
                     });
  };
  ask("tcp://alive.test:80");
  ASSERT_TRUE(RunUntil(*loop, [&] { return answered == 1; }));
  EXPECT_EQ(gate->asked, Resolver::kAtATime - 1);
  // Even where all threads are taken, what is known here does not wait.
  questions.push_back(
      resolver.Resolve(dead(Resolver::kAtATime), loop->handle(), count_dead));
  ASSERT_TRUE(
      RunUntil(*loop, [&] { return gate->asked == Resolver::kAtATime; }));
  for (const char* url : {"tcp://127.0.0.1:80", "tcp://localhost:80",
                          "tcp://127.1:80", "/run/x.sock"}) {
    ask(url);
  }
  EXPECT_TRUE(loop->RunOnce(MonotonicTime::InfinitePast()).ok());
  EXPECT_EQ(answered, 5);
  // Who waits comes next, before names that were given up and not begun.
  std::vector<Resolver::QuestionId> given_up;
  for (int i = 0; i < 100; ++i) {
    given_up.push_back(
        resolver.Resolve(dead(100 + i), loop->handle(), count_dead));
  }
  ask("tcp://alive2.test:80");
  for (const Resolver::QuestionId question : given_up) {
    resolver.Cancel(question);
  }
  EXPECT_EQ(dead_answered, 0);
  gate->open.Notify();
  ASSERT_TRUE(RunUntil(*loop, [&] {
    return answered == 6 && dead_answered == static_cast<int>(questions.size());
  }));
  EXPECT_EQ(gate->asked, Resolver::kAtATime);
  EXPECT_TRUE(RunUntil(*loop, [&] { return resolver.asking() == 0; }));
}

TEST(Resolver, OneQuestionPerName) {
  const std::unique_ptr<Loop> loop = NewLoop();
  const auto gate = std::make_shared<Gate>();
  Resolver resolver([gate](const Url& url) -> Resolver::Addresses {
    ++gate->asked;
    gate->open.WaitForNotification();
    return Addresses{*SocketAddress::FromIp("192.0.2.1", *url.port()),
                     *SocketAddress::FromIp("2001:db8::1", *url.port())};
  });
  std::vector<std::string> answers;
  const auto ask = [&](std::string_view url) {
    return resolver.Resolve(
        Parse(url), loop->handle(), [&](const Resolver::Addresses& answer) {
          ASSERT_TRUE(answer.ok()) << answer.status();
          answers.push_back(absl::StrCat(answer->front().ToString(), " ",
                                         answer->back().ToString()));
        });
  };
  // Attempts that are given up, as those of a connector that reconnects.
  for (int i = 0; i < 55; ++i) resolver.Cancel(ask("tcp://name.test:80"));
  ask("tcp://name.test:80");
  ask("tcp://NAME.test:81");
  ask("http://name.test:82");
  ASSERT_TRUE(RunUntil(*loop, [&] { return gate->asked == 1; }));
  // Also while it is asked for already.
  for (int i = 0; i < 55; ++i) resolver.Cancel(ask("tcp://name.test:80"));
  ask("tcp://name.test:83");
  EXPECT_TRUE(RunUntil(*loop, [&] { return resolver.asking() == 1; }));
  gate->open.Notify();
  ASSERT_TRUE(RunUntil(*loop, [&] { return answers.size() == 4; }));
  EXPECT_EQ(gate->asked, 1);
  EXPECT_THAT(answers, ElementsAre("192.0.2.1:80 [2001:db8::1]:80",
                                   "192.0.2.1:81 [2001:db8::1]:81",
                                   "192.0.2.1:82 [2001:db8::1]:82",
                                   "192.0.2.1:83 [2001:db8::1]:83"));
  // An answer is not kept.
  ask("tcp://name.test:80");
  ASSERT_TRUE(RunUntil(*loop, [&] { return answers.size() == 5; }));
  EXPECT_EQ(gate->asked, 2);
}

// The family is a part of the question.
TEST(Resolver, FamiliesAreAskedForApart) {
  const std::unique_ptr<Loop> loop = NewLoop();
  const auto gate = std::make_shared<Gate>();
  Resolver resolver(Gate::Of(gate));
  int answered = 0;
  for (const char* url :
       {"tcp://name.test:80", "tcp4://name.test:80", "tcp6://name.test:80",
        "udp://name.test:80", "tcp6://name.test:81"}) {
    resolver.Resolve(Parse(url), loop->handle(),
                     [&](const Resolver::Addresses&) { ++answered; });
  }
  ASSERT_TRUE(RunUntil(*loop, [&] { return gate->asked == 4; }));
  gate->open.Notify();
  ASSERT_TRUE(RunUntil(*loop, [&] { return answered == 5; }));
  EXPECT_EQ(gate->asked, 4);
}

TEST(Resolver, CancelledIsNotAnswered) {
  const std::unique_ptr<Loop> loop = NewLoop();
  const auto gate = std::make_shared<Gate>();
  const auto owned = std::make_shared<int>(0);
  Resolver resolver(Gate::Of(gate));
  int answered = 0;
  const auto ask = [&](std::string_view url) {
    return resolver.Resolve(
        Parse(url), loop->handle(),
        [&, owned](const Resolver::Addresses&) { ++answered; });
  };
  const Resolver::QuestionId asked = ask("tcp://name.test:80");
  const Resolver::QuestionId literal = ask("tcp://127.0.0.1:80");
  ASSERT_TRUE(
      RunUntil(*loop, [&] { return gate->asked == 1 && answered == 1; }));
  resolver.Cancel(literal);  // Too late.
  const Resolver::QuestionId answered_already = ask("tcp://127.0.0.1:80");
  resolver.Cancel(answered_already);
  resolver.Cancel(asked);
  resolver.Cancel(Resolver::QuestionId::kNone);
  EXPECT_EQ(owned.use_count(), 1);
  gate->open.Notify();
  EXPECT_TRUE(RunUntil(*loop, [&] { return resolver.asking() == 0; }));
  EXPECT_TRUE(loop->RunOnce(MonotonicTime::InfinitePast()).ok());
  EXPECT_EQ(answered, 1);
}

// Each loop is answered on its own thread.
TEST(Resolver, ServesAllLoopsOfItsProcess) {
  Resolver resolver(&Somewhere);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&resolver] {
      const std::unique_ptr<Loop> loop = NewLoop();
      const std::thread::id here = std::this_thread::get_id();
      int answered = 0;
      for (int i = 0; i < 100; ++i) {
        const Resolver::QuestionId question = resolver.Resolve(
            Named(i % 7), loop->handle(), [&](const Resolver::Addresses&) {
              EXPECT_EQ(std::this_thread::get_id(), here);
              ++answered;
            });
        if (i % 2 == 1) resolver.Cancel(question);
      }
      EXPECT_TRUE(RunUntil(*loop, [&] { return answered == 50; }));
      EXPECT_EQ(answered, 50);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace fio
