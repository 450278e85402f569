#include "fio/testing/world.h"

#include <cerrno>
#include <cstddef>
#include <latch>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/protocol.h"
#include "fio/sock/socket.h"
#include "fio/testing/fault_plan.h"
#include "fio/testing/simulated_network.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Echo final : public Protocol {
 public:
  void OnData(Connection& connection) override {
    connection.Write(connection.Received());
  }
};

// Writes down what it is told.
class Recorder : public Protocol {
 public:
  explicit Recorder(std::vector<std::string>& told) : told_(told) {}

  void OnData(Connection& connection) override {
    const std::string_view bytes = connection.Received();
    if (!bytes.empty()) told_.push_back(absl::StrCat("data ", bytes));
  }
  void OnEnd(Connection& connection) override {
    told_.emplace_back("end");
    Protocol::OnEnd(connection);
  }
  void OnTimeout(Connection& connection) override {
    told_.emplace_back("timeout");
    Protocol::OnTimeout(connection);
  }
  void OnClose(Connection&, const CloseReason& reason) override {
    told_.push_back(absl::StrCat("close ", reason.error));
  }

 private:
  std::vector<std::string>& told_;
};

// Answers what it got once the peer has ended its stream.
class AnswersAtEnd final : public Protocol {
 public:
  void OnData(Connection& connection) override {
    got_ += connection.Received();
  }
  void OnEnd(Connection& connection) override {
    connection.Write(absl::StrCat("got ", got_));
    connection.Close();
  }

 private:
  std::string got_;
};

void AttachEcho(Connection& connection) {
  connection.Attach(std::make_unique<Echo>());
}

TEST(World, EchoesAndCloses) {
  World world;
  Peer peer = world.Connect(AttachEcho);
  peer.Send("hello");
  world.RunUntilIdle();
  EXPECT_EQ(peer.received(), "hello");
  EXPECT_EQ(peer.TakeReceived(), "hello");
  peer.Close();
  world.RunUntilIdle();
  EXPECT_TRUE(peer.saw_end());
  EXPECT_FALSE(peer.saw_reset());
  EXPECT_FALSE(peer.is_connected());
  EXPECT_EQ(world.loop().connection_count(), 0);
  EXPECT_EQ(world.network().open_count(), 0);
}

TEST(World, BytesArriveBeforeEnd) {
  World world;
  std::vector<std::string> told;
  Peer peer = world.Connect([&](Connection& connection) {
    connection.Attach(std::make_unique<Recorder>(told));
  });
  peer.Send("last");
  peer.Close();
  world.RunUntilIdle();
  EXPECT_THAT(told, ElementsAre("data last", "end", "close 0"));
}

TEST(World, BytesArriveBeforeReset) {
  World world;
  std::vector<std::string> told;
  Peer peer = world.Connect([&](Connection& connection) {
    connection.Attach(std::make_unique<Recorder>(told));
  });
  peer.Send("last");
  peer.Reset();
  world.RunUntilIdle();
  EXPECT_THAT(told,
              ElementsAre("data last", absl::StrCat("close ", ECONNRESET)));
}

TEST(World, HalfCloseIsAnswered) {
  World world;
  Peer peer = world.Connect([](Connection& connection) {
    connection.Attach(std::make_unique<AnswersAtEnd>());
  });
  peer.Send("a question");
  peer.ShutdownWrite();
  world.RunUntilIdle();
  EXPECT_EQ(peer.received(), "got a question");
  EXPECT_TRUE(peer.saw_end());
  EXPECT_FALSE(peer.saw_reset());
}

