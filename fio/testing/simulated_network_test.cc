#include "fio/testing/simulated_network.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/syscalls.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/event.h"
#include "fio/sock/socket.h"
#include "fio/testing/fake_poller.h"
#include "fio/testing/fault_plan.h"
#include "fio/testing/loopback_pair.h"
#include "fio/testing/memory_file.h"
#include "gtest/gtest.h"

namespace fio::testing {
namespace {

constexpr int kFirst = SimulatedNetwork::kFirstFd;
constexpr int16_t kAllEvents = POLLIN | POLLOUT | POLLRDHUP | POLLPRI;

// Of a call: what it returned, or the negative errno.
ssize_t OrErrno(ssize_t result) { return result < 0 ? -errno : result; }

ssize_t Send(int fd, std::string_view bytes) {
  return OrErrno(Sys().send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL));
}

ssize_t Recv(int fd, std::string& out, int flags = 0) {
  char buffer[1024];
  const ssize_t got = OrErrno(Sys().recv(fd, buffer, sizeof(buffer), flags));
  out.assign(buffer, got > 0 ? static_cast<size_t>(got) : 0);
  return got;
}

ssize_t Recv(int fd) {
  std::string out;
  return Recv(fd, out);
}

int PollNow(int fd) {
  pollfd ready = {.fd = fd, .events = kAllEvents, .revents = 0};
  EXPECT_GE(Sys().poll(&ready, 1, 0), 0);
  return ready.revents;
}

// --- As the kernel does it ---

enum class Op {
  kFarSend,
  kFarTake,
  kFarEnd,
  kFarClose,
  kFarReset,
  kNearSend,
  kNearRecv,
  kNearPeek,
  kNearEndWrite,
  kNearEndRead,
  kNearError,
  kNearPeerName,
  kNearResetOnClose,
  kNearClose,
};
constexpr int kOps = static_cast<int>(Op::kNearClose) + 1;

// A connection of the kernel and one of the network, to which the same is done.
class Twins {
 public:
  explicit Twins(SimulatedNetwork& network)
      : kernel_(LoopbackPair::Tcp()),
        kernel_near_(kernel_.near.Release()),
        kernel_far_(kernel_.far.Release()) {
    SimulatedNetwork::Connection made = network.Connect();
    near_ = std::move(made.near);
    peer_ = std::move(made.peer);
    peer_.SetAutoRead(false);
  }

  // False if they differ.
  ::testing::AssertionResult Do(Op op) {
    const std::string simulated = Simulate(op);
    const std::string real = DoInKernel(op);
    if (simulated != real) {
      return ::testing::AssertionFailure()
             << "simulated: " << simulated << ", kernel: " << real;
    }
    return AwaitSameReadiness();
  }

 private:
  // What differs between kernels is named here and nowhere else.
  std::string Near(Op op, int fd) {
    if (fd < 0) return "";
    std::string bytes;
    switch (op) {
      case Op::kNearSend:
        return absl::StrCat(Send(fd, "near"));
      case Op::kNearRecv:
        return absl::StrCat(Recv(fd, bytes), bytes);
      case Op::kNearPeek:
        return absl::StrCat(Recv(fd, bytes, MSG_PEEK), bytes);
      case Op::kNearEndWrite:
        return absl::StrCat(OrErrno(Sys().shutdown(fd, SHUT_WR)));
      case Op::kNearEndRead:
        return absl::StrCat(OrErrno(Sys().shutdown(fd, SHUT_RD)));
      case Op::kNearError: {
        int error = 0;
        socklen_t size = sizeof(error);
        Sys().getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
        return absl::StrCat(error);
      }
      case Op::kNearPeerName: {
        sockaddr_in address = {};
        socklen_t size = sizeof(address);
        return absl::StrCat(OrErrno(Sys().getpeername(
            fd, reinterpret_cast<sockaddr*>(&address), &size)));
      }
      case Op::kNearResetOnClose: {
        const linger reset = {.l_onoff = 1, .l_linger = 0};
        return absl::StrCat(OrErrno(Sys().setsockopt(fd, SOL_SOCKET, SO_LINGER,
                                                     &reset, sizeof(reset))));
      }
      default:
        return "";
    }
  }

