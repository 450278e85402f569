// What the peer sees of a socket of which a forked child has a copy.

#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

#include "absl/types/span.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/testing/fault_plan.h"
#include "fio/testing/loopback_pair.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using testing::FaultPlan;
using testing::LoopbackPair;
using testing::ReadUntil;

using Call = FaultPlan::Call;

// A child that holds a copy of every descriptor until this dies.
class Copies {
 public:
  Copies() {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    gate_ = UniqueFd(ends[0]);
    const UniqueFd gate_of_child(ends[1]);
    child_ = fork();
    if (child_ != 0) return;
    gate_.Reset();
    char byte;
    const ssize_t end = read(gate_of_child.get(), &byte, 1);
    _exit(static_cast<int>(end));
  }
  Copies(const Copies&) = delete;
  Copies& operator=(const Copies&) = delete;
  ~Copies() {
    gate_.Reset();
    int status = 0;
    EXPECT_EQ(waitpid(child_, &status, 0), child_);
    EXPECT_EQ(status, 0);
  }

 private:
  UniqueFd gate_;
  pid_t child_ = -1;
};

// What reading comes to, once it comes to anything.
IoResult ReadWhenReady(Socket& socket) {
  // Bounds a failure, not a success.
  pollfd ready = {.fd = socket.fd(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(poll(&ready, 1, 10'000), 1) << "the peer is told nothing";
  char byte;
  return socket.Read(absl::MakeSpan(&byte, 1));
}

TEST(Socket, EndsThoughAChildHasACopy) {
  for (const bool tcp : {true, false}) {
    SCOPED_TRACE(tcp ? "TCP" : "Unix");
    const auto make = [tcp] {
      return tcp ? LoopbackPair::Tcp() : LoopbackPair::Unix();
    };
    {
      LoopbackPair pair = make();
      const Copies copies;
      pair.near.Close();
      const IoResult end = ReadWhenReady(pair.far);
      EXPECT_TRUE(end.ok() && end.bytes == 0) << end.error;
    }
    {
      LoopbackPair pair = make();
      const Copies copies;
      EXPECT_TRUE(pair.near.Write("the last words").ok());
      pair.near.Close();
      EXPECT_EQ(ReadUntil(pair.far, 14), "the last words");
      EXPECT_EQ(ReadWhenReady(pair.far).bytes, 0u);
    }
    {
      LoopbackPair pair = make();
      const Copies copies;
      pair.near.Abort();
      EXPECT_EQ(ReadWhenReady(pair.far).error, tcp ? ECONNRESET : 0);
    }
    {
      // As an owner does that closes the descriptor last.
      LoopbackPair pair = make();
      pair.near.HoldDescriptor(true);
      const Copies copies;
      pair.near.Discard();
      pair.near = Socket();
      EXPECT_EQ(ReadWhenReady(pair.far).bytes, 0u);
    }
  }
}

// A child destroys what it inherits, in each state, and the peer notices
// nothing.
TEST(Socket, ACopyThatIsDroppedEndsNothing) {
  for (const bool tcp : {true, false}) {
    SCOPED_TRACE(tcp ? "TCP" : "Unix");
    LoopbackPair pair = tcp ? LoopbackPair::Tcp() : LoopbackPair::Unix();
    LoopbackPair held = tcp ? LoopbackPair::Tcp() : LoopbackPair::Unix();
    held.near.HoldDescriptor(true);
    const pid_t child = fork();
    if (child == 0) {
      const Copies forks_too;
      pair.near = Socket();
      held.near.Forsake();
      held.near.Discard();
      held.near = Socket();
      _exit(0);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    for (LoopbackPair* one : {&pair, &held}) {
      EXPECT_TRUE(one->near.TryWrite("still here").ok());
      EXPECT_EQ(ReadUntil(one->far, 10), "still here");
    }
  }
}

// What is handed over goes on, too.
TEST(Socket, ReleaseEndsNothing) {
  LoopbackPair pair = LoopbackPair::Tcp();
  const Copies copies;
  Socket again(pair.near.Release());
  EXPECT_TRUE(again.TryWrite("still here").ok());
  EXPECT_EQ(ReadUntil(pair.far, 10), "still here");
}

// Who never forks does not pay for it.
TEST(Socket, CloseIsOneCallWhereNobodyHasACopy) {
  const pid_t child = fork();  // It has made no fork itself.
  if (child == 0) {
    LoopbackPair pair = LoopbackPair::Tcp();
    pair.near.HoldDescriptor(true);
    pair.near.Discard();
    const FaultPlan plan;
    pair.near = Socket();
    _exit(plan.calls() == plan.calls(Call::kClose) ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace fio
