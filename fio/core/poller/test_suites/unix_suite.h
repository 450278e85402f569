// What Poller promises of Unix sockets, as tests for every backend. Their names
// are those of the tests of mio that prove the same.

#ifndef FIO_CORE_POLLER_TEST_SUITES_UNIX_SUITE_H_
#define FIO_CORE_POLLER_TEST_SUITES_UNIX_SUITE_H_

#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/internal/pipe.h"
#include "fio/core/poller/test_suites/poller_fixture.h"
#include "fio/core/poller/test_suites/socket_fixture.h"
#include "gtest/gtest.h"

namespace fio {

template <typename Backend>
class PollerUnixTest : public PollerUnixFixture<Backend> {
 protected:
  using typename PollerUnixFixture<Backend>::Origin;
  using typename PollerUnixFixture<Backend>::Pair;

  // A watched stream whose peer has sent back what it got; nothing is left.
  Pair NewEchoedConnection(Token token, Origin origin = Origin::kOwn) {
    Pair pair = this->NewConnection(origin);
    this->ExpectNonBlockingAndCloseOnExec(pair.near);
    this->Add(pair.near, token, kReadableAndWritable);
    EXPECT_FALSE(this->WaitFor(token, &Readiness::writable).readable());
    this->ExpectReadWouldBlock(pair.near);
    this->Send(pair.near, "hello");
    this->Send(pair.far, this->Read(pair.far));
    this->WaitFor(token, &Readiness::readable);
    EXPECT_EQ(this->Read(pair.near), "hello");
    this->ExpectReadWouldBlock(pair.near);
    EXPECT_EQ(this->TakeError(pair.near), 0);
    return pair;
  }

  void ExpectStreams(Origin origin) {
    const Pair pair = NewEchoedConnection(1, origin);
    std::string first = "scattered ";
    std::string second = "bytes";
    const iovec parts[] = {{first.data(), first.size()},
                           {second.data(), second.size()}};
    EXPECT_EQ(writev(pair.near.get(), parts, 2), 15);
    this->Send(pair.far, this->Read(pair.far));
    this->WaitFor(1, &Readiness::readable);
    std::array<char, 10> head;
    std::array<char, 6> tail = {};
    const iovec rooms[] = {{head.data(), head.size()},
                           {tail.data(), tail.size()}};
    EXPECT_EQ(readv(pair.near.get(), rooms, 2), 15);
    EXPECT_EQ(std::string_view(head.data(), head.size()), first);
    EXPECT_EQ(std::string_view(tail.data()), second);
  }

  // And is told of the end when the other side is closed.
  void ExpectConnects(const UniqueFd& listener, const SockaddrBytes& address) {
    const UniqueFd stream = this->Connect(address);
    this->Add(stream, 1, kReadableAndWritable);
    EXPECT_FALSE(this->WaitFor(1, &Readiness::writable).readable());
    this->Accept(listener).Reset();
    this->WaitFor(1, &Readiness::readable);
    EXPECT_EQ(this->Read(stream), "");
  }

  void ExpectAccepts(Origin origin) {
    const SockaddrBytes address = this->NewPath();
    const UniqueFd listener = this->Listen(address, origin);
    this->ExpectNonBlockingAndCloseOnExec(listener);
    this->Add(listener, 1, kReadableAndWritable);
    EXPECT_EQ(this->Told(1), Readiness());
    const UniqueFd client = this->Connect(address);
    this->WaitFor(1, &Readiness::readable);
    const UniqueFd accepted = this->Accept(listener);
    this->ExpectReadWouldBlock(accepted);
    EXPECT_EQ(accept(listener.get(), nullptr, nullptr), -1);
    EXPECT_EQ(errno, EAGAIN);
    EXPECT_EQ(this->TakeError(listener), 0);
  }

  // Sends a byte and, with it, what `passed` stands for.
  static void SendFd(const UniqueFd& to, const UniqueFd& passed) {
    Carrier carrier;
    cmsghdr* const control = CMSG_FIRSTHDR(&carrier.message);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(sizeof(int));
    const int number = passed.get();
    memcpy(CMSG_DATA(control), &number, sizeof(number));
    EXPECT_EQ(sendmsg(to.get(), &carrier.message, MSG_NOSIGNAL), 1);
  }
  static UniqueFd ReceiveFd(const UniqueFd& from) {
    Carrier carrier;
    EXPECT_EQ(recvmsg(from.get(), &carrier.message, MSG_CMSG_CLOEXEC), 1);
    const cmsghdr* const control = CMSG_FIRSTHDR(&carrier.message);
    if (control == nullptr || control->cmsg_type != SCM_RIGHTS) return {};
    int number;
    memcpy(&number, CMSG_DATA(control), sizeof(number));
    return UniqueFd(number);
  }

