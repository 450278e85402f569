#include "fio/testing/fault_plan.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/syscalls.h"
#include "fio/base/unique_fd.h"
#include "fio/testing/loopback_pair.h"
#include "fio/testing/manual_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio::testing {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::Ge;
using ::testing::IsEmpty;
using ::testing::Le;
using ::testing::Pair;

using Call = FaultPlan::Call;
using Options = FaultPlan::Options;

constexpr std::string_view kBytes = "0123456789abcdefghijklmnopqrstuvwxyz";

// What a call has returned, or less than nothing: its errno.
ssize_t OrErrno(ssize_t result) { return result >= 0 ? result : -errno; }

// The first `size` of kBytes, by each call that writes.
ssize_t Send(int fd, size_t size) {
  return OrErrno(Sys().send(fd, kBytes.data(), size, MSG_NOSIGNAL));
}

std::vector<iovec> PiecesOfThree(size_t size) {
  std::vector<iovec> pieces;
  for (size_t at = 0; at < size; at += 3) {
    pieces.push_back({.iov_base = const_cast<char*>(&kBytes[at]),
                      .iov_len = std::min(size_t{3}, size - at)});
  }
  return pieces;
}

ssize_t Sendmsg(int fd, size_t size) {
  std::vector<iovec> pieces = PiecesOfThree(size);
  msghdr message = {};
  message.msg_iov = pieces.data();
  message.msg_iovlen = pieces.size();
  return OrErrno(Sys().sendmsg(fd, &message, MSG_NOSIGNAL));
}

UniqueFd File() {
  UniqueFd file(memfd_create("fault_plan_test", MFD_CLOEXEC));
  EXPECT_EQ(write(file.get(), kBytes.data(), kBytes.size()), kBytes.size());
  return file;
}

ssize_t Sendfile(int fd, size_t size) {
  const UniqueFd file = File();
  off_t offset = 0;
  return OrErrno(Sys().sendfile(fd, file.get(), &offset, size));
}

// As many messages of one byte.
std::vector<mmsghdr> Messages(std::vector<iovec>& pieces) {
  std::vector<mmsghdr> messages(pieces.size());
  for (size_t i = 0; i < pieces.size(); ++i) {
    messages[i].msg_hdr.msg_iov = &pieces[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  return messages;
}

ssize_t Sendmmsg(int fd, size_t count) {
  std::vector<iovec> pieces(
      count, {.iov_base = const_cast<char*>(kBytes.data()), .iov_len = 1});
  std::vector<mmsghdr> messages = Messages(pieces);
  return OrErrno(Sys().sendmmsg(fd, messages.data(), count, MSG_NOSIGNAL));
}

ssize_t Recv(int fd, size_t size, int flags = 0) {
  std::string bytes(size, '\0');
  return OrErrno(Sys().recv(fd, bytes.data(), size, flags));
}

ssize_t Recvmmsg(int fd, size_t count) {
  std::string bytes(count, '\0');
  std::vector<iovec> pieces;
  for (char& byte : bytes) pieces.push_back({.iov_base = &byte, .iov_len = 1});
  std::vector<mmsghdr> messages = Messages(pieces);
  return OrErrno(
      Sys().recvmmsg(fd, messages.data(), count, MSG_DONTWAIT, nullptr));
}

ssize_t Pread(int fd, size_t size) {
  std::string bytes(size, '\0');
  return OrErrno(Sys().pread(fd, bytes.data(), size, 0));
}

int Poll(int fd, int16_t events = POLLIN, int timeout_ms = 0) {
  pollfd ready = {.fd = fd, .events = events, .revents = 0};
  return OrErrno(Sys().poll(&ready, 1, timeout_ms));
}

// On 127.0.0.1, and past the table.
class Listener {
 public:
  Listener() : fd_(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)) {
    address_.sin_family = AF_INET;
    address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address_);
    EXPECT_EQ(bind(fd_.get(), address(), size), 0);
    EXPECT_EQ(listen(fd_.get(), 8), 0);
    EXPECT_EQ(getsockname(fd_.get(), address(), &size), 0);
  }

  int fd() const { return fd_.get(); }

  // By the table.
  ssize_t Connect(int fd) {
    return OrErrno(Sys().connect(fd, address(), sizeof(address_)));
  }
  ssize_t Accept() {
    return OrErrno(Sys().accept4(fd(), nullptr, nullptr, SOCK_NONBLOCK));
  }

  // Past the table: a client whose connection waits to be accepted.
  UniqueFd Client() {
    UniqueFd client(socket(AF_INET, SOCK_STREAM, 0));
    EXPECT_EQ(connect(client.get(), address(), sizeof(address_)), 0);
    return client;
  }

 private:
  sockaddr* address() { return reinterpret_cast<sockaddr*>(&address_); }

  UniqueFd fd_;
  sockaddr_in address_ = {};
};

