// Forks of a root whose other threads are at work on its loop.

#include <atomic>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/core/exit_with.h"
#include "fio/core/listener.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/loop/protocol_lock.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/reactor.h"
#include "fio/core/reactor_options.h"
#include "fio/core/test_cluster.h"
#include "fio/sock/socket_address.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using core_internal::TestClient;
using core_internal::TestCluster;
using core_internal::Trace;

#ifdef NDEBUG
constexpr size_t kForks = 1'000;
#else
constexpr size_t kForks = 200;
#endif

class Silent final : public Protocol {
 public:
  void OnData(Connection& connection) override { connection.Received(); }
};

// Does whatever other threads may do to a loop, over and over.
class Hammer {
 public:
  Hammer(Reactor& reactor, ConnectionId id)
      : reactor_(reactor), id_(id), thread_([this] { Run(); }) {}
  ~Hammer() {
    stop_ = true;
    thread_.join();
  }

 private:
  // So many tasks may wait, that memory stays bounded.
  static constexpr uint64_t kAhead = 200;

  void Run() {
    uint64_t posted = 0;
    while (!stop_) {
      const LoopHandle handle = reactor_.HandleOf(id_);
      for (int i = 0; i < 20; ++i) {
        handle.Post([] {});
        handle.Write(id_, "x");
        handle.Touch(id_);
        handle.TryLock(id_, ProtocolLock::Kind::kTask).IgnoreError();
        handle.Post(id_, [done = done_](Connection*) { ++*done; });
      }
      posted += 20;
      const Lifecycle::CallbackId callback =
          reactor_.lifecycle().Add(LifecycleEvent::kOnUser, [] {});
      reactor_.lifecycle().Remove(callback);
      while (!stop_ && posted - *done_ > kAhead) std::this_thread::yield();
    }
  }

  Reactor& reactor_;
  const ConnectionId id_;
  // The tasks' own, which may run when this has gone.
  const std::shared_ptr<std::atomic<uint64_t>> done_ =
      std::make_shared<std::atomic<uint64_t>>(0);
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

TEST(Fork, WhileLocksHeld) {
  TestCluster cluster([](const Trace& trace) {
    Reactor reactor({.workers = 2,
                     .root_threads = RootThreads::kAllow,
                     .respawn_delay = absl::ZeroDuration(),
                     .max_respawn_delay = absl::ZeroDuration()});
    std::vector<std::unique_ptr<Hammer>> hammers;
    trace.Listen(reactor, {.on_open =
                               [&](Connection& connection) {
                                 connection.Attach(std::make_unique<Silent>());
                                 for (int i = 0; i < 3; ++i) {
                                   hammers.push_back(std::make_unique<Hammer>(
                                       reactor, connection.id()));
                                 }
                               },
                           .root_only = true});
    size_t forks = 0;
    reactor.lifecycle().Add(LifecycleEvent::kInRoot, [&] {
      if (!hammers.empty() && ++forks == kForks) {
        trace.Tell("enough");
        reactor.Stop();
      }
    });
    // A worker that has come this far works, and is to be replaced.
    reactor.Defer([&reactor] {
      if (!reactor.is_root()) std::raise(SIGKILL);
    });
    const int code = ExitWith(reactor.Run());
    hammers.clear();
    return code;
  });
  TestClient client(cluster.AwaitAddress());
  constexpr size_t kPiece = size_t{1} << 16;
  std::string received;
  do {
    received = client.Receive(kPiece);
    EXPECT_EQ(received.find_first_not_of('x'), std::string::npos);
  } while (received.size() == kPiece);
  cluster.Await("enough");
  EXPECT_EQ(client.error(), 0);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
}

}  // namespace
}  // namespace fio
