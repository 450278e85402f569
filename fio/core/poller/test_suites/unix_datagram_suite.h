// What Poller promises of Unix datagram sockets, as tests for every backend.
// Their names are those of the tests of mio that prove the same.

#ifndef FIO_CORE_POLLER_TEST_SUITES_UNIX_DATAGRAM_SUITE_H_
#define FIO_CORE_POLLER_TEST_SUITES_UNIX_DATAGRAM_SUITE_H_

#include <sys/socket.h>

#include <cerrno>

#include "fio/base/unique_fd.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/test_suites/poller_fixture.h"
#include "fio/core/poller/test_suites/socket_fixture.h"
#include "gtest/gtest.h"

namespace fio {

template <typename Backend>
class PollerUnixDatagramTest : public PollerUnixFixture<Backend> {
 protected:
  using typename PollerUnixFixture<Backend>::Origin;
  using typename PollerUnixFixture<Backend>::Pair;
  using typename PollerUnixFixture<Backend>::Message;

  // Two sockets that send each other a datagram at the same time.
  void ExpectExchange(const Pair& pair, const SockaddrBytes& to_near = {},
                      const SockaddrBytes& to_far = {}) {
    this->ExpectNonBlockingAndCloseOnExec(pair.near);
    this->ExpectNonBlockingAndCloseOnExec(pair.far);
    this->Add(pair.near, 1, kReadableAndWritable);
    this->Add(pair.far, 2, kReadableAndWritable);
    this->WaitFor(1, &Readiness::writable);
    this->WaitFor(2, &Readiness::writable);
    this->ExpectReadWouldBlock(pair.near);
    this->ExpectReadWouldBlock(pair.far);
    this->Send(pair.near, "to the far", to_far);
    this->Send(pair.far, "to the near", to_near);
    this->WaitFor(1, &Readiness::readable);
    this->WaitFor(2, &Readiness::readable);
    const SockaddrBytes near = this->LocalAddress(pair.near);
    const SockaddrBytes far = this->LocalAddress(pair.far);
    for (const int flags : {int{MSG_PEEK}, 0}) {
      const Message at_near = this->Receive(pair.near, flags);
      const Message at_far = this->Receive(pair.far, flags);
      EXPECT_EQ(at_near.bytes, "to the near");
      EXPECT_EQ(at_far.bytes, "to the far");
      EXPECT_EQ(this->PathOf(at_near.from), this->PathOf(far));
      EXPECT_EQ(this->PathOf(at_far.from), this->PathOf(near));
    }
    EXPECT_EQ(this->TakeError(pair.near), 0);
    EXPECT_EQ(this->TakeError(pair.far), 0);
  }
  void ExpectUnconnectedExchange(Origin origin) {
    const SockaddrBytes near = this->NewPath();
    const SockaddrBytes far = this->NewPath();
    ExpectExchange({this->Bind(SOCK_DGRAM, near, origin),
                    this->Bind(SOCK_DGRAM, far, origin)},
                   near, far);
  }
  void ExpectConnectedExchange(Origin origin) {
    const SockaddrBytes near = this->NewPath();
    const SockaddrBytes far = this->NewPath();
    const Pair pair = {this->Bind(SOCK_DGRAM, near, origin),
                       this->Bind(SOCK_DGRAM, far, origin)};
    this->ConnectTo(pair.near, far);
    this->ConnectTo(pair.far, near);
    EXPECT_EQ(this->PathOf(this->PeerAddress(pair.near)), this->PathOf(far));
    EXPECT_EQ(this->PathOf(this->PeerAddress(pair.far)), this->PathOf(near));
    ExpectExchange(pair);
  }
};

TYPED_TEST_SUITE_P(PollerUnixDatagramTest);

TYPED_TEST_P(PollerUnixDatagramTest, UnixDatagramSmokeUnconnected) {
  this->ExpectUnconnectedExchange(TestFixture::Origin::kOwn);
}

TYPED_TEST_P(PollerUnixDatagramTest, UnixDatagramSmokeUnconnectedFromStd) {
  this->ExpectUnconnectedExchange(TestFixture::Origin::kForeign);
}

TYPED_TEST_P(PollerUnixDatagramTest, UnixDatagramSmokeConnected) {
  this->ExpectConnectedExchange(TestFixture::Origin::kOwn);
}

TYPED_TEST_P(PollerUnixDatagramTest, UnixDatagramSmokeConnectedFromStd) {
  this->ExpectConnectedExchange(TestFixture::Origin::kForeign);
}

// To itself, of all.
TYPED_TEST_P(PollerUnixDatagramTest, UnixDatagramConnect) {
  const UniqueFd datagram = this->Bind(SOCK_DGRAM, this->NewPath());
  this->ConnectTo(datagram, this->LocalAddress(datagram));
  this->Add(datagram, 1, Interest::kReadable);
  this->Send(datagram, "hello");
  this->WaitFor(1, &Readiness::readable);
  EXPECT_EQ(this->Read(datagram), "hello");
}

TYPED_TEST_P(PollerUnixDatagramTest, UnixDatagramPair) {
  this->ExpectExchange(this->NewPair(SOCK_DGRAM));
}

TYPED_TEST_P(PollerUnixDatagramTest, UnixDatagramShutdown) {
  const SockaddrBytes far = this->NewPath();
  const UniqueFd rx = this->Bind(SOCK_DGRAM, far);
  const UniqueFd tx = this->Bind(SOCK_DGRAM, this->NewPath());
  this->ConnectTo(tx, far);
  this->Add(tx, 1, kReadableAndWritable);
  this->Add(rx, 2, kReadableAndWritable);
  this->WaitFor(1, &Readiness::writable);
  this->Send(tx, "hello");
  this->WaitFor(2, &Readiness::readable);
  ASSERT_TRUE(Succeeds(shutdown(tx.get(), SHUT_RD)));
  EXPECT_FALSE(this->WaitFor(1, &Readiness::read_closed).write_closed());
  ASSERT_TRUE(Succeeds(shutdown(tx.get(), SHUT_WR)));
  this->WaitFor(1, &Readiness::write_closed);
  EXPECT_EQ(this->TrySend(tx, "x"), EPIPE);
  EXPECT_EQ(this->TakeError(tx), 0);
}

TYPED_TEST_P(PollerUnixDatagramTest, UnixDatagramRegister) {
  const UniqueFd datagram = this->Bind(SOCK_DGRAM, this->NewPath());
  this->Add(datagram, 1, Interest::kReadable);
  EXPECT_EQ(this->Told(1), Readiness());
}

TYPED_TEST_P(PollerUnixDatagramTest, UnixDatagramReregister) {
  const SockaddrBytes address = this->NewPath();
  const UniqueFd rx = this->Bind(SOCK_DGRAM, address);
  this->Add(rx, 1, Interest::kReadable);
  const UniqueFd tx = this->Bind(SOCK_DGRAM, this->NewPath());
  this->Send(tx, "hello", address);
  this->Modify(rx, 1, Interest::kWritable);
  EXPECT_FALSE(this->WaitFor(1, &Readiness::writable).readable());
}

TYPED_TEST_P(PollerUnixDatagramTest, UnixDatagramDeregister) {
  const SockaddrBytes address = this->NewPath();
  const UniqueFd rx = this->Bind(SOCK_DGRAM, address);
  this->Add(rx, 1, kReadableAndWritable);
  const UniqueFd tx = this->Bind(SOCK_DGRAM, this->NewPath());
  this->Send(tx, "hello", address);
  this->Remove(rx, 1);
  EXPECT_EQ(this->Told(1), Readiness());
}

// mio#1403: who sends need not have a name.
TYPED_TEST_P(PollerUnixDatagramTest, Issue1403) {
  const SockaddrBytes address = this->NewPath();
  const UniqueFd rx = this->Bind(SOCK_DGRAM, address);
  const UniqueFd tx = this->OpenSocket(AF_UNIX, SOCK_DGRAM);
  this->Add(rx, 1, Interest::kReadable);
  this->Send(tx, "from nobody", address);
  this->WaitFor(1, &Readiness::readable);
  const typename TestFixture::Message message = this->Receive(rx);
  EXPECT_EQ(message.bytes, "from nobody");
  EXPECT_EQ(this->PathOf(message.from), "");
}

REGISTER_TYPED_TEST_SUITE_P(
    PollerUnixDatagramTest, UnixDatagramSmokeUnconnected,
    UnixDatagramSmokeUnconnectedFromStd, UnixDatagramSmokeConnected,
    UnixDatagramSmokeConnectedFromStd, UnixDatagramConnect, UnixDatagramPair,
    UnixDatagramShutdown, UnixDatagramRegister, UnixDatagramReregister,
    UnixDatagramDeregister, Issue1403);

}  // namespace fio

#endif  // FIO_CORE_POLLER_TEST_SUITES_UNIX_DATAGRAM_SUITE_H_
