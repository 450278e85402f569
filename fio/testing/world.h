// A World is a Loop on a ManualClock, a poller that never waits, and a
// simulated network. Only the test and a seed determine what happens in it, so
// each run of a user's Protocol is the same and takes no real time.
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
// For a client under test, Listen() decides who answers: the test itself, or a
// server of the same World.
//
//   Peer server;
//   world.Listen("tcp://10.0.0.1:80",
//                {.on_peer = [&](Peer peer) { server = peer; }});
//   Resolver resolver;
//   auto connector = Connector::Create(world.loop(), resolver,
//                                      "tcp://10.0.0.1:80", options);
//   world.RunUntilIdle();
//   server.Send("hello");
//
// By default the network has no faults. WorldOptions::network sets how likely
// calls are partial or refused, connections are reset and messages are split. A
// World can hold a million connections.
//
// A test that says `using namespace fio;` cannot name this namespace as
// `testing`, since that is ambiguous with googletest's ::testing. Write
// `using fio::testing::World;` instead, as the example above assumes.
//
// Run the loop only by the methods below: Loop::Run() would spin. Only
// RunUntil() waits for other threads, such as those of a ThreadPool; in the
// other methods a posted task runs in the turn that finds it.
//
// Each World numbers its connections from 1, so ids are the same in each run;
// an id of one World may be that of a connection in the next. Pass a seed for
// what else is random, such as ConnectorOptions::jitter_seed.
//
// A FaultPlan that is created during the lifetime of a World forwards to its
// network, and must be destroyed before the World.
//
// Thread safety: none. No other thread may make a call of the table of
// fio/base/syscalls.h while the World is created or destroyed.

#ifndef FIO_TESTING_WORLD_H_
#define FIO_TESTING_WORLD_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/internal/serials.h"
#include "fio/core/loop/loop.h"
#include "fio/sock/socket.h"
#include "fio/testing/fake_poller.h"
#include "fio/testing/manual_clock.h"
#include "fio/testing/simulated_network.h"

namespace fio::testing {

struct WorldOptions {
  // The seed of all random numbers.
  uint64_t seed = 1;

  // Its clock and its poller are ignored: the World has its own.
  LoopOptions loop = {};

  // How the network behaves. Its seed is ignored: `seed` is used.
  SimulatedNetworkOptions network = {};

  // Whether the events of a turn are in random order, instead of the order in
  // which they became ready.
  bool shuffle_events = false;

  // A RunUntilIdle() that takes more turns fails the test, because a protocol
  // spins.
  int max_turns = 100'000;
};

// What a connection to a url reaches. Set at most one member. With none the
// host does not answer, and an attempt to connect times out.
struct WorldListenOptions {
  // Called with the server's end of each new connection. It must not run the
  // World.
  std::function<void(Peer)> on_peer = nullptr;
  // As ListenOptions::on_open, for a server on the World's loop; called in a
  // task. Bytes from one end reach the other one turn later.
  std::function<void(Connection&)> on_open = nullptr;
};

class World {
 public:
  // REQUIRES: no other World or SimulatedNetwork exists.
  explicit World(const WorldOptions& options);
  World() : World(WorldOptions()) {}
  World(const World&) = delete;
  World& operator=(const World&) = delete;
  // Destroys the loop first: each connection gets its OnClose(). Sockets of
  // MakeConnection() that still exist become invalid.
  ~World();

  Loop& loop() { return *loop_; }
  ManualClock& clock() { return clock_; }
  SimulatedNetwork& network() { return network_; }
  FakePoller& poller() { return *poller_; }

  // Adds a new connection to the loop. Calls `on_open`, which attaches a
  // protocol, before it returns. A loop that is stopping refuses the
  // connection: the peer sees the end.
  Peer Connect(absl::FunctionRef<void(Connection&)> on_open);

  // A connection that the test uses or Adopt()s itself, for example after its
  // peer has sent something.
  std::pair<Socket, Peer> MakeConnection();

  // From now on connections to `url` in this process reach `options`, and
  // connections to addresses without a listener are refused: socket(2) creates
  // no TCP socket of the kernel any more. For a url with a name, give the
  // Connector a Resolver that knows its address, and wait with RunUntil().
  // REQUIRES: `url` is a TCP url with an IP address and a port, and is not
  // listened at.
  void Listen(std::string_view url, WorldListenOptions options);
  // Established connections stay. REQUIRES: `url` is listened at.
  void StopListening(std::string_view url);

  // Runs `count` times a step of the network and a turn of the loop. The time
  // does not change.
  void Turn(int count = 1);

  // Runs turns until nothing is ready, in flight or posted, and no timer is
  // due. A loop that has stopped and has no connections left is idle, too.
  void RunUntilIdle();

  // Runs turns until `condition` is true, and lets other threads run meanwhile.
  // `condition` is called between turns. Use it to wait for the result of
  // Offload(), which arrives as a task of the loop. The World's time does not
  // change. REQUIRES: the condition becomes true; otherwise this never returns.
  void RunUntil(absl::FunctionRef<bool()> condition);

  // Advances the time, from deadline to deadline of the loop: each timer runs
  // at its time, and then turns until the loop is idle. REQUIRES: `span` is
  // finite and not negative.
  void Advance(absl::Duration span);

  // The events so far, one per line. Empty without
  // SimulatedNetworkOptions::trace. Runs with the same seed and the same calls
  // have the same trace.
  const std::string& trace() const { return network_.trace(); }

 private:
  // What goes from one end of a connection to the other one, both of this loop.
  struct Stream {
    enum class State : uint8_t { kOpen, kEnded, kClosed };
    Peer from, to;
    State state = State::kOpen;
  };

  bool IsIdle();
  void Accept(Peer client, const std::function<void(Connection&)>& on_open);
  static bool Carry(Stream& stream);
  bool CarryAll();
  void MoveClock(MonotonicTime time);

  const int max_turns_;
  ManualClock clock_;
  FakePoller* poller_ = nullptr;  // The loop's.
  SimulatedNetwork network_;
  core_internal::SerialsFrom serials_;
  std::unique_ptr<Loop> loop_;
  std::vector<Stream> streams_;
  bool carried_ = false;  // Something, in the last turn.
};

}  // namespace fio::testing

#endif  // FIO_TESTING_WORLD_H_