  std::string Simulate(Op op) {
    switch (op) {
      case Op::kFarSend:
        peer_.Send("far");
        return "";
      case Op::kFarTake:
        if (!kernel_far_) return "";
        return absl::StrCat(peer_.TakeReceived(), FarState());
      case Op::kFarEnd:
        peer_.ShutdownWrite();
        return "";
      case Op::kFarClose:
        peer_.Close();
        return "";
      case Op::kFarReset:
        peer_.Reset();
        return "";
      case Op::kNearClose:
        near_.Reset();
        return "";
      default:
        return Near(op, near_.get());
    }
  }

  std::string FarState() {
    if (peer_.saw_end()) return "|0";
    return absl::StrCat("|", peer_.saw_reset() ? -ECONNRESET : -EAGAIN);
  }

  std::string DoInKernel(Op op) {
    switch (op) {
      case Op::kFarSend:
        if (kernel_far_ && Send(kernel_far_.get(), "far") == -ECONNRESET) {
          far_was_reset_ = true;
        }
        return "";
      case Op::kFarTake:
        return kernel_far_ ? TakeInKernel() : "";
      case Op::kFarEnd:
        if (kernel_far_) Sys().shutdown(kernel_far_.get(), SHUT_WR);
        return "";
      case Op::kFarClose:
        kernel_far_.Reset();
        return "";
      case Op::kFarReset:
        if (kernel_far_) Near(Op::kNearResetOnClose, kernel_far_.get());
        kernel_far_.Reset();
        return "";
      case Op::kNearClose:
        kernel_near_.Reset();
        return "";
      default:
        return Near(op, kernel_near_.get());
    }
  }

  std::string TakeInKernel() {
    std::string all;
    std::string bytes;
    ssize_t last = 0;
    while ((last = Recv(kernel_far_.get(), bytes)) > 0) all += bytes;
    // Told once by the kernel, for good by a Peer.
    if (last == -ECONNRESET) far_was_reset_ = true;
    if (last == 0 && far_was_reset_) last = -ECONNRESET;
    return absl::StrCat(all, "|", last);
  }

  // The kernel may take a moment.
  ::testing::AssertionResult AwaitSameReadiness() {
    if (!near_) return ::testing::AssertionSuccess();
    const int simulated = PollNow(near_.get());
    int real = 0;
    for (int i = 0; i < 1'000'000; ++i) {
      real = PollNow(kernel_near_.get());
      if (real == simulated) return ::testing::AssertionSuccess();
    }
    return ::testing::AssertionFailure()
           << "simulated readiness: " << simulated << ", kernel: " << real;
  }