ssize_t NewSocket() {
  return OrErrno(Sys().socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
}

class FaultPlanTest : public ::testing::Test {
 protected:
  const LoopbackPair pair_ = LoopbackPair::Unix();
  const int near_ = pair_.near.fd();
  const int far_ = pair_.far.fd();

  // Past the table.
  std::string TakeAtFar() {
    char bytes[256];
    const ssize_t size = recv(far_, bytes, sizeof(bytes), 0);
    return std::string(bytes, size > 0 ? size : 0);
  }
  void GiveFromFar(size_t size) {
    ASSERT_EQ(send(far_, kBytes.data(), size, 0), size);
  }

  // Makes each call of the table once and returns those that a plan of
  // `options` has made fail with `error`.
  std::vector<Call> FailingCalls(Options options, int error);
  ssize_t Make(Call call);

  Listener listener_;
  const UniqueFd file_ = File();
  const UniqueFd epoll_{epoll_create1(0)};
};

ssize_t FaultPlanTest::Make(Call call) {
  const Syscalls& sys = Sys();
  sockaddr_storage storage = {};
  auto* address = reinterpret_cast<sockaddr*>(&storage);
  socklen_t size = sizeof(storage);
  int value = 0;
  socklen_t value_size = sizeof(value);
  switch (call) {
    case Call::kSocket:
      return UniqueFd(sys.socket(AF_INET, SOCK_STREAM, 0)) ? 0 : -errno;
    case Call::kSocketpair: {
      int fds[2];
      if (sys.socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0) return -errno;
      const UniqueFd first(fds[0]), second(fds[1]);
      return 0;
    }
    case Call::kBind:
      return OrErrno(sys.bind(near_, address, size));
    case Call::kListen:
      return OrErrno(sys.listen(listener_.fd(), 8));
    case Call::kConnect:
      return listener_.Connect(UniqueFd(socket(AF_INET, SOCK_STREAM, 0)).get());
    case Call::kAccept4:
      return listener_.Accept();
    case Call::kGetsockname:
      return OrErrno(sys.getsockname(near_, address, &size));
    case Call::kGetpeername:
      return OrErrno(sys.getpeername(near_, address, &size));
    case Call::kSetsockopt:
      return OrErrno(
          sys.setsockopt(near_, SOL_SOCKET, SO_KEEPALIVE, &value, value_size));
    case Call::kGetsockopt:
      return OrErrno(
          sys.getsockopt(near_, SOL_SOCKET, SO_ERROR, &value, &value_size));
    case Call::kIoctl:
      return OrErrno(sys.ioctl(near_, SIOCOUTQ, &value));
    case Call::kShutdown:
      return OrErrno(sys.shutdown(listener_.fd(), SHUT_WR));
    case Call::kRecv:
      return Recv(near_, 8);
    case Call::kSend:
      return Send(near_, 8);
    case Call::kSendmsg:
      return Sendmsg(near_, 8);
    case Call::kRecvmmsg:
      return Recvmmsg(near_, 8);
    case Call::kSendmmsg:
      return Sendmmsg(near_, 8);
    case Call::kPread:
      return Pread(file_.get(), 8);
    case Call::kSendfile:
      return Sendfile(near_, 8);
    case Call::kPoll:
      return Poll(near_);
    case Call::kEpollCreate1:
      return UniqueFd(sys.epoll_create1(0)) ? 0 : -errno;
    case Call::kEpollCtl: {
      epoll_event event = {};
      return OrErrno(sys.epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, near_, &event));
    }
    case Call::kEpollWait: {
      epoll_event event;
      return OrErrno(sys.epoll_wait(epoll_.get(), &event, 1, 0));
    }
    case Call::kEventfd:
      return UniqueFd(sys.eventfd(0, 0)) ? 0 : -errno;
    case Call::kSignalfd: {
      sigset_t none;
      sigemptyset(&none);
      return UniqueFd(sys.signalfd(-1, &none, 0)) ? 0 : -errno;
    }
    case Call::kPidfdOpen:
      return UniqueFd(sys.pidfd_open(getpid(), 0)) ? 0 : -errno;
    case Call::kPipe2: {
      int fds[2];
      if (sys.pipe2(fds, 0) != 0) return -errno;
      const UniqueFd first(fds[0]), second(fds[1]);
      return 0;
    }
    case Call::kFcntl:
      return OrErrno(sys.fcntl(near_, F_SETFD, FD_CLOEXEC));
    case Call::kClose:
      return OrErrno(sys.close(dup(near_)));
  }
  return 0;
}