TEST(World, ASlowReaderIsNotReadFrom) {
  WorldOptions options;
  options.loop.watermarks.high_bytes = 100'000;
  World world(options);
  Peer peer = world.Connect(AttachEcho);
  peer.SetAutoRead(false);
  const std::string sent(1'000'000, 'x');
  peer.Send(sent);
  world.RunUntilIdle();
  EXPECT_EQ(peer.received_bytes(), options.network.window_bytes);
  EXPECT_GT(peer.in_flight_bytes(), 500'000);
  std::string received;
  while (!peer.received().empty()) {
    received += peer.TakeReceived();
    world.RunUntilIdle();
  }
  EXPECT_EQ(received.size(), sent.size());
}

TEST(World, AutoReadTakesMoreThanAWindow) {
  World world;
  Peer peer = world.Connect(AttachEcho);
  peer.Send(std::string(1'000'000, 'x'));
  world.RunUntilIdle();
  EXPECT_EQ(peer.received_bytes(), 1'000'000);
}

TEST(World, AdvanceRunsTimeoutsAtTheirMillisecond) {
  World world;
  std::vector<std::string> told;
  Peer peer = world.Connect([&](Connection& connection) {
    connection.SetTimeout(absl::Milliseconds(1500));
    connection.Attach(std::make_unique<Recorder>(told));
  });
  world.Advance(absl::Milliseconds(1499));
  EXPECT_FALSE(peer.saw_end());
  world.Advance(absl::Milliseconds(1));
  EXPECT_TRUE(peer.saw_end());
  EXPECT_THAT(told, ElementsAre("timeout", "close 0"));
}

TEST(World, AdvanceStopsAtEachTimer) {
  World world;
  std::vector<MonotonicTime> ran;
  for (const int ms : {300, 100, 70'000}) {
    world.loop().RunAfter(absl::Milliseconds(ms),
                          [&] { ran.push_back(world.clock().Now()); });
  }
  const MonotonicTime start = world.clock().Now();
  world.Advance(absl::Minutes(2));
  EXPECT_THAT(ran, ElementsAre(start + absl::Milliseconds(100),
                               start + absl::Milliseconds(300),
                               start + absl::Seconds(70)));
  EXPECT_EQ(world.clock().Now(), start + absl::Minutes(2));
}

TEST(World, AdvanceGoesFarAhead) {
  World world;
  bool ran = false;
  world.loop().RunAfter(absl::Hours(24 * 25), [&] { ran = true; });
  world.Advance(absl::Hours(24 * 25) - absl::Milliseconds(1));
  EXPECT_FALSE(ran);
  world.Advance(absl::Milliseconds(1));
  EXPECT_TRUE(ran);
}

TEST(World, TasksThatPostTasksAreRun) {
  World world;
  int ran = 0;
  world.loop().Post([&] {
    ++ran;
    world.loop().Post([&] { ++ran; });
  });
  world.RunUntilIdle();
  EXPECT_EQ(ran, 2);
}

TEST(World, TasksOfOtherThreadsAreRun) {
  World world;
  world.RunUntilIdle();
  bool ran = false;
  std::thread([&] { world.loop().Post([&] { ran = true; }); }).join();
  world.RunUntilIdle();
  EXPECT_TRUE(ran);
}

TEST(World, AStoppedLoopIsIdle) {
  World world;
  Peer peer = world.Connect(AttachEcho);
  world.loop().Stop();
  world.RunUntilIdle();
  EXPECT_TRUE(peer.saw_end());
  EXPECT_TRUE(world.Connect(AttachEcho).saw_end());
}

TEST(World, PeerThatSentBeforeItWasAdopted) {
  World world;
  auto [socket, peer] = world.MakeConnection();
  peer.Send("early");
  ASSERT_TRUE(world.loop().Adopt(std::move(socket), AttachEcho).ok());
  world.RunUntilIdle();
  EXPECT_EQ(peer.received(), "early");
}

TEST(World, HandlesOutliveAll) {
  Peer peer;
  {
    World world;
    peer = world.Connect(AttachEcho);
    peer.Send("x");
    world.RunUntilIdle();
  }
  EXPECT_EQ(peer.received(), "x");
  EXPECT_TRUE(peer.saw_reset() || peer.saw_end());
  peer.Send("y");
  peer.Close();
  peer.Reset();
  Peer().Send("nobody");
}

WorldOptions Faulty(uint64_t seed) {
  WorldOptions options;
  options.seed = seed;
  options.shuffle_events = true;
  options.network = {.short_read = 0.3,
                     .short_write = 0.3,
                     .would_block = 0.2,
                     .interrupted = 0.2,
                     .segmented = 0.5,
                     .trace = true};
  return options;
}

// What happens to twenty echoes.
std::string Trace(const WorldOptions& options) {
  World world(options);
  std::vector<Peer> peers;
  for (int i = 0; i < 20; ++i) peers.push_back(world.Connect(AttachEcho));
  for (Peer& peer : peers) peer.Send(std::string(1000, 'x'));
  world.RunUntilIdle();
  world.Advance(absl::Seconds(1));
  return world.trace();
}

TEST(World, SameSeedSameTrace) {
  EXPECT_EQ(Trace(Faulty(1)), Trace(Faulty(1)));
  EXPECT_NE(Trace(Faulty(1)), Trace(Faulty(2)));
  EXPECT_THAT(Trace(Faulty(1)), HasSubstr("clock 1s"));
}

TEST(World, NothingIsLostToFaultsThatPass) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    World world(Faulty(seed));
    Peer peer = world.Connect(AttachEcho);
    std::string sent;
    for (int i = 0; i < 30; ++i) {
      const std::string line = absl::StrCat("line ", i, "\n");
      sent += line;
      peer.Send(line);
      world.Turn(i % 3);
    }
    peer.ShutdownWrite();
    world.RunUntilIdle();
    EXPECT_EQ(peer.received(), sent) << "seed " << seed;
    EXPECT_TRUE(peer.saw_end()) << "seed " << seed;
    EXPECT_GT(world.network().faults(), 0);
    EXPECT_EQ(world.network().open_count(), 0) << "seed " << seed;
  }
}