  LoopbackPair kernel_;
  UniqueFd kernel_near_;
  UniqueFd kernel_far_;
  bool far_was_reset_ = false;
  UniqueFd near_;
  Peer peer_;
};

TEST(SimulatedNetwork, DoesWhatTheKernelDoes) {
  SimulatedNetwork network;
  for (uint32_t seed = 1; seed <= 1000; ++seed) {
    std::mt19937 random(seed);
    Twins twins(network);
    std::string done;
    for (int i = 0; i < 12; ++i) {
      const int op = static_cast<int>(random() % kOps);
      absl::StrAppend(&done, " ", op);
      ASSERT_TRUE(twins.Do(static_cast<Op>(op)))
          << "seed " << seed << ", ops" << done;
    }
  }
}

// --- On its own ---

std::string RecvAll(int fd) {
  std::string all;
  std::string bytes;
  while (Recv(fd, bytes) > 0) all += bytes;
  return all;
}

TEST(SimulatedNetwork, NumbersAreTheLowestThatAreFree) {
  SimulatedNetwork network;
  std::vector<SimulatedNetwork::Connection> made;
  for (int i = 0; i < 4; ++i) made.push_back(network.Connect());
  EXPECT_EQ(made[3].near.get(), kFirst + 3);
  made[2].near.Reset();
  made[1].near.Reset();
  EXPECT_EQ(network.open_count(), 2);
  EXPECT_EQ(network.Connect().near.get(), kFirst + 1);
  made[1] = network.Connect();
  made[2] = network.Connect();
  EXPECT_EQ(made[1].near.get(), kFirst + 1);
  EXPECT_EQ(made[2].near.get(), kFirst + 2);
  EXPECT_EQ(network.Connect().near.get(), kFirst + 4);
}

TEST(SimulatedNetwork, AClosedNumberIsNone) {
  SimulatedNetwork network;
  int fd = 0;
  {
    const SimulatedNetwork::Connection made = network.Connect();
    fd = made.near.get();
  }
  EXPECT_EQ(Recv(fd), -EBADF);
  EXPECT_EQ(OrErrno(Sys().close(fd)), -EBADF);
}

TEST(SimulatedNetwork, RealDescriptorsAreTheKernels) {
  LoopbackPair pair = LoopbackPair::Unix();
  SimulatedNetwork network;
  EXPECT_EQ(Send(pair.near.fd(), "real"), 4);
  EXPECT_EQ(RecvAll(pair.far.fd()), "real");
  EXPECT_EQ(network.calls(), 0);
}

TEST(SimulatedNetwork, PutsTheTableBack) {
  const Syscalls* before = &Sys();
  {
    const SimulatedNetwork network;
    EXPECT_NE(&Sys(), before);
  }
  EXPECT_EQ(&Sys(), before);
}

TEST(SimulatedNetwork, BytesBeyondTheWindowWaitInFlight) {
  SimulatedNetwork network({.window_bytes = 10});
  SimulatedNetwork::Connection made = network.Connect();
  made.peer.Send("0123456789abcde");
  made.peer.ShutdownWrite();
  EXPECT_EQ(made.peer.in_flight_bytes(), 5);
  EXPECT_EQ(RecvAll(made.near.get()), "0123456789");
  EXPECT_EQ(Recv(made.near.get()), -EAGAIN);
  EXPECT_TRUE(network.Step());
  EXPECT_EQ(RecvAll(made.near.get()), "abcde");
  EXPECT_EQ(Recv(made.near.get()), 0);
  EXPECT_FALSE(network.Step());
}

TEST(SimulatedNetwork, APeerThatDoesNotTakeStallsTheWriter) {
  SimulatedNetwork network({.window_bytes = 10});
  SimulatedNetwork::Connection made = network.Connect();
  made.peer.SetAutoRead(false);
  EXPECT_EQ(Send(made.near.get(), "0123456789abcde"), 10);
  EXPECT_EQ(Send(made.near.get(), "abcde"), -EAGAIN);
  network.Step();
  EXPECT_EQ(Send(made.near.get(), "abcde"), -EAGAIN);
  EXPECT_FALSE(network.readiness(made.near.get()).writable());
  EXPECT_EQ(made.peer.TakeReceived(), "0123456789");
  EXPECT_TRUE(network.readiness(made.near.get()).writable());
  EXPECT_EQ(Send(made.near.get(), "abcde"), 5);
  EXPECT_EQ(made.peer.received(), "abcde");
  EXPECT_EQ(made.peer.received_bytes(), 15);
}

TEST(SimulatedNetwork, AnAutoReadWindowOpensInTheNextStep) {
  SimulatedNetwork network({.window_bytes = 10});
  SimulatedNetwork::Connection made = network.Connect();
  EXPECT_EQ(Send(made.near.get(), "0123456789abcde"), 10);
  EXPECT_EQ(Send(made.near.get(), "abcde"), -EAGAIN);
  EXPECT_TRUE(network.Step());
  EXPECT_EQ(Send(made.near.get(), "abcde"), 5);
  EXPECT_EQ(made.peer.received(), "0123456789abcde");
}

TEST(SimulatedNetwork, AWindowOfNothingStalls) {
  SimulatedNetwork network;
  SimulatedNetwork::Connection made = network.Connect();
  made.peer.SetWindow(0);
  EXPECT_EQ(Send(made.near.get(), "x"), -EAGAIN);
  network.Step();
  EXPECT_FALSE(network.Step());
  EXPECT_EQ(Send(made.near.get(), "x"), -EAGAIN);
  made.peer.SetWindow(1);
  EXPECT_EQ(Send(made.near.get(), "x"), 1);
}

TEST(SimulatedNetwork, WhatIsNotKeptIsCounted) {
  SimulatedNetwork network;
  SimulatedNetwork::Connection made = network.Connect();
  made.peer.KeepReceived(false);
  EXPECT_EQ(Send(made.near.get(), "12345"), 5);
  EXPECT_EQ(made.peer.received(), "");
  EXPECT_EQ(made.peer.received_bytes(), 5);
}

TEST(SimulatedNetwork, SendsPiecesAndFiles) {
  const UniqueFd file = MemoryFile("0123456789");
  SimulatedNetwork network({.window_bytes = 12});
  SimulatedNetwork::Connection made = network.Connect();
  made.peer.SetAutoRead(false);
  std::array<iovec, 2> pieces;
  pieces[0] = {.iov_base = const_cast<char*>("ab"), .iov_len = 2};
  pieces[1] = {.iov_base = const_cast<char*>("cde"), .iov_len = 3};
  msghdr message = {};
  message.msg_iov = pieces.data();
  message.msg_iovlen = pieces.size();
  EXPECT_EQ(Sys().sendmsg(made.near.get(), &message, MSG_NOSIGNAL), 5);
  off_t offset = 2;
  EXPECT_EQ(Sys().sendfile(made.near.get(), file.get(), &offset, 100), 7);
  EXPECT_EQ(offset, 9);
  EXPECT_EQ(made.peer.TakeReceived(), "abcde2345678");
  EXPECT_EQ(Sys().sendfile(made.near.get(), file.get(), &offset, 100), 1);
  EXPECT_EQ(Sys().sendfile(made.near.get(), file.get(), &offset, 100), 0);
  EXPECT_EQ(made.peer.received(), "9");
}

TEST(SimulatedNetwork, HasAddresses) {
  SimulatedNetwork network;
  SimulatedNetwork::Connection made = network.Connect();
  Socket socket(std::move(made.near));
  EXPECT_EQ(socket.local_address().ToString(), "127.0.0.1:80");
  EXPECT_EQ(socket.peer_address().ToString(), "127.0.0.1:1024");
  made.peer.Reset();
  EXPECT_EQ(socket.peer_address().size(), 0);
}

TEST(SimulatedNetwork, PollAsksBothKindsOfDescriptor) {
  LoopbackPair pair = LoopbackPair::Unix();
  SimulatedNetwork network;
  SimulatedNetwork::Connection made = network.Connect();
  std::array<pollfd, 2> fds = {
      pollfd{.fd = pair.near.fd(), .events = POLLIN, .revents = 0},
      pollfd{.fd = made.near.get(), .events = POLLIN, .revents = 0}};
  EXPECT_EQ(Sys().poll(fds.data(), 2, -1), 0);
  made.peer.Send("x");
  EXPECT_EQ(Sys().poll(fds.data(), 2, -1), 1);
  EXPECT_EQ(fds[1].revents, POLLIN);
  EXPECT_EQ(Send(pair.far.fd(), "x"), 1);
  EXPECT_EQ(Sys().poll(fds.data(), 2, -1), 2);
}

// What a poller is told of the network's only descriptor.
class Edges {
 public:
  explicit Edges(const SimulatedNetworkOptions& options)
      : network(options, &poller_), connection(network.Connect()) {
    EXPECT_TRUE(poller_
                    .Add(connection.near.get(), 1,
                         Interest::kReadable | Interest::kWritable,
                         Trigger::kEdge)
                    .ok());
    EXPECT_TRUE(Next().writable());
  }

