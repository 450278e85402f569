// A World is a Loop with nothing real below it: a clock that stands still until
// the test moves it, a poller that never waits, and a simulated network. What a
// user's Protocol does in it is decided by the test and a seed alone, so that a
// run is the same each time and takes no real time.
//
//   World world({.seed = 7});
//   Peer peer = world.Connect([](Connection& connection) {
//     connection.SetTimeout(absl::Seconds(5));
//     connection.Attach(std::make_unique<Echo>());
//   });
//   peer.Send("hello");
//   world.RunUntilIdle();
//   EXPECT_EQ(peer.received(), "hello");
//   world.Advance(absl::Seconds(5));
//   EXPECT_TRUE(peer.saw_end());
//
// By default the network is a good one; WorldOptions::network makes it cut
// calls short, refuse them, reset and tear messages apart, each by its
// likelihood. A million connections fit into a world.
//
// Run the loop by the world only: Loop::Run() would spin. Only RunUntil() waits
// for other threads, as of a ThreadPool; otherwise their posts run in the turn
// that finds them.
//
// A FaultPlan that is made while a world lives stands on top of its network,
// and must go before the world.
//
// Thread safety: none; and no other thread may make a call of the table of
// fio/base/syscalls.h while the world is made or dies.

#ifndef FIO_TESTING_WORLD_H_
#define FIO_TESTING_WORLD_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/loop.h"
#include "fio/sock/socket.h"
#include "fio/testing/fake_poller.h"
#include "fio/testing/manual_clock.h"
#include "fio/testing/simulated_network.h"

namespace fio::testing {

struct WorldOptions {
  // Of all that is drawn.
  uint64_t seed = 1;

  // The clock and the poller are the world's, whatever stands here.
  LoopOptions loop = {};

  // How the network behaves; its seed is the one above.
  SimulatedNetworkOptions network = {};

  // Whether events of a turn come in an order that is drawn, instead of that in
  // which they became ready.
  bool shuffle_events = false;

  // A RunUntilIdle() that takes more turns fails the test: a protocol spins.
  int max_turns = 100'000;
};

class World {
 public:
  // REQUIRES: no other World or SimulatedNetwork lives.
  explicit World(const WorldOptions& options);
  World() : World(WorldOptions()) {}
  World(const World&) = delete;
  World& operator=(const World&) = delete;
  // The loop goes first, each connection with its OnClose(). Sockets of
  // MakeConnection() that are left name nothing any more.
  ~World();

  Loop& loop() { return *loop_; }
  ManualClock& clock() { return clock_; }
  SimulatedNetwork& network() { return network_; }
  FakePoller& poller() { return *poller_; }

  // Gives the loop a new connection; `on_open` is called here and attaches a
  // protocol. A loop that is stopping refuses it: the peer sees the end.
  Peer Connect(absl::FunctionRef<void(Connection&)> on_open);

  // A connection for the test to use or to Adopt() itself, as after its peer
  // has sent something.
  std::pair<Socket, Peer> MakeConnection();

  // Lets `count` moments pass, each a step of the network and a turn of the
  // loop. Time stands still.
  void Turn(int count = 1);

  // Turns until nothing more would happen without time or a peer: nothing is
  // ready, in flight or posted, and no timer is due. A loop that has stopped
  // and has no connections left is idle, too.
  void RunUntilIdle();

  // Turns until `condition` is true, which is asked between turns, and lets
  // other threads run meanwhile: for the answer of a ThreadPool's task, as of
  // Offload(), which comes as a task of the loop. The world's time stands
  // still. REQUIRES: the condition becomes true, or this does not return.
  void RunUntil(absl::FunctionRef<bool()> condition);

  // Lets time pass, from deadline to deadline of the loop: each timer runs at
  // its time, with all that follows from it. REQUIRES: `span` is finite and not
  // negative.
  void Advance(absl::Duration span);

  // What has happened, a line each; with SimulatedNetworkOptions::trace. Runs
  // of the same seed and the same calls have the same trace.
  const std::string& trace() const { return network_.trace(); }

 private:
  bool IsIdle();
  void MoveClock(MonotonicTime time);

  const int max_turns_;
  ManualClock clock_;
  FakePoller* poller_ = nullptr;  // The loop's.
  SimulatedNetwork network_;
  std::unique_ptr<Loop> loop_;
};

}  // namespace fio::testing

#endif  // FIO_TESTING_WORLD_H_