std::vector<Call> FaultPlanTest::FailingCalls(Options options, int error) {
  options.all_descriptors = true;
  FaultPlan plan(options);
  std::vector<Call> failing;
  for (int i = 0; i <= static_cast<int>(Call::kClose); ++i) {
    const auto call = static_cast<Call>(i);
    // By the plan's count, for the kernel may give the same errno.
    const uint64_t before = plan.faults();
    const ssize_t result = Make(call);
    if (plan.faults() > before && result == -error) failing.push_back(call);
  }
  return failing;
}

TEST_F(FaultPlanTest, FailsNothingUnlessTold) {
  GiveFromFar(8);
  FaultPlan plan({.all_descriptors = true});
  EXPECT_EQ(Send(near_, 8), 8);
  EXPECT_EQ(Sendmsg(near_, 8), 8);
  EXPECT_EQ(Sendfile(near_, 8), 8);
  EXPECT_EQ(Sendmmsg(near_, 8), 8);
  EXPECT_EQ(Recv(near_, 16), 8);
  EXPECT_EQ(Recv(near_, 16), -EAGAIN);
  EXPECT_EQ(Pread(file_.get(), 8), 8);
  EXPECT_EQ(plan.faults(), 0u);
}

TEST_F(FaultPlanTest, ShortWritesMoveOneToAllButOne) {
  FaultPlan plan({.short_write = 1});
  plan.Target(near_);
  for (auto* write : {Send, Sendmsg, Sendfile}) {
    std::vector<ssize_t> sizes;
    for (int i = 0; i < 200; ++i) {
      sizes.push_back(write(near_, 10));
      EXPECT_EQ(TakeAtFar(), kBytes.substr(0, sizes.back()));
    }
    EXPECT_THAT(sizes, Each(AllOf(Ge(1), Le(9))));
    for (int size = 1; size <= 9; ++size) {
      EXPECT_THAT(sizes, Contains(size));
    }
  }
}

TEST_F(FaultPlanTest, ShortReadsMoveOneToAllButOne) {
  FaultPlan plan({.short_read = 1});
  plan.Target(near_);
  plan.Target(file_.get());
  for (int i = 0; i < 200; ++i) {
    GiveFromFar(10);
    const ssize_t received = Recv(near_, 10);
    EXPECT_THAT(received, AllOf(Ge(1), Le(9)));
    EXPECT_EQ(recv(near_, std::string(10, '\0').data(), 10, 0), 10 - received);
    EXPECT_THAT(Pread(file_.get(), 10), AllOf(Ge(1), Le(9)));
  }
}

TEST_F(FaultPlanTest, ShortBatchesMoveOneToAllButOneMessages) {
  FaultPlan plan({.short_read = 1, .short_write = 1});
  plan.Target(near_);
  for (int i = 0; i < 200; ++i) {
    EXPECT_THAT(Sendmmsg(near_, 10), AllOf(Ge(1), Le(9)));
    TakeAtFar();
    GiveFromFar(10);
    EXPECT_THAT(Recvmmsg(near_, 10), AllOf(Ge(1), Le(9)));
    char rest[10];
    EXPECT_GE(recv(near_, rest, sizeof(rest), 0), 1);
  }
}

TEST_F(FaultPlanTest, OneByteIsNotCut) {
  FaultPlan plan({.short_read = 1, .short_write = 1});
  plan.Target(near_);
  EXPECT_EQ(Send(near_, 1), 1);
  EXPECT_EQ(Sendmsg(near_, 1), 1);
  EXPECT_EQ(Send(near_, 0), 0);
  GiveFromFar(1);
  EXPECT_EQ(Recv(near_, 1), 1);
  EXPECT_EQ(plan.faults(), 0u);
}