  Readiness Next() {
    std::array<Event, 2> events;
    const auto ready =
        poller_.Wait(absl::MakeSpan(events), MonotonicTime::InfinitePast());
    EXPECT_TRUE(ready.ok());
    return ready.ok() && !ready->empty() ? (*ready->begin()).readiness()
                                         : Readiness();
  }

 private:
  FakePoller poller_;

 public:
  SimulatedNetwork network;
  SimulatedNetwork::Connection connection;
};

TEST(SimulatedNetwork, EachArrivalIsAnEdge) {
  Edges edges({});
  edges.connection.peer.Send("1");
  EXPECT_TRUE(edges.Next().readable());
  EXPECT_EQ(edges.Next(), Readiness());
  edges.connection.peer.Send("2");
  EXPECT_TRUE(edges.Next().readable());
  edges.connection.peer.ShutdownWrite();
  EXPECT_TRUE(edges.Next().read_closed());
  EXPECT_EQ(edges.Next(), Readiness());
  EXPECT_EQ(RecvAll(edges.connection.near.get()), "12");
  EXPECT_EQ(edges.Next(), Readiness());
  edges.connection.peer.Reset();
  EXPECT_TRUE(edges.Next().error());
}

TEST(SimulatedNetwork, RoomIsAnEdgeForWhoWasBlocked) {
  Edges edges({.window_bytes = 4});
  Peer& peer = edges.connection.peer;
  peer.SetAutoRead(false);
  EXPECT_EQ(Send(edges.connection.near.get(), "12345"), 4);
  EXPECT_EQ(edges.Next(), Readiness());
  peer.TakeReceived();
  EXPECT_TRUE(edges.Next().writable());
  EXPECT_EQ(Send(edges.connection.near.get(), "12"), 2);
  peer.TakeReceived();
  EXPECT_EQ(edges.Next(), Readiness());
}

TEST(SimulatedNetwork, WhatWasRefusedIsToldAnew) {
  Edges edges({.would_block = 1});
  edges.connection.peer.Send("1");
  EXPECT_TRUE(edges.Next().readable());
  EXPECT_EQ(Recv(edges.connection.near.get()), -EAGAIN);
  EXPECT_EQ(edges.Next(), Readiness());
  EXPECT_TRUE(edges.network.Step());
  EXPECT_TRUE(edges.Next().readable());
  EXPECT_EQ(edges.network.faults(), 1);
}

TEST(SimulatedNetwork, InterruptsEnd) {
  SimulatedNetwork network({.interrupted = 1});
  SimulatedNetwork::Connection made = network.Connect();
  for (int i = 0; i < SimulatedNetwork::kMaxInterrupts; ++i) {
    EXPECT_EQ(Recv(made.near.get()), -EINTR);
  }
  EXPECT_EQ(Recv(made.near.get()), -EAGAIN);
}

TEST(SimulatedNetwork, WantOfMemoryLosesNothing) {
  SimulatedNetwork network({.no_buffers = 1, .no_memory = 1});
  SimulatedNetwork::Connection made = network.Connect();
  made.peer.Send("x");
  EXPECT_EQ(Recv(made.near.get()), -ENOMEM);
  EXPECT_EQ(Send(made.near.get(), "x"), -ENOBUFS);
  EXPECT_EQ(made.peer.received_bytes(), 0);
  EXPECT_TRUE(network.readiness(made.near.get()).readable());
}

TEST(SimulatedNetwork, SegmentsArriveInOrder) {
  SimulatedNetwork network({.segmented = 1});
  SimulatedNetwork::Connection made = network.Connect();
  std::string sent;
  for (int i = 0; i < 100; ++i) absl::StrAppend(&sent, i, ",");
  made.peer.Send(sent);
  made.peer.ShutdownWrite();
  EXPECT_EQ(Recv(made.near.get()), -EAGAIN);
  std::string received;
  int steps = 0;
  while (network.Step()) {
    ++steps;
    received += RecvAll(made.near.get());
  }
  EXPECT_EQ(received, sent);
  EXPECT_GT(steps, 2);
  EXPECT_EQ(Recv(made.near.get()), 0);
}

TEST(SimulatedNetwork, ResetsStrike) {
  SimulatedNetwork network({.reset = 1});
  SimulatedNetwork::Connection made = network.Connect();
  EXPECT_EQ(Recv(made.near.get()), -ECONNRESET);
  EXPECT_EQ(Send(made.near.get(), "x"), -EPIPE);
}

TEST(SimulatedNetwork, PeersOutliveTheNetwork) {
  Peer peer;
  {
    SimulatedNetwork network;
    SimulatedNetwork::Connection made = network.Connect();
    peer = made.peer;
    Send(made.near.get(), "kept");
    peer.Send("never read");
    static_cast<void>(made.near.Release());
  }
  EXPECT_EQ(peer.received(), "kept");
  EXPECT_FALSE(peer.is_connected());
  peer.Send("x");
  peer.SetWindow(3);
  peer.SetAutoRead(false);
  peer.Close();
}

TEST(SimulatedNetwork, AFaultPlanFallsThroughToIt) {
  SimulatedNetwork network;
  SimulatedNetwork::Connection made = network.Connect();
  {
    FaultPlan plan;
    plan.FailNextOn(made.near.get(), FaultPlan::Call::kSend, ENOBUFS);
    EXPECT_EQ(Send(made.near.get(), "x"), -ENOBUFS);
    EXPECT_EQ(Send(made.near.get(), "x"), 1);
    EXPECT_EQ(plan.calls(FaultPlan::Call::kSend), 2);
  }
  EXPECT_EQ(made.peer.received(), "x");
}

TEST(SimulatedNetworkDeathTest, MayNotGoBeforeWhatStandsOnIt) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        auto network = std::make_unique<SimulatedNetwork>();
        const FaultPlan plan;
        network = nullptr;
      },
      "has to go before");
}

}  // namespace
}  // namespace fio::testing
