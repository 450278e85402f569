#include "fio/core/resolver.h"

#include <atomic>
#include <functional>
#include <memory>
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
        "unix://@name", "tcp://name.test:80"}) {
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

TEST(Resolver, LocalhostByTheSystem) {
  const std::unique_ptr<Loop> loop = NewLoop();
  Resolver resolver;
  bool done = false;
  resolver.Resolve(Parse("tcp4://localhost:80"), loop->handle(),
                   [&](const Resolver::Addresses& answer) {
                     done = true;
                     ASSERT_TRUE(answer.ok()) << answer.status();
                     EXPECT_EQ(answer->front().ToString(), "127.0.0.1:80");
                   });
  EXPECT_TRUE(RunUntil(*loop, [&] { return done; }));
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

}  // namespace
}  // namespace fio