TEST_F(FaultPlanTest, RefusesTheCallsThatTheKernelCould) {
  EXPECT_THAT(
      FailingCalls({.would_block = 1}, EAGAIN),
      ElementsAre(Call::kAccept4, Call::kRecv, Call::kSend, Call::kSendmsg,
                  Call::kRecvmmsg, Call::kSendmmsg, Call::kSendfile));
  EXPECT_THAT(FailingCalls({.interrupted = 1}, EINTR),
              ElementsAre(Call::kConnect, Call::kAccept4, Call::kRecv,
                          Call::kSend, Call::kSendmsg, Call::kRecvmmsg,
                          Call::kSendmmsg, Call::kPread, Call::kSendfile,
                          Call::kPoll, Call::kEpollWait, Call::kClose));
  EXPECT_THAT(FailingCalls({.no_buffers = 1}, ENOBUFS),
              ElementsAre(Call::kSend, Call::kSendmsg, Call::kSendmmsg));
  EXPECT_THAT(
      FailingCalls({.no_memory = 1}, ENOMEM),
      ElementsAre(Call::kSocket, Call::kAccept4, Call::kRecv, Call::kSend,
                  Call::kSendmsg, Call::kSendfile, Call::kEpollCtl));
  EXPECT_THAT(FailingCalls({.no_descriptors = 1}, EMFILE),
              ElementsAre(Call::kSocket, Call::kSocketpair, Call::kAccept4,
                          Call::kEpollCreate1, Call::kEventfd, Call::kSignalfd,
                          Call::kPidfdOpen, Call::kPipe2));
  EXPECT_THAT(FailingCalls({.broken_pipe = 1}, EPIPE),
              ElementsAre(Call::kSend, Call::kSendmsg, Call::kSendmmsg,
                          Call::kSendfile));
}

TEST_F(FaultPlanTest, LikelihoodIsHowOften) {
  FaultPlan plan({.would_block = 0.25});
  plan.Target(near_);
  for (int i = 0; i < 10000; ++i) Send(near_, 0);
  EXPECT_THAT(plan.faults(), AllOf(Ge(2200u), Le(2800u)));
}

TEST_F(FaultPlanTest, BrokenPipeStaysBroken) {
  FaultPlan plan({.broken_pipe = 0.1});
  plan.Target(near_);
  while (Send(near_, 1) != -EPIPE) {
  }
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(Send(near_, 1), -EPIPE);
    EXPECT_EQ(Sendmsg(near_, 1), -EPIPE);
    EXPECT_EQ(Sendfile(near_, 1), -EPIPE);
    EXPECT_EQ(Sendmmsg(near_, 1), -EPIPE);
  }
  GiveFromFar(8);
  EXPECT_EQ(Recv(near_, 8), 8);
}

TEST_F(FaultPlanTest, InterruptsEndForEachDescriptorAndCall) {
  FaultPlan plan({.all_descriptors = true, .interrupted = 1});
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < FaultPlan::kMaxInterrupts; ++i) {
      EXPECT_EQ(Recv(near_, 8), -EINTR);
      EXPECT_EQ(Recv(far_, 8), -EINTR);
      EXPECT_EQ(Poll(near_), -EINTR);
      EXPECT_EQ(listener_.Accept(), -EINTR);
    }
    EXPECT_EQ(Recv(near_, 8), -EAGAIN);
    EXPECT_EQ(Recv(far_, 8), -EAGAIN);
    EXPECT_EQ(Poll(near_), 0);
    EXPECT_EQ(listener_.Accept(), -EAGAIN);
  }
}