TEST(World, EveryConnectionEndsUnderAllFaults) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    WorldOptions options = Faulty(seed);
    options.network.no_buffers = 0.1;
    options.network.no_memory = 0.1;
    options.network.reset = 0.02;
    World world(options);
    std::vector<Peer> peers;
    for (int i = 0; i < 10; ++i) peers.push_back(world.Connect(AttachEcho));
    for (Peer& peer : peers) peer.Send(std::string(10'000, 'x'));
    for (Peer& peer : peers) peer.ShutdownWrite();
    world.Advance(absl::Minutes(1));
    EXPECT_EQ(world.loop().connection_count(), 0) << "seed " << seed;
    EXPECT_EQ(world.network().open_count(), 0) << "seed " << seed;
  }
}

TEST(World, TenThousandConnections) {
  constexpr int kConnections = 10'000;
  World world;
  std::vector<Peer> peers;
  peers.reserve(kConnections);
  for (int i = 0; i < kConnections; ++i) {
    peers.push_back(world.Connect(AttachEcho));
  }
  for (Peer& peer : peers) peer.Send("ping");
  world.RunUntilIdle();
  int echoed = 0;
  for (const Peer& peer : peers) echoed += peer.received() == "ping";
  EXPECT_EQ(echoed, kConnections);
  for (Peer& peer : peers) peer.Close();
  world.RunUntilIdle();
  EXPECT_EQ(world.network().open_count(), 0);
}

TEST(World, AFaultPlanStandsOnTop) {
  World world;
  Peer peer = world.Connect(AttachEcho);
  {
    FaultPlan plan({.seed = 3,
                    .short_read = 0.5,
                    .short_write = 0.5,
                    .would_block = 0.3,
                    .interrupted = 0.3});
    plan.Target(peer.near_fd());
    peer.Send(std::string(5000, 'x'));
    world.RunUntilIdle();
    EXPECT_GT(plan.faults(), 0);
  }
  EXPECT_EQ(peer.received_bytes(), 5000);
  peer.Send("y");
  world.RunUntilIdle();
  EXPECT_EQ(peer.received_bytes(), 5001);
}

TEST(World, AFaultPlanOnTopResets) {
  World world;
  std::vector<std::string> told;
  Peer peer = world.Connect([&](Connection& connection) {
    connection.Attach(std::make_unique<Recorder>(told));
  });
  FaultPlan plan;
  plan.ResetAtRead(peer.near_fd(), 3);
  peer.Send("12345");
  world.RunUntilIdle();
  EXPECT_THAT(told,
              ElementsAre("data 123", absl::StrCat("close ", ECONNRESET)));
}

TEST(World, LeaksNoDescriptors) {
  const int before = CountOpenDescriptors();
  {
    World world;
    for (int i = 0; i < 10; ++i) world.Connect(AttachEcho).Send("x");
    world.RunUntilIdle();
  }
  EXPECT_EQ(CountOpenDescriptors(), before);
}

class PostsItself {
 public:
  explicit PostsItself(Loop& loop) : loop_(loop) {}
  void operator()() const { loop_.Post(PostsItself(loop_)); }

 private:
  Loop& loop_;
};

TEST(WorldDeathTest, SpinningIsFound) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        WorldOptions options;
        options.max_turns = 100;
        World world(options);
        world.loop().Post(PostsItself(world.loop()));
        world.RunUntilIdle();
      },
      "goes on without end");
}

TEST(World, NumbersItsConnectionsAnew) {
  std::vector<ConnectionId> ids;
  for (int i = 0; i < 2; ++i) {
    World world;
    Peer peer = world.Connect([&ids](Connection& connection) {
      AttachEcho(connection);
      ids.push_back(connection.id());
    });
  }
  EXPECT_EQ(ids[0], ids[1]);
  EXPECT_EQ(ids[0].serial(), 1u);
}

// What another thread posts is waited for, however late it comes.
TEST(World, RunUntilWaitsForAnotherThread) {
  World world;
  const MonotonicTime before = world.clock().Now();
  std::latch may_post(1);
  bool answered = false;
  std::thread other([&world, &may_post, &answered] {
    may_post.wait();
    world.loop().Post([&answered] { answered = true; });
  });
  int asked = 0;
  world.RunUntil([&] {
    if (++asked == 10) may_post.count_down();
    return answered;
  });
  other.join();
  EXPECT_TRUE(answered);
  EXPECT_GT(asked, 10);
  EXPECT_EQ(world.clock().Now(), before);
}

}  // namespace
}  // namespace fio::testing
