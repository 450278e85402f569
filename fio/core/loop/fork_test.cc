// A loop in a process that forks: the child's copy of it ends, and the parent's
// goes on as if nothing had happened.

#include <fcntl.h>
#include <poll.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/syscalls.h"
#include "fio/base/unique_fd.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_group.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_options.h"
#include "fio/core/loop/protocol_lock.h"
#include "fio/core/loop/test_util.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/poller.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/testing/loopback_pair.h"
#include "fio/testing/scripted_transport.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using loop_internal::LoopFixture;
using loop_internal::Record;
using ::testing::ElementsAre;
using testing::LoopbackPair;
using testing::ReadAvailable;
using testing::ScriptedTransport;

constexpr size_t kMuch = size_t{16} << 20;  // More than the kernel takes.
constexpr int kPatienceMs = 20'000;         // Only a test that fails waits.

// Whether the peer of `socket` has sent something, or ended the connection.
bool HasNews(const Socket& socket) {
  pollfd ready = {.fd = socket.fd(), .events = POLLIN, .revents = 0};
  return Sys().poll(&ready, 1, 0) != 0;
}

class ForkTest : public LoopFixture,
                 public ::testing::WithParamInterface<PollerKind> {
 protected:
  ForkTest() : LoopFixture({.poller = GetParam()}) {}

  // Forks as a reactor does. The child runs `in_child`, in which expectations
  // may fail, and ends at once.
  void Fork(const std::function<void()>& in_child) {
    int ends[2];
    ABSL_CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    const UniqueFd alive(ends[0]);
    UniqueFd lives(ends[1]);
    loop_->BeforeFork();
    const pid_t child = fork();
    loop_->AfterFork();
    ABSL_CHECK_GE(child, 0);
    if (child == 0) {
      in_child();
      _exit(HasFailure() ? 1 : 0);
    }
    lives.Reset();
    pollfd ended = {.fd = alive.get(), .events = POLLIN, .revents = 0};
    if (Sys().poll(&ended, 1, kPatienceMs) != 1) {
      ADD_FAILURE() << "the child hangs";
      kill(child, SIGKILL);
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
    EXPECT_EQ(status, 0);
  }

  // What the far end gets while the loop runs, up to `bytes`.
  std::string Drain(Socket& far, size_t bytes) {
    std::string received;
    for (int turns = 0; received.size() < bytes && turns < 100'000; ++turns) {
      Turn();
      received += ReadAvailable(far);
    }
    return received;
  }
};

INSTANTIATE_TEST_SUITE_P(Pollers, ForkTest,
                         ::testing::Values(PollerKind::kAuto,
                                           PollerKind::kPoll));

TEST_P(ForkTest, PlainConnectionsAreTheParents) {
  constexpr int kConnections = 5;
  std::vector<LoopbackPair> pairs;
  std::vector<ConnectionId> ids;
  for (int i = 0; i < kConnections; ++i) {
    pairs.push_back(LoopbackPair::Tcp());
    ids.push_back(Adopt(pairs.back().near, NewRecord()).id());
  }
  Turn(2);
  const std::string much(kMuch, 'x');
  loop_->Find(ids[0])->Write(much);  // Waits for the kernel to have room,
  Turn();
  loop_->Find(ids[1])->Write("cork");  // and this for the turn's end.
  loop_->Find(ids[2])->Write("bye");
  loop_->Find(ids[2])->Close();
  loop_->Find(ids[3])->Abort();
  const std::string early = ReadAvailable(pairs[0].far);
  Fork([&] {
    loop_ = nullptr;
    for (const Record& record : records_) {
      EXPECT_EQ(record.Count("close"), 1);
      EXPECT_EQ(record.Count("destroyed"), 1);
      EXPECT_EQ(record.Count("shutdown"), 0);
    }
  });
  for (int i = 1; i < kConnections; ++i) EXPECT_FALSE(HasNews(pairs[i].far));
  for (const Record& record : records_) EXPECT_EQ(record.Count("close"), 0);
  // All of it goes on, each edge is still told.
  Turn(2);
  EXPECT_EQ(ReadAvailable(pairs[1].far), "cork");
  EXPECT_EQ(ReadAvailable(pairs[2].far), "bye");
  EXPECT_EQ(records_[3].Count("close"), 1);
  EXPECT_EQ(early.size() + Drain(pairs[0].far, kMuch - early.size()).size(),
            kMuch);
  for (const int i : {0, 1, 4}) {
    EXPECT_TRUE(pairs[i].far.TryWrite("hello").ok());
    Turn();
    EXPECT_EQ(records_[i].data, "hello");
    pairs[i].far = Socket();
    Turn(2);
    EXPECT_THAT(records_[i].told,
                ::testing::IsSupersetOf({"data", "end", "close"}));
  }
}

TEST_P(ForkTest, TransportsSayNoFarewell) {
  LoopbackPair pair = LoopbackPair::Tcp();
  ScriptedTransport::Script script;
  script.delays_close = true;
  script.writes = {IoResult{.error = EAGAIN}, IoResult{.error = EAGAIN}};
  Connection& connection = Adopt(pair.near, NewRecord());
  ASSERT_TRUE(
      connection.SetTransport(std::make_unique<ScriptedTransport>(script))
          .ok());
  const ConnectionId id = connection.id();
  connection.Write("queued");
  Turn(2);
  connection.Close();  // The farewell is still to come.
  const std::vector<std::string> before = script.calls;
  ASSERT_THAT(before, ::testing::Not(::testing::Contains("before_close")));
  Fork([&] {
    loop_ = nullptr;
    script.calls.erase(
        script.calls.begin(),
        script.calls.begin() + static_cast<std::ptrdiff_t>(before.size()));
    EXPECT_THAT(script.calls, ElementsAre("destroyed"));
    EXPECT_EQ(records_[0].Count("close"), 1);
  });
  EXPECT_EQ(script.calls, before);
  EXPECT_FALSE(HasNews(pair.far));
  EXPECT_NE(loop_->Find(id), nullptr);
  script.writes.clear();
  loop_->Find(id)->Flush();
  Turn(2);
  EXPECT_EQ(script.written, "queued");
  EXPECT_THAT(script.calls, ::testing::Contains("before_close"));
}

// Whatever is to be called once is, in the parent and in the child.
TEST_P(ForkTest, EachCallbackOncePerProcess) {
  LoopbackPair pairs[] = {LoopbackPair::Tcp(), LoopbackPair::Tcp()};
  const ConnectionId id = Adopt(pairs[0].near, NewRecord()).id();
  const ConnectionId other = Adopt(pairs[1].near, NewRecord()).id();
  Turn(2);
  int tasks = 0;
  int dropped_tasks = 0;
  int with = 0;
  int with_none = 0;
  int timers = 0;
  int finished = 0;
  int env = 0;
  int env_before_close = 0;
  int watched = 0;
  const auto counts_drop = std::shared_ptr<void>(
      nullptr, [&dropped_tasks](void*) { ++dropped_tasks; });
  ASSERT_TRUE(loop_->Find(id)
                  ->SetEnv({.type = 1}, nullptr,
                           [&](void*) {
                             ++env;
                             env_before_close = records_[0].Count("close") == 0;
                           })
                  .ok());
  auto group = std::make_unique<ConnectionGroup>(*loop_);
  group->Add(*loop_->Find(id));
  loop_->Find(id)->LinkWith(*loop_->Find(other));
  const auto count_with = [&](Connection* connection) {
    ++(connection == nullptr ? with_none : with);
  };
  // A lock that another thread has makes its task wait beyond the turn.
  std::optional<ProtocolLock> lock =
      LockElsewhere(other, ProtocolLock::Kind::kTask);
  ASSERT_TRUE(lock.has_value());
  loop_->Post(other, count_with);
  Turn();
  EXPECT_EQ(with + with_none, 0);
  loop_->Post(id, count_with);
  loop_->Post([&tasks] { ++tasks; });
  loop_->RunAfter(absl::Seconds(1), [&timers] { ++timers; });
  loop_->RunEvery({.callback =
                       [&timers] {
                         ++timers;
                         return TimerWheel::Next::kContinue;
                       },
                   .interval = absl::Seconds(1),
                   .on_finish = [&finished] { ++finished; }});
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
  const UniqueFd reader(ends[0]);
  const UniqueFd writer(ends[1]);
  ASSERT_TRUE(loop_
                  ->Watch(reader.get(), Interest::kReadable, Trigger::kEdge,
                          [&watched](Readiness) { ++watched; })
                  .ok());
  Fork([&] {
    group = nullptr;
    loop_ = nullptr;
    EXPECT_EQ(tasks, 0);
    EXPECT_EQ(with, 0);
    EXPECT_EQ(with_none, 2);
    EXPECT_EQ(timers, 0);
    EXPECT_EQ(finished, 1);
    EXPECT_EQ(env, 1);
    EXPECT_EQ(env_before_close, 1);
    EXPECT_EQ(watched, 0);
    for (const Record& record : records_) {
      EXPECT_EQ(record.Count("close"), 1);
      EXPECT_EQ(record.Count("destroyed"), 1);
    }
  });
  EXPECT_EQ(with_none + finished + env, 0);
  EXPECT_EQ(write(writer.get(), "x", 1), 1);
  Advance(absl::Seconds(1));
  EXPECT_EQ(tasks, 1);
  EXPECT_EQ(with, 1);
  EXPECT_EQ(timers, 2);
  EXPECT_EQ(watched, 1);
  UnlockElsewhere(lock);
  Turn(2);
  EXPECT_EQ(with, 2);
  EXPECT_EQ(group->size(), 1u);
  group = nullptr;
  loop_ = nullptr;
  EXPECT_EQ(finished, 1);
  EXPECT_EQ(env, 1);
  EXPECT_EQ(with_none, 0);
  for (const Record& record : records_) EXPECT_EQ(record.Count("close"), 1);
}

// What callbacks do to what is left in the child goes nowhere.
TEST_P(ForkTest, ReentrantCallbacksInTheChild) {
  constexpr size_t kConnections = 4;
  std::vector<LoopbackPair> pairs;
  std::vector<ConnectionId> ids;
  for (size_t i = 0; i < kConnections; ++i) {
    pairs.push_back(LoopbackPair::Tcp());
    ids.push_back(Adopt(pairs.back().near, NewRecord()).id());
  }
  Turn(2);
  int tasks = 0;
  for (Record& record : records_) {
    record.on_close = [&](Connection& closed) {
      closed.Write("from the grave");
      for (const ConnectionId id : ids) {
        Connection* const connection = loop_->Find(id);
        if (connection == nullptr) continue;
        connection->Write("from the child");
        connection->Flush();
        connection->Abort();
      }
      loop_->Post([&tasks] { ++tasks; });
      loop_->Wake();
      loop_->RunAfter(absl::ZeroDuration(), [&tasks] { ++tasks; });
      loop_->FlushAll();
      loop_->Stop();
    };
  }
  Fork([&] {
    // As ~unique_ptr does it, so that callbacks find the loop.
    loop_->~Loop();
    EXPECT_EQ(tasks, 0);
    for (const Record& record : records_) EXPECT_EQ(record.Count("close"), 1);
  });
  for (Record& record : records_) record.on_close = nullptr;
  for (const LoopbackPair& pair : pairs) EXPECT_FALSE(HasNews(pair.far));
  for (size_t i = 0; i < kConnections; ++i) {
    EXPECT_TRUE(pairs[i].far.TryWrite("hello").ok());
    Turn();
    EXPECT_EQ(records_[i].data, "hello");
    loop_->Find(ids[i])->Write("hello");
    Turn();
    EXPECT_EQ(ReadAvailable(pairs[i].far), "hello");
  }
}

// Sockets that wait to be adopted are the parent's as well.
TEST_P(ForkTest, HandedOverSocketsStay) {
  LoopbackPair pair = LoopbackPair::Tcp();
  Record& record = NewRecord();
  const auto attach = [&record](Connection& connection) {
    connection.Attach(std::make_unique<loop_internal::Recorder>(record));
  };
  ASSERT_TRUE(loop_->handle().Adopt(std::move(pair.near), attach));
  Fork([&] {
    loop_ = nullptr;
    EXPECT_THAT(record.told, ElementsAre());
  });
  EXPECT_FALSE(HasNews(pair.far));
  Turn();
  EXPECT_TRUE(pair.far.TryWrite("hello").ok());
  Turn();
  EXPECT_EQ(record.data, "hello");
}

// A child may have a loop of its own, by which the parent's is not disturbed.
TEST_P(ForkTest, AChildsOwnLoop) {
  LoopbackPair pair = LoopbackPair::Tcp();
  Adopt(pair.near, NewRecord());
  Turn(2);
  Fork([&] {
    loop_ = nullptr;
    Record record;
    absl::StatusOr<std::unique_ptr<Loop>> loop =
        Loop::Create({.poller = GetParam()});
    ASSERT_TRUE(loop.ok()) << loop.status();
    LoopbackPair own = LoopbackPair::Tcp();
    const absl::StatusOr<ConnectionId> id =
        (*loop)->Adopt(std::move(own.near), [&record](Connection& connection) {
          connection.Attach(std::make_unique<loop_internal::Recorder>(record));
        });
    ASSERT_TRUE(id.ok()) << id.status();
    std::thread([&loop, id] { (*loop)->handle().Write(*id, "ping"); }).join();
    EXPECT_TRUE(own.far.TryWrite("hello").ok());
    while (record.data.empty()) {
      ASSERT_TRUE((*loop)->RunOnce(MonotonicTime::InfiniteFuture()).ok());
    }
    EXPECT_EQ(record.data, "hello");
    EXPECT_EQ(ReadAvailable(own.far), "ping");
  });
  EXPECT_FALSE(HasNews(pair.far));
  EXPECT_TRUE(pair.far.TryWrite("hello").ok());
  Turn();
  EXPECT_EQ(records_[0].data, "hello");
}

}  // namespace
}  // namespace fio