TEST_F(FaultPlanTest, InterruptedConnectGoesOn) {
  const UniqueFd client(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
  FaultPlan plan({.interrupted = 1});
  plan.Target(client.get());
  EXPECT_EQ(listener_.Connect(client.get()), -EINTR);
  pollfd connected = {.fd = client.get(), .events = POLLOUT, .revents = 0};
  ASSERT_EQ(poll(&connected, 1, -1), 1);
  EXPECT_EQ(connected.revents, POLLOUT);
}

TEST_F(FaultPlanTest, InterruptHidesNoErrorOfConnect) {
  FaultPlan plan({.all_descriptors = true, .interrupted = 1});
  EXPECT_EQ(listener_.Connect(file_.get()), -ENOTSOCK);
}

TEST_F(FaultPlanTest, LeavesOthersThanTargetsAlone) {
  FaultPlan plan({.short_read = 1,
                  .short_write = 1,
                  .would_block = 0.5,
                  .interrupted = 0.5,
                  .no_buffers = 0.5,
                  .no_memory = 1,
                  .no_descriptors = 1,
                  .broken_pipe = 0.5});
  plan.Target(near_);
  EXPECT_LT(Send(near_, 10), 10);
  const uint64_t faults = plan.faults();
  EXPECT_EQ(Send(far_, 10), 10);
  EXPECT_EQ(Sendmsg(far_, 10), 10);
  EXPECT_EQ(Poll(far_), 0);
  EXPECT_EQ(Pread(file_.get(), 10), 10);
  EXPECT_TRUE(UniqueFd(NewSocket()));
  EXPECT_EQ(plan.faults(), faults);
}

TEST_F(FaultPlanTest, SocketsAcceptedFromATargetAreTargets) {
  const UniqueFd client = listener_.Client();
  FaultPlan plan({.short_write = 1});
  plan.Target(listener_.fd());
  const UniqueFd accepted(listener_.Accept());
  ASSERT_TRUE(accepted);
  EXPECT_LT(Send(accepted.get(), 10), 10);
}

TEST_F(FaultPlanTest, ClosingForgets) {
  UniqueFd fd(dup(near_));
  const int number = fd.get();
  FaultPlan plan({.would_block = 1});
  plan.Target(number);
  plan.ResetAt(number, 0);
  plan.FailNextOn(number, Call::kSend, EIO);
  EXPECT_EQ(Send(number, 8), -EIO);
  EXPECT_EQ(Send(number, 8), -ECONNRESET);
  plan.FailNextOn(number, Call::kSend, EIO);
  fd.Reset();
  fd = UniqueFd(fcntl(near_, F_DUPFD, number));
  ASSERT_EQ(fd.get(), number);
  EXPECT_EQ(Send(number, 8), 8);
}

TEST_F(FaultPlanTest, ANewDescriptorIsNoTarget) {
  FaultPlan plan({.would_block = 1});
  const int number = UniqueFd(dup(near_)).Release();
  plan.Target(number);
  plan.FailNextOn(number, Call::kSend, EIO);
  ASSERT_EQ(close(number), 0);  // Past the table.
  const UniqueFd fresh(NewSocket());
  ASSERT_EQ(fresh.get(), number);
  EXPECT_EQ(Send(number, 8), -EPIPE);  // Not connected.
}

TEST_F(FaultPlanTest, ResetsAtTheByteWritten) {
  for (auto* write : {Send, Sendmsg, Sendfile}) {
    const LoopbackPair pair = LoopbackPair::Unix();
    const int fd = pair.near.fd();
    FaultPlan plan;
    plan.ResetAt(fd, 17);
    EXPECT_EQ(write(fd, 10), 10);
    EXPECT_EQ(write(fd, 10), 7);
    for (auto* later : {Send, Sendmsg, Sendfile, Sendmmsg}) {
      EXPECT_EQ(later(fd, 10), -ECONNRESET);
    }
    EXPECT_EQ(Recv(fd, 10), -ECONNRESET);
    EXPECT_EQ(Recvmmsg(fd, 10), -ECONNRESET);
    char bytes[64];
    EXPECT_EQ(recv(pair.far.fd(), bytes, sizeof(bytes), 0), 17);
    EXPECT_EQ(std::string_view(bytes, 17), "01234567890123456");
  }
}

TEST_F(FaultPlanTest, ResetsAtTheByteRead) {
  GiveFromFar(10);
  FaultPlan plan;
  plan.ResetAtRead(near_, 5);
  EXPECT_EQ(Recv(near_, 10, MSG_PEEK), 5);
  EXPECT_EQ(Recv(near_, 3), 3);
  EXPECT_EQ(Send(near_, 10), 10);
  EXPECT_EQ(Recv(near_, 10), 2);
  EXPECT_EQ(Recv(near_, 10), -ECONNRESET);
  EXPECT_EQ(Send(near_, 10), -ECONNRESET);
}

TEST_F(FaultPlanTest, ResetsAtTheEndOfAWholeWrite) {
  FaultPlan plan;
  plan.ResetAt(near_, 10);
  EXPECT_EQ(Send(near_, 10), 10);
  EXPECT_EQ(Send(near_, 1), -ECONNRESET);
  plan.ResetAt(far_, 0);
  EXPECT_EQ(Recv(far_, 1), -ECONNRESET);
}

TEST_F(FaultPlanTest, ABatchCountsTowardsTheResetAndIsSentWhole) {
  FaultPlan plan;
  plan.ResetAt(near_, 5);
  EXPECT_EQ(Sendmmsg(near_, 3), 3);
  EXPECT_EQ(Sendmmsg(near_, 3), 3);
  EXPECT_EQ(Sendmmsg(near_, 3), -ECONNRESET);
  plan.ResetAt(far_, 5);
  EXPECT_EQ(Sendmmsg(far_, 3), 3);
  EXPECT_EQ(Send(far_, 10), 2);
}

TEST_F(FaultPlanTest, ResetOutlivesShortWrites) {
  FaultPlan plan({.short_write = 0.5});
  plan.Target(near_);
  plan.ResetAt(near_, 100);
  ssize_t total = 0;
  for (;;) {
    const ssize_t sent = Send(near_, 7);
    if (sent < 0) break;
    total += sent;
  }
  EXPECT_EQ(total, 100);
}

TEST_F(FaultPlanTest, FailsEveryCallWhenOrdered) {
  FaultPlan plan;
  for (int i = 0; i <= static_cast<int>(Call::kClose); ++i) {
    const auto call = static_cast<Call>(i);
    plan.FailNext(call, EHOSTDOWN);
    EXPECT_EQ(Make(call), -EHOSTDOWN) << i;
    EXPECT_NE(Make(call), -EHOSTDOWN) << i;
  }
}

TEST_F(FaultPlanTest, FailsAsOftenAsOrderedAndInOrder) {
  FaultPlan plan;
  plan.FailNext(Call::kSend, ENETDOWN, 2);
  plan.FailNext(Call::kSend, EHOSTDOWN);
  EXPECT_EQ(Sendmsg(near_, 8), 8);
  EXPECT_EQ(Send(near_, 8), -ENETDOWN);
  EXPECT_EQ(Send(far_, 8), -ENETDOWN);
  EXPECT_EQ(Send(near_, 8), -EHOSTDOWN);
  EXPECT_EQ(Send(near_, 8), 8);
  EXPECT_EQ(plan.faults(), 3u);
}

TEST_F(FaultPlanTest, FailsOnOneDescriptor) {
  FaultPlan plan;
  plan.FailNextOn(near_, Call::kSend, ENETDOWN);
  EXPECT_EQ(Send(far_, 8), 8);
  EXPECT_EQ(Send(near_, 8), -ENETDOWN);
  EXPECT_EQ(Send(near_, 8), 8);
}

TEST_F(FaultPlanTest, FailsTheNthCallWhicheverItIs) {
  FaultPlan plan;
  plan.FailNth(3, EHOSTDOWN);
  EXPECT_EQ(Send(near_, 8), 8);
  EXPECT_EQ(Recv(far_, 8), 8);
  EXPECT_EQ(plan.nth_failed(), std::nullopt);
  EXPECT_EQ(Poll(near_), -EHOSTDOWN);
  EXPECT_EQ(plan.nth_failed(), Call::kPoll);
  EXPECT_EQ(Poll(near_), 0);
  plan.FailNth(2, EHOSTDOWN);
  EXPECT_EQ(plan.nth_failed(), std::nullopt);
  Poll(near_);
  plan.CancelFailNth();
  EXPECT_EQ(Poll(near_), 0);
  EXPECT_EQ(plan.faults(), 1u);
}

TEST_F(FaultPlanTest, ForEachCallFailsEachOnce) {
  std::vector<std::pair<std::string, std::string>> runs;
  const int failed = ForEachCall(
      {ENETDOWN, EHOSTDOWN}, [&](FaultPlan& plan, std::string_view fault) {
        Send(near_, 8);
        Poll(near_);
        plan.CancelFailNth();
        EXPECT_EQ(Poll(near_), 0);
        const std::optional<Call> call = plan.nth_failed();
        runs.emplace_back(fault,
                          call.has_value() ? FaultPlan::NameOf(*call) : "none");
      });
  EXPECT_EQ(failed, 4);
  EXPECT_THAT(runs, ElementsAre(Pair("call 1 fails: Network is down", "send"),
                                Pair("call 2 fails: Network is down", "poll"),
                                Pair("call 3 fails: Network is down", "none"),
                                Pair("call 1 fails: Host is down", "send"),
                                Pair("call 2 fails: Host is down", "poll"),
                                Pair("call 3 fails: Host is down", "none")));
}

TEST_F(FaultPlanTest, AFailedCloseHasClosed) {
  const int fd = dup(near_);
  FaultPlan plan;
  plan.FailNext(Call::kClose, EIO);
  EXPECT_EQ(OrErrno(Sys().close(fd)), -EIO);
  EXPECT_EQ(OrErrno(Sys().close(fd)), -EBADF);
}

TEST_F(FaultPlanTest, CountsCalls) {
  FaultPlan plan;
  EXPECT_EQ(plan.calls(), 0u);
  Send(near_, 8);
  plan.FailNext(Call::kSend, EIO);
  Send(near_, 8);
  Send(-1, 8);
  Recv(near_, 8);
  Poll(near_);
  TakeAtFar();  // Past the table.
  EXPECT_EQ(plan.calls(Call::kSend), 3u);
  EXPECT_EQ(plan.calls(Call::kRecv), 1u);
  EXPECT_EQ(plan.calls(Call::kPoll), 1u);
  EXPECT_EQ(plan.calls(Call::kSendmsg), 0u);
  EXPECT_EQ(plan.calls(), 5u);
  EXPECT_EQ(plan.faults(), 1u);
}

TEST_F(FaultPlanTest, CountsEveryCallUnderItsOwnName) {
  for (int i = 0; i <= static_cast<int>(Call::kClose); ++i) {
    const auto call = static_cast<Call>(i);
    FaultPlan plan;
    plan.FailNext(call, EHOSTDOWN);
    Make(call);
    EXPECT_EQ(plan.calls(call), 1u) << i;
  }
}

TEST_F(FaultPlanTest, KnowsWhatIsOpen) {
  const UniqueFd client = listener_.Client();
  FaultPlan plan;
  UniqueFd made(NewSocket());
  UniqueFd accepted(listener_.Accept());
  ASSERT_TRUE(made && accepted);
  plan.Target(near_);  // Known, but opened elsewhere.
  std::vector<int> both = {made.get(), accepted.get()};
  std::sort(both.begin(), both.end());
  EXPECT_THAT(plan.open_descriptors(), ElementsAreArray(both));
  made.Reset();
  EXPECT_THAT(plan.open_descriptors(), ElementsAre(accepted.get()));
  accepted.Reset();
  EXPECT_THAT(plan.open_descriptors(), IsEmpty());
}

TEST_F(FaultPlanTest, PutsBackTheTableThatWas) {
  const Syscalls* before = &Sys();
  {
    FaultPlan plan;
    EXPECT_NE(&Sys(), before);
  }
  EXPECT_EQ(&Sys(), before);
  FaultPlan again;
  EXPECT_NE(&Sys(), before);
}

TEST_F(FaultPlanTest, OnPollMovesTheClockInsteadOfWaiting) {
  ManualClock clock;
  FaultPlan plan;
  plan.OnPoll([&](pollfd* fds, nfds_t count, int timeout_ms) {
    EXPECT_EQ(count, 1u);
    EXPECT_EQ(fds->fd, near_);
    clock.Advance(absl::Milliseconds(timeout_ms));
    return 0;
  });
  const MonotonicTime start = clock.Now();
  EXPECT_EQ(Poll(near_, POLLIN, 60'000), 0);
  EXPECT_EQ(clock.Now() - start, absl::Minutes(1));
  plan.FailNext(Call::kPoll, EINTR);
  EXPECT_EQ(Poll(near_, POLLIN, 60'000), -EINTR);
  EXPECT_EQ(clock.Now() - start, absl::Minutes(1));
  plan.OnPoll(nullptr);
  EXPECT_EQ(Poll(near_, POLLOUT, -1), 1);
}

TEST_F(FaultPlanTest, OnPollMayTakeItselfAway) {
  FaultPlan plan;
  plan.OnPoll([&plan, calls = std::make_unique<int>(0)](pollfd*, nfds_t, int) {
    plan.OnPoll(nullptr);
    return 40 + ++*calls;
  });
  EXPECT_EQ(Poll(near_), 41);
  EXPECT_EQ(Poll(near_), 0);
}

// What a plan of this seed makes of the same calls.
std::vector<ssize_t> Trace(uint64_t seed) {
  const LoopbackPair pair = LoopbackPair::Unix();
  FaultPlan plan({.seed = seed,
                  .short_read = 0.3,
                  .short_write = 0.3,
                  .would_block = 0.1,
                  .interrupted = 0.2,
                  .no_memory = 0.05});
  plan.Target(pair.near.fd());
  std::vector<ssize_t> results;
  for (int i = 0; i < 300; ++i) {
    results.push_back(Sendmsg(pair.near.fd(), 1 + i % 30));
    Recv(pair.far.fd(), 64);
    Send(pair.far.fd(), 20);
    results.push_back(Recv(pair.near.fd(), 20));
  }
  return results;
}

TEST(FaultPlan, TheSameSeedMakesTheSameFaults) {
  const std::vector<ssize_t> trace = Trace(42);
  EXPECT_EQ(trace, Trace(42));
  EXPECT_THAT(trace, Contains(-EINTR));
  EXPECT_THAT(trace, Contains(-ENOMEM));
}

TEST(FaultPlan, AnotherSeedMakesOthers) { EXPECT_NE(Trace(42), Trace(43)); }

TEST(FaultPlan, ThreadsShareAPlan) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 500;
  FaultPlan plan({.all_descriptors = true,
                  .short_write = 0.3,
                  .would_block = 0.1,
                  .interrupted = 0.3});
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&plan] {
      for (int round = 0; round < kRounds; ++round) {
        const UniqueFd fd(NewSocket());
        EXPECT_TRUE(fd);
        plan.ResetAt(fd.get(), 10);
        Send(fd.get(), 8);
        Poll(fd.get());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(plan.calls(Call::kSend), kThreads * kRounds);
  EXPECT_EQ(plan.calls(Call::kPoll), kThreads * kRounds);
  EXPECT_THAT(plan.open_descriptors(), IsEmpty());
}

TEST(FaultPlanDeathTest, OnlyOneLivesAtATime) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  FaultPlan plan;
  EXPECT_DEATH(FaultPlan(), "Only one FaultPlan");
}

// An edge-triggered poller that has told all there was to tell of `near`, for
// which 10 bytes wait.
class EdgeTest : public ::testing::TestWithParam<LoopbackPair (*)()> {
 protected:
  EdgeTest() {
    EXPECT_EQ(Send(pair_.far.fd(), 10), 10);
    EXPECT_EQ(Poll(near_, POLLIN, -1), 1);
    epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data = {}};
    EXPECT_EQ(epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, near_, &event), 0);
    EXPECT_EQ(Events(), EPOLLIN | EPOLLOUT);
    EXPECT_EQ(Events(), 0);
  }

  int Events() {
    epoll_event event;
    const int events = epoll_wait(epoll_.get(), &event, 1, 0);
    return events > 0 ? static_cast<int>(event.events) : 0;
  }

  const LoopbackPair pair_ = GetParam()();
  const int near_ = pair_.near.fd();
  const UniqueFd epoll_{epoll_create1(EPOLL_CLOEXEC)};
};

TEST_P(EdgeTest, IsToldAgainAfterEagain) {
  FaultPlan plan;
  plan.FailNext(Call::kRecv, EAGAIN);
  EXPECT_EQ(Recv(near_, 10), -EAGAIN);
  EXPECT_EQ(Events(), EPOLLIN | EPOLLOUT);
  plan.FailNext(Call::kSend, EAGAIN);
  EXPECT_EQ(Send(near_, 10), -EAGAIN);
  EXPECT_EQ(Events(), EPOLLIN | EPOLLOUT);
  EXPECT_EQ(Events(), 0);
}

TEST_P(EdgeTest, IsToldAgainAfterAShortCall) {
  FaultPlan plan({.short_read = 1, .short_write = 1});
  plan.Target(near_);
  EXPECT_LT(Recv(near_, 10), 10);
  EXPECT_EQ(Events(), EPOLLIN | EPOLLOUT);
  EXPECT_LT(Send(near_, 10), 10);
  EXPECT_EQ(Events(), EPOLLIN | EPOLLOUT);
}

TEST_P(EdgeTest, IsToldOfAReset) {
  FaultPlan plan;
  plan.ResetAt(near_, 10);
  EXPECT_EQ(Send(near_, 10), 10);
  EXPECT_EQ(Events(), EPOLLIN | EPOLLOUT);
}

TEST_P(EdgeTest, IsNotToldWithoutAFault) {
  FaultPlan plan;
  EXPECT_EQ(Recv(near_, 5), 5);
  EXPECT_EQ(Send(near_, 5), 5);
  EXPECT_EQ(Events(), 0);
}

INSTANTIATE_TEST_SUITE_P(, EdgeTest,
                         ::testing::Values(LoopbackPair::Tcp,
                                           LoopbackPair::Unix));

TEST(CountOpenDescriptors, SeesOneMore) {
  const int before = CountOpenDescriptors();
  UniqueFd fd = File();
  EXPECT_EQ(CountOpenDescriptors(), before + 1);
  fd.Reset();
  EXPECT_EQ(CountOpenDescriptors(), before);
}

}  // namespace
}  // namespace fio::testing
