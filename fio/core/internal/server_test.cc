#include "fio/core/internal/server.h"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "fio/base/clock.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/internal/listen_entry.h"
#include "fio/core/internal/reactor_setup.h"
#include "fio/core/listener.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/reactor_options.h"
#include "fio/sock/connect.h"
#include "fio/sock/socket.h"
#include "fio/testing/loopback_pair.h"
#include "fio/testing/manual_clock.h"
#include "gtest/gtest.h"

namespace fio::core_internal {
namespace {

using testing::LoopbackPair;

class CountsCloses final : public Protocol {
 public:
  explicit CountsCloses(int& closes) : closes_(closes) {}
  void OnData(Connection& connection) override { connection.Received(); }
  void OnClose(Connection&, const CloseReason&) override { ++closes_; }

 private:
  int& closes_;
};

class ServerTest : public ::testing::Test {
 protected:
  static ReactorOptions Options(const Clock& clock) {
    ReactorOptions options = {.threads = 1, .workers = 1};
    options.loop.clock = &clock;
    return options;
  }

  ListenerId Listen() {
    const absl::StatusOr<ListenerId> id = setup_.listeners.Open(
        "tcp://127.0.0.1:0",
        {.on_open =
             [this](Connection& connection) {
               ++opened_;
               connection.Attach(std::make_unique<CountsCloses>(closed_));
             },
         .on_finish = [this] { ++finished_; }},
        Servers());
    EXPECT_TRUE(id.ok()) << id.status();
    return *id;
  }

  void Turns(int count = 3) {
    for (int i = 0; i < count; ++i) {
      ASSERT_TRUE(server_->RunTurn(MonotonicTime::InfinitePast()).ok());
    }
  }

  testing::ManualClock clock_;
  ReactorSetup setup_{Options(clock_)};
  int opened_ = 0;
  int closed_ = 0;
  int finished_ = 0;
  std::unique_ptr<Server> server_ = std::make_unique<Server>(Role{}, setup_);
};

TEST_F(ServerTest, ErrorsOfTheOptionsAreItsStatus) {
  ReactorSetup bad({.drain_time = -absl::Seconds(1)});
  const Server server(Role{}, bad);
  EXPECT_TRUE(absl::IsInvalidArgument(server.status()));
  EXPECT_EQ(server.engine(), "auto");
  EXPECT_EQ(server.running(), 0);
}

TEST_F(ServerTest, KnowsWhenItLookedForEvents) {
  EXPECT_EQ(server_->last_tick(), clock_.WallNow());
  clock_.Advance(absl::Seconds(5));
  EXPECT_EQ(server_->last_tick(), clock_.WallNow());
  Turns(1);
  const absl::Time tick = server_->last_tick();
  clock_.Advance(absl::Seconds(5));
  EXPECT_EQ(server_->last_tick(), tick);
}

TEST_F(ServerTest, AListenerThatNeverAcceptedEndsAtOnce) {
  const ListenerId id = Listen();
  EXPECT_TRUE(server_->CloseListener(id));
  EXPECT_EQ(finished_, 1);
  EXPECT_FALSE(server_->CloseListener(id));
  EXPECT_FALSE(server_->SetPaused(id, true));
}

TEST_F(ServerTest, AcceptsUntilTheListenerIsClosed) {
  const ListenerId id = Listen();
  ASSERT_TRUE(server_->Accept().ok());
  const absl::StatusOr<Socket> client =
      StartConnect(*setup_.listeners.FindAddress(id));
  ASSERT_TRUE(client.ok()) << client.status();
  pollfd arrived = {.fd = setup_.listeners.Find(id)->sockets.front()->fd(),
                    .events = POLLIN,
                    .revents = 0};
  ASSERT_EQ(poll(&arrived, 1, -1), 1);
  Turns();
  EXPECT_EQ(opened_, 1);
  EXPECT_TRUE(server_->CloseListener(id));
  EXPECT_EQ(finished_, 0);  // It is called in a task.
  Turns();
  EXPECT_EQ(finished_, 1);
  EXPECT_EQ(closed_, 0);
}

TEST_F(ServerTest, FinishEndsWhatIsOpen) {
  Listen();
  ASSERT_TRUE(server_->Accept().ok());
  int timers_finished = 0;
  server_->RunEvery({.callback = [] {},
                     .interval = absl::Hours(1),
                     .on_finish = [&timers_finished] { ++timers_finished; }});
  server_->loops().Stop(absl::ZeroDuration());
  Turns();
  server_->Finish();
  EXPECT_EQ(finished_, 1);
  EXPECT_EQ(timers_finished, 1);
  // It can begin anew.
  Listen();
  ASSERT_TRUE(server_->Accept().ok());
}

// A worker has the listeners of the setup, and nothing else of its root.
TEST_F(ServerTest, AForkedWorkerMakesItsOwn) {
  const ListenerId id = Listen();
  ASSERT_TRUE(server_->Accept().ok());
  LoopbackPair pair = LoopbackPair::Unix();
  ASSERT_TRUE(server_->main()
                  .Adopt(std::move(pair.near),
                         [this](Connection& connection) {
                           connection.Attach(
                               std::make_unique<CountsCloses>(closed_));
                         })
                  .ok());
  server_->set_running(1);
  server_->loops().BeforeFork();
  const pid_t child = fork();
  server_->loops().AfterFork();
  if (child == 0) {
    server_ = std::make_unique<Server>(
        Role{.kind = Role::Kind::kWorker, .place = 3}, setup_);
    const bool is_fresh = server_->status().ok() && server_->running() == 0 &&
                          server_->main().connection_count() == 0 &&
                          setup_.listeners.Find(id) != nullptr;
    const bool accepts = server_->Accept().ok();
    _exit(is_fresh && accepts && closed_ == 1 && finished_ == 0 ? 0 : 1);
  }
  ASSERT_GT(child, 0);
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  // Nothing of that reached the parent's.
  EXPECT_EQ(closed_, 0);
  EXPECT_EQ(server_->main().connection_count(), 1u);
  char byte;
  EXPECT_TRUE(pair.far.Read({&byte, 1}).would_block());
}

}  // namespace
}  // namespace fio::core_internal