 private:
  // A message of one byte, with room for one descriptor.
  struct Carrier {
    char byte = 'x';
    iovec part = {&byte, 1};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message = {.msg_name = nullptr,
                      .msg_namelen = 0,
                      .msg_iov = &part,
                      .msg_iovlen = 1,
                      .msg_control = control,
                      .msg_controllen = sizeof(control),
                      .msg_flags = 0};
  };
};

TYPED_TEST_SUITE_P(PollerUnixTest);

// --- Streams ---

TYPED_TEST_P(PollerUnixTest, UnixStreamSmoke) {
  this->ExpectStreams(TestFixture::Origin::kOwn);
}

TYPED_TEST_P(PollerUnixTest, UnixStreamFromStd) {
  this->ExpectStreams(TestFixture::Origin::kForeign);
}

TYPED_TEST_P(PollerUnixTest, UnixStreamConnect) {
  const SockaddrBytes address = this->NewPath();
  this->ExpectConnects(this->Listen(address), address);
}

TYPED_TEST_P(PollerUnixTest, UnixStreamConnectAddr) {
  const UniqueFd listener = this->Listen(this->NewPath());
  this->ExpectConnects(listener, this->LocalAddress(listener));
}

TYPED_TEST_P(PollerUnixTest, UnixStreamPair) {
  const auto pair = this->NewPair(SOCK_STREAM);
  this->Add(pair.near, 1, kReadableAndWritable);
  this->Add(pair.far, 2, kReadableAndWritable);
  this->WaitFor(1, &Readiness::writable);
  this->WaitFor(2, &Readiness::writable);
  this->ExpectReadWouldBlock(pair.near);
  this->Send(pair.near, "to the far");
  this->WaitFor(2, &Readiness::readable);
  EXPECT_EQ(this->Read(pair.far), "to the far");
  this->ExpectReadWouldBlock(pair.far);
  this->Send(pair.far, "to the near");
  this->WaitFor(1, &Readiness::readable);
  EXPECT_EQ(this->Read(pair.near), "to the near");
  this->ExpectReadWouldBlock(pair.near);
}

TYPED_TEST_P(PollerUnixTest, UnixStreamPeerAddr) {
  const SockaddrBytes address = this->NewPath();
  const UniqueFd listener = this->Listen(address);
  const UniqueFd stream = this->Connect(address);
  EXPECT_EQ(this->PathOf(this->PeerAddress(stream)), this->PathOf(address));
  EXPECT_EQ(this->PathOf(this->LocalAddress(stream)), "");
}

TYPED_TEST_P(PollerUnixTest, UnixStreamShutdownRead) {
  const auto pair = this->NewEchoedConnection(1);
  ASSERT_TRUE(Succeeds(shutdown(pair.near.get(), SHUT_RD)));
  this->WaitFor(1, &Readiness::read_closed);
  EXPECT_EQ(this->Read(pair.near), "");
}

TYPED_TEST_P(PollerUnixTest, UnixStreamShutdownWrite) {
  const auto pair = this->NewEchoedConnection(1);
  this->Add(pair.far, 2, Interest::kReadable);
  ASSERT_TRUE(Succeeds(shutdown(pair.near.get(), SHUT_WR)));
  this->WaitFor(2, &Readiness::read_closed);
  EXPECT_EQ(this->Read(pair.far), "");
  EXPECT_EQ(this->TrySend(pair.near, "x"), EPIPE);
  // The other way is open.
  this->Send(pair.far, "still here");
  this->WaitFor(1, &Readiness::readable);
  EXPECT_EQ(this->Read(pair.near), "still here");
}

TYPED_TEST_P(PollerUnixTest, UnixStreamShutdownBoth) {
  const auto pair = this->NewEchoedConnection(1);
  ASSERT_TRUE(Succeeds(shutdown(pair.near.get(), SHUT_RDWR)));
  this->WaitFor(1, &Readiness::write_closed);
  EXPECT_EQ(this->Read(pair.near), "");
  EXPECT_EQ(this->TrySend(pair.near, "x"), EPIPE);
}

TYPED_TEST_P(PollerUnixTest, UnixStreamShutdownListenerWrite) {
  const auto pair = this->NewConnection();
  this->Add(pair.near, 1, kReadableAndWritable);
  EXPECT_FALSE(this->WaitFor(1, &Readiness::writable).readable());
  ASSERT_TRUE(Succeeds(shutdown(pair.far.get(), SHUT_WR)));
  EXPECT_FALSE(this->WaitFor(1, &Readiness::read_closed).write_closed());
  this->Send(pair.near, "still here");
  EXPECT_EQ(this->Read(pair.far), "still here");
}

TYPED_TEST_P(PollerUnixTest, UnixStreamRegister) {
  const auto pair = this->NewConnection();
  this->Add(pair.near, 1, Interest::kReadable);
  EXPECT_EQ(this->Told(1), Readiness());
}

TYPED_TEST_P(PollerUnixTest, UnixStreamReregister) {
  const auto pair = this->NewConnection();
  this->Add(pair.near, 1, Interest::kReadable);
  this->Modify(pair.near, 1, Interest::kWritable);
  EXPECT_FALSE(this->WaitFor(1, &Readiness::writable).readable());
}

TYPED_TEST_P(PollerUnixTest, UnixStreamDeregister) {
  const auto pair = this->NewConnection();
  this->Add(pair.near, 1, Interest::kWritable);
  this->Remove(pair.near, 1);
  EXPECT_EQ(this->Told(1), Readiness());
}

// A descriptor that came over a socket is watched as any other.
TYPED_TEST_P(PollerUnixTest, TestUnixPassFd) {
  const auto pair = this->NewConnection();
  this->Add(pair.near, 1, Interest::kReadable, Trigger::kOneShot);
  absl::StatusOr<poller_internal::Pipe> pipe = poller_internal::OpenPipe();
  ASSERT_TRUE(IsOk(pipe.status()));
  this->SendFd(pair.far, pipe->read_end);
  pipe->read_end.Reset();
  this->WaitFor(1, &Readiness::readable);
  const UniqueFd passed = this->ReceiveFd(pair.near);
  ASSERT_TRUE(passed);
  this->Add(passed, 2, Interest::kReadable);
  EXPECT_EQ(this->Told(2), Readiness());
  ASSERT_EQ(write(pipe->write_end.get(), "through", 7), 7);
  this->WaitFor(2, &Readiness::readable);
  EXPECT_EQ(this->Read(passed), "through");
  this->ExpectReadWouldBlock(passed);
  pipe->write_end.Reset();
  this->WaitFor(2, &Readiness::read_closed);
}

// --- Listeners ---

TYPED_TEST_P(PollerUnixTest, UnixListenerSmoke) {
  this->ExpectAccepts(TestFixture::Origin::kOwn);
}

TYPED_TEST_P(PollerUnixTest, UnixListenerFromStd) {
  this->ExpectAccepts(TestFixture::Origin::kForeign);
}

TYPED_TEST_P(PollerUnixTest, UnixListenerLocalAddr) {
  const SockaddrBytes address = this->NewPath();
  const UniqueFd listener = this->Listen(address);
  this->Add(listener, 1, kReadableAndWritable);
  const UniqueFd client = this->Connect(address);
  this->WaitFor(1, &Readiness::readable);
  const UniqueFd accepted = this->Accept(listener);
  EXPECT_EQ(this->PathOf(this->LocalAddress(accepted)), this->PathOf(address));
  EXPECT_EQ(this->PathOf(this->PeerAddress(accepted)), "");
}

TYPED_TEST_P(PollerUnixTest, UnixListenerRegister) {
  const UniqueFd listener = this->Listen(this->NewPath());
  this->Add(listener, 1, Interest::kReadable);
  EXPECT_EQ(this->Told(1), Readiness());
}

TYPED_TEST_P(PollerUnixTest, UnixListenerReregister) {
  const SockaddrBytes address = this->NewPath();
  const UniqueFd listener = this->Listen(address);
  this->Add(listener, 1, Interest::kWritable);
  const UniqueFd client = this->Connect(address);
  EXPECT_EQ(this->Told(1), Readiness());
  this->Modify(listener, 1, Interest::kReadable);
  this->WaitFor(1, &Readiness::readable);
}

TYPED_TEST_P(PollerUnixTest, UnixListenerDeregister) {
  const SockaddrBytes address = this->NewPath();
  const UniqueFd listener = this->Listen(address);
  this->Add(listener, 1, Interest::kReadable);
  const UniqueFd client = this->Connect(address);
  this->Remove(listener, 1);
  EXPECT_EQ(this->Told(1), Readiness());
}

TYPED_TEST_P(PollerUnixTest, UnixListenerAbstractNamespace) {
  // As unique as the folder.
  const SockaddrBytes address =
      this->UnixAddress(std::string(1, '\0') + this->folder_);
#if defined(__linux__)
  const UniqueFd listener = this->Listen(address);
  EXPECT_EQ(this->LocalAddress(listener), address);
  this->Add(listener, 1, kReadableAndWritable);
  EXPECT_EQ(this->Told(1), Readiness());
  const UniqueFd client = this->Connect(address);
  this->WaitFor(1, &Readiness::readable);
  const UniqueFd accepted = this->Accept(listener);
  EXPECT_EQ(this->LocalAddress(accepted), address);
  EXPECT_EQ(this->PathOf(this->PeerAddress(accepted)), "");
#else  // There is none.
  const UniqueFd fd = this->OpenSocket(AF_UNIX, SOCK_STREAM);
  EXPECT_EQ(bind(fd.get(), AsSockaddr(address), address.size()), -1);
#endif
}

REGISTER_TYPED_TEST_SUITE_P(
    PollerUnixTest, UnixStreamSmoke, UnixStreamFromStd, UnixStreamConnect,
    UnixStreamConnectAddr, UnixStreamPair, UnixStreamPeerAddr,
    UnixStreamShutdownRead, UnixStreamShutdownWrite, UnixStreamShutdownBoth,
    UnixStreamShutdownListenerWrite, UnixStreamRegister, UnixStreamReregister,
    UnixStreamDeregister, TestUnixPassFd, UnixListenerSmoke,
    UnixListenerFromStd, UnixListenerLocalAddr, UnixListenerRegister,
    UnixListenerReregister, UnixListenerDeregister,
    UnixListenerAbstractNamespace);

}  // namespace fio

#endif  // FIO_CORE_POLLER_TEST_SUITES_UNIX_SUITE_H_
