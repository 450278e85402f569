// What a Poller tells of TCP streams, as tests for every backend. Nearly all
// have a counterpart in mio's tests, of the same name.

#ifndef FIO_CORE_POLLER_TEST_SUITES_TCP_SUITE_H_
#define FIO_CORE_POLLER_TEST_SUITES_TCP_SUITE_H_

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "absl/status/statusor.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/fd_watch.h"
#include "fio/core/poller/test_suites/poller_fixture.h"
#include "fio/core/poller/test_suites/tcp_fixture.h"
#include "gtest/gtest.h"

namespace fio {

template <typename Backend>
class PollerTcpTest : public PollerTcpFixture<Backend> {
 protected:
  using Pair = typename PollerTcpFixture<Backend>::Pair;

  static constexpr size_t kBulk = size_t{16} << 20;
  using Step = std::array<char, 1024>;

  // Takes kBulk bytes in steps from a thread that sends all it can.
  void ReadInBulk(bool peeks) {
    const Pair pair = this->NewPair();
    this->SetFlags(pair.server, 0);
    std::thread sender([&] {
      const Step step = {};
      for (size_t sent = 0; sent < kBulk; sent += step.size()) {
        this->Send(pair.server, std::string_view(step.data(), step.size()));
      }
    });
    this->Watch(pair.client, 1, Interest::kReadable);
    const int client = pair.client.get();
    size_t received = 0;
    while (received < kBulk) {
      this->WaitFor(1, &Readiness::readable);
      Step step;
      if (peeks) {
        EXPECT_NE(recv(client, step.data(), step.size(), MSG_PEEK), 0);
      }
      ssize_t count;
      while ((count = recv(client, step.data(), step.size(), 0)) > 0) {
        received += count;
      }
      EXPECT_EQ(count, -1);
      this->Drained(client, Interest::kReadable);
    }
    sender.join();
    EXPECT_EQ(received, kBulk);
  }

  // Whether what is sent before `leave` takes the sender away arrives.
  template <typename Leave>
  void WriteThen(Leave leave) {
    auto [listener, client, server] = this->NewWatchedTrio();
    this->Watch(server, 3, Interest::kWritable);
    this->WaitFor(3, &Readiness::writable);
    EXPECT_EQ(this->Told(2), Readiness());
    this->Send(server, "1234");
    leave(server);
    this->Rewatch(client, 2, Interest::kReadable);
    this->WaitFor(2, &Readiness::readable);
    EXPECT_EQ(this->Receive(client), "1234");
    EXPECT_EQ(this->Told(3), Readiness());
  }

  // `client` has begun to connect to `listener`, or is connected.
  void SmokeTest(const UniqueFd& listener, UniqueFd client) {
    this->ExpectNonBlockingAndCloseOnExec(client);
    this->Watch(client, 1, kReadableAndWritable);
    this->WaitFor(1, &Readiness::writable);
    this->ExpectNothingToRead(client, MSG_PEEK);
    this->ExpectNothingToRead(client);
    this->Await(listener, POLLIN);
    const UniqueFd server = this->AcceptFrom(listener);
    this->ExpectConnected(client, server);

    this->Send(client, "Hello world!");
    this->Send(server, this->Receive(server));
    this->WaitFor(1, &Readiness::readable);
    EXPECT_EQ(this->Receive(client, MSG_PEEK), "Hello world!");
    EXPECT_EQ(this->Receive(client), "Hello world!");
    EXPECT_EQ(this->Error(client), 0);
    this->ExpectNothingToRead(client);

    char bytes[] = "Hello mars!";
    const iovec out[] = {{bytes, 5}, {bytes + 5, 6}};
    EXPECT_EQ(writev(client.get(), out, 2), 11);
    this->Send(server, this->Receive(server));
    this->WaitFor(1, &Readiness::readable);
    std::string front(4, '-');
    std::string back(9, '-');
    const iovec in[] = {{front.data(), front.size()},
                        {back.data(), back.size()}};
    EXPECT_EQ(readv(client.get(), in, 2), 11);
    EXPECT_EQ(front, "Hell");
    EXPECT_EQ(back, "o mars!--");

    this->Close(client, 1);
    EXPECT_EQ(this->Receive(server), "");
  }
};

TYPED_TEST_SUITE_P(PollerTcpTest);

TYPED_TEST_P(PollerTcpTest, Accept) {
  const UniqueFd listener = this->Listen();
  this->Watch(listener, 1, Interest::kReadable);
  const UniqueFd client = this->StartToConnect(listener);
  this->WaitFor(1, &Readiness::readable);
  const UniqueFd server = this->AcceptFrom(listener);
  this->ExpectNobodyToAccept(listener);
}

TYPED_TEST_P(PollerTcpTest, Connect) {
  typename TestFixture::Pair pair = this->NewWatchedPair();
  EXPECT_EQ(this->Error(pair.client), 0);
  pair.server.Reset();
  this->WaitFor(1, &Readiness::readable);
  EXPECT_EQ(this->Receive(pair.client), "");
}

TYPED_TEST_P(PollerTcpTest, Read) { this->ReadInBulk(false); }

TYPED_TEST_P(PollerTcpTest, Peek) { this->ReadInBulk(true); }

TYPED_TEST_P(PollerTcpTest, Write) {
  typename TestFixture::Pair pair = this->NewPair();
  this->SetFlags(pair.server, 0);
  size_t received = 0;
  std::thread receiver([&] {
    typename TestFixture::Step step;
    ssize_t count;
    while ((count = recv(pair.server.get(), step.data(), step.size(), 0)) > 0) {
      received += count;
    }
  });
  this->Watch(pair.client, 1, Interest::kWritable);
  const int client = pair.client.get();
  size_t sent = 0;
  while (sent < this->kBulk) {
    this->WaitFor(1, &Readiness::writable);
    const typename TestFixture::Step step = {};
    ssize_t count;
    while (sent < this->kBulk &&
           (count = send(client, step.data(), step.size(), MSG_NOSIGNAL)) > 0) {
      sent += count;
    }
    this->Drained(client, Interest::kWritable);
  }
  this->Close(pair.client, 1);
  receiver.join();
  EXPECT_EQ(received, sent);
}

TYPED_TEST_P(PollerTcpTest, ConnectThenClose) {
  typename TestFixture::Trio trio = this->NewWatchedTrio();
  this->Watch(trio.server, 3, kReadableAndWritable);
  this->Close(trio.server, 3);
  this->WaitFor(2, &Readiness::readable);
  EXPECT_EQ(this->Told(3), Readiness());
}

TYPED_TEST_P(PollerTcpTest, ListenThenClose) {
  UniqueFd listener = this->Listen();
  this->Watch(listener, 1, Interest::kReadable);
  const UniqueFd client = this->StartToConnect(listener);
  this->Await(listener, POLLIN);
  this->Close(listener, 1);
  this->ExpectNothingTold();
}

TYPED_TEST_P(PollerTcpTest, BindTwiceBad) {
  const UniqueFd listener = this->Listen();
  typename TestFixture::Address taken = this->AddressOf(listener);
  const UniqueFd other = this->NewSocket(AF_INET);
  EXPECT_EQ(bind(other.get(), taken.get(), taken.length), -1);
  EXPECT_EQ(errno, EADDRINUSE);
}

TYPED_TEST_P(PollerTcpTest, MultipleWritesImmediateSuccess) {
  const typename TestFixture::Pair pair = this->NewWatchedPair();
  const std::string ones(1024, 1);
  for (int i = 0; i < 16; ++i) this->Send(pair.client, ones);
  this->SetFlags(pair.server, 0);
  std::string received(16 * ones.size(), 0);
  EXPECT_EQ(
      recv(pair.server.get(), received.data(), received.size(), MSG_WAITALL),
      static_cast<ssize_t>(received.size()));
  EXPECT_EQ(received.find_first_not_of(char{1}), std::string::npos);
}

TYPED_TEST_P(PollerTcpTest, ConnectionResetByPeer) {
  typename TestFixture::Pair pair = this->NewWatchedPair();
  this->ResetAtClose(pair.client);
  this->Close(pair.client, 1);
  this->Await(pair.server, POLLIN);
  this->Watch(pair.server, 3, Interest::kReadable);
  this->WaitFor(3, &Readiness::readable);
  EXPECT_EQ(this->AfterTheBytesOf(pair.server),
            TypeParam::kTakesErrors ? 0 : ECONNRESET);
}

TYPED_TEST_P(PollerTcpTest, ConnectError) {
  const UniqueFd refusing = this->Bind();
  const UniqueFd client = this->StartToConnect(refusing);
  this->Watch(client, 1, Interest::kWritable);
  const Readiness told = this->WaitFor(1, &Readiness::write_closed);
  EXPECT_TRUE(told.writable() && told.error()) << told;
  EXPECT_EQ(this->Error(client), TypeParam::kTakesErrors ? 0 : ECONNREFUSED);
}

TYPED_TEST_P(PollerTcpTest, WriteError) {
  typename TestFixture::Pair pair = this->NewWatchedPair();
  pair.server.Reset();
  int error;
  while ((error = this->WhyNoSend(pair.client)) == 0 || error == EAGAIN) {
    if (error == 0) continue;
    this->Drained(pair.client.get(), Interest::kWritable);
    this->WaitFor(1, &Readiness::writable);
  }
  EXPECT_TRUE(error == EPIPE || error == ECONNRESET) << error;
}

TYPED_TEST_P(PollerTcpTest, WriteShutdown) {
  const typename TestFixture::Pair pair = this->NewPair();
  this->Watch(pair.client, 1, kReadableAndWritable);
  const Readiness before = this->Told(1);
  EXPECT_TRUE(before.writable() && !before.read_closed()) << before;
  EXPECT_EQ(this->Told(1), Readiness());
  shutdown(pair.server.get(), SHUT_WR);
  this->AwaitInput(pair.client);
  const Readiness after = this->Told(1);
  EXPECT_TRUE(after.read_closed() && !after.write_closed()) << after;
  EXPECT_EQ(this->Told(1), Readiness());
}

TYPED_TEST_P(PollerTcpTest, LocalAddrReady) {
  auto [listener, client, server] = this->NewWatchedTrio();
  this->Watch(server, 3, Interest::kWritable);
  this->WaitFor(3, &Readiness::writable);
  EXPECT_EQ(this->NameOf(server), this->NameOf(listener));
  EXPECT_EQ(this->PeerOf(server), this->NameOf(client));
  this->Send(server, "123");
  this->Close(server, 3);
  this->WaitFor(2, &Readiness::readable);
  EXPECT_EQ(this->PeerOf(client), this->NameOf(listener));
}

TYPED_TEST_P(PollerTcpTest, WriteThenDrop) {
  this->WriteThen([this](UniqueFd& server) { this->Close(server, 3); });
}

TYPED_TEST_P(PollerTcpTest, WriteThenDeregister) {
  this->WriteThen([this](UniqueFd& server) { this->Unwatch(server, 3); });
}

TYPED_TEST_P(PollerTcpTest, TcpNoEventsAfterDeregister) {
  const auto [listener, client, server] = this->NewWatchedTrio();
  this->ExpectConnected(client, server);
  this->Watch(server, 3, Interest::kWritable);
  this->WaitFor(3, &Readiness::writable);
  this->Send(server, "1234");
  this->WaitFor(2, &Readiness::readable);

  this->Unwatch(listener, 1);
  this->Unwatch(client, 2);
  this->Unwatch(server, 3);
  this->ExpectNothingTold();
  EXPECT_EQ(this->Receive(client), "1234");
  this->Send(server, "5678");
  this->AwaitInput(client);
  this->ExpectNothingTold();
  EXPECT_EQ(this->Receive(client), "5678");
}

TYPED_TEST_P(PollerTcpTest, AssertSize) {
  EXPECT_EQ(sizeof(UniqueFd), sizeof(int));
}

TYPED_TEST_P(PollerTcpTest, TcpStreamIpv4) {
  const UniqueFd listener = this->Listen();
  this->SmokeTest(listener, this->StartToConnect(listener));
}

TYPED_TEST_P(PollerTcpTest, TcpStreamIpv6) {
  const UniqueFd listener = this->Listen(AF_INET6);
  this->SmokeTest(listener, this->StartToConnect(listener));
}

TYPED_TEST_P(PollerTcpTest, TcpStreamStd) {
  const UniqueFd listener = this->Listen();
  this->SmokeTest(listener, this->ConnectTo(listener));
}

TYPED_TEST_P(PollerTcpTest, SetGetTtl) {
  const UniqueFd client = this->NewWatchedPair().client;
  this->ExpectOptionKeeps(client, IPPROTO_IP, IP_TTL, 10);
}

TYPED_TEST_P(PollerTcpTest, GetTtlWithoutPreviousSet) {
  const UniqueFd client = this->NewWatchedPair().client;
  EXPECT_GT(this->Option(client, IPPROTO_IP, IP_TTL), 0);
  EXPECT_EQ(this->Error(client), 0);
}

TYPED_TEST_P(PollerTcpTest, SetGetNodelay) {
  const UniqueFd client = this->NewWatchedPair().client;
  this->ExpectOptionKeeps(client, IPPROTO_TCP, TCP_NODELAY, 1);
}

TYPED_TEST_P(PollerTcpTest, GetNodelayWithoutPreviousSet) {
  const UniqueFd client = this->NewWatchedPair().client;
  EXPECT_EQ(this->Option(client, IPPROTO_TCP, TCP_NODELAY), 0);
  EXPECT_EQ(this->Error(client), 0);
}

// Whether the bytes at hand survive differs from system to system.
TYPED_TEST_P(PollerTcpTest, ShutdownRead) {
  const typename TestFixture::Pair pair = this->NewWatchedPair();
  this->Send(pair.server, "Hello");
  this->WaitFor(1, &Readiness::readable);
  EXPECT_EQ(shutdown(pair.client.get(), SHUT_RD), 0);
  EXPECT_EQ(this->AfterTheBytesOf(pair.client), 0);
  EXPECT_EQ(this->WhyNoSend(pair.client), 0);
}

TYPED_TEST_P(PollerTcpTest, ShutdownWrite) {
  const typename TestFixture::Pair pair = this->NewWatchedPair();
  this->Send(pair.client, "Hello");
  EXPECT_EQ(shutdown(pair.client.get(), SHUT_WR), 0);
  EXPECT_EQ(this->WhyNoSend(pair.client), EPIPE);
  this->Send(pair.server, this->Receive(pair.server));
  EXPECT_EQ(this->Receive(pair.server), "");
  this->AwaitInput(pair.client);
  this->WaitFor(1, &Readiness::readable);
  EXPECT_EQ(this->Receive(pair.client), "Hello");
  this->ExpectNothingToRead(pair.client);
}

TYPED_TEST_P(PollerTcpTest, ShutdownBoth) {
  const typename TestFixture::Pair pair = this->NewWatchedPair();
  this->Send(pair.server, "Hello");
  this->WaitFor(1, &Readiness::readable);
  EXPECT_EQ(shutdown(pair.client.get(), SHUT_RDWR), 0);
  EXPECT_EQ(this->AfterTheBytesOf(pair.client), 0);
  EXPECT_EQ(this->WhyNoSend(pair.client), EPIPE);
}

TYPED_TEST_P(PollerTcpTest, RawFd) {
  this->ExpectTheSameUnderItsNumber(this->NewPair().client);
}

TYPED_TEST_P(PollerTcpTest, Registering) {
  const UniqueFd listener = this->Listen();
  const UniqueFd client = this->StartToConnect(listener);
  this->Watch(client, 1, Interest::kReadable);
  this->ExpectNothingTold();
  this->Await(client, POLLOUT);
  this->ExpectNothingTold();
}

TYPED_TEST_P(PollerTcpTest, Reregistering) {
  const UniqueFd listener = this->Listen();
  const UniqueFd client = this->StartToConnect(listener);
  this->Watch(client, 1, Interest::kReadable);
  this->Rewatch(client, 2, Interest::kWritable);
  this->WaitFor(2, &Readiness::writable);
  EXPECT_EQ(this->PeerOf(client), this->NameOf(listener));
  EXPECT_EQ(this->Told(1), Readiness());
}

TYPED_TEST_P(PollerTcpTest, NoEventsAfterDeregister) {
  const UniqueFd listener = this->Listen();
  const UniqueFd client = this->StartToConnect(listener);
  this->Watch(client, 1, kReadableAndWritable);
  this->Unwatch(client, 1);
  this->Await(client, POLLOUT);
  this->ExpectNothingTold();
  this->Await(listener, POLLIN);
  const UniqueFd server = this->AcceptFrom(listener);
  this->ExpectConnected(client, server);
  this->ExpectNothingToRead(client, MSG_PEEK);
  this->ExpectNothingToRead(client);
  this->Send(client, "Hello");
  this->Send(server, this->Receive(server));
  this->AwaitInput(client);
  this->ExpectNothingTold();
}

TYPED_TEST_P(PollerTcpTest, TcpShutdownClientReadCloseEvent) {
  const typename TestFixture::Pair pair = this->NewWatchedPair();
  shutdown(pair.client.get(), SHUT_RD);
  EXPECT_FALSE(this->WaitFor(1, &Readiness::read_closed).write_closed());
}

// Not every system hints at it; sure is that a write does not block.
TYPED_TEST_P(PollerTcpTest, TcpShutdownClientWriteCloseEvent) {
  const typename TestFixture::Pair pair = this->NewWatchedPair();
  shutdown(pair.client.get(), SHUT_WR);
  this->Rewatch(pair.client, 1, kReadableAndWritable);
  EXPECT_FALSE(this->WaitFor(1, &Readiness::writable).read_closed());
  EXPECT_EQ(this->WhyNoSend(pair.client), EPIPE);
}

TYPED_TEST_P(PollerTcpTest, TcpShutdownClientBothCloseEvent) {
  const typename TestFixture::Pair pair = this->NewWatchedPair();
  shutdown(pair.client.get(), SHUT_RDWR);
  this->WaitFor(1, &Readiness::write_closed);
}

TYPED_TEST_P(PollerTcpTest, TcpShutdownServerWriteCloseEvent) {
  const typename TestFixture::Pair pair = this->NewWatchedPair();
  shutdown(pair.server.get(), SHUT_WR);
  EXPECT_FALSE(this->WaitFor(1, &Readiness::read_closed).write_closed());
}

// A close resets if there was something left to read.
TYPED_TEST_P(PollerTcpTest, TcpResetCloseEvent) {
  typename TestFixture::Pair pair = this->NewWatchedPair();
  this->Send(pair.client, "Hello");
  this->ExpectNothingToRead(pair.client);
  this->AwaitInput(pair.server);
  pair.server.Reset();
  this->WaitFor(1, &Readiness::read_closed);
  EXPECT_EQ(this->AfterTheBytesOf(pair.client),
            TypeParam::kTakesErrors ? 0 : ECONNRESET);
  this->Told(1);  // A last one, if the two directions were told apart.
  EXPECT_EQ(this->Told(1), Readiness());
}

TYPED_TEST_P(PollerTcpTest, HupEventOnDisconnect) {
  typename TestFixture::Pair pair = this->NewWatchedPair();
  this->ResetAtClose(pair.server);
  pair.server.Reset();
  EXPECT_TRUE(this->WaitFor(1, &Readiness::read_closed).readable());
  EXPECT_EQ(this->AfterTheBytesOf(pair.client),
            TypeParam::kTakesErrors ? 0 : ECONNRESET);
}

TYPED_TEST_P(PollerTcpTest, PriorityEventOnOobData) {
  const typename TestFixture::Pair pair = this->NewPair();
  this->Watch(pair.client, 1, Interest::kReadable | Interest::kPriority);
  this->ExpectNothingTold();
  this->Send(pair.server, "Hello", MSG_OOB);
  this->AwaitInput(pair.client);
  const Readiness told = this->Told(1);
  EXPECT_TRUE(told.readable()) << told;
  EXPECT_EQ(told.priority(), TypeParam::kTellsPriority) << told;
  // The last byte alone is out of band.
  char byte = 0;
  EXPECT_EQ(recv(pair.client.get(), &byte, 1, MSG_OOB), 1);
  EXPECT_EQ(byte, 'o');
  EXPECT_EQ(this->Receive(pair.client), "Hell");
}

TYPED_TEST_P(PollerTcpTest, PeekOk) {
  const typename TestFixture::Pair pair = this->NewPair();
  this->Watch(pair.client, 1, Interest::kReadable);
  this->ExpectNothingTold();
  this->Send(pair.server, "x");
  EXPECT_EQ(this->Receive(pair.client, MSG_PEEK), "x");
  this->WaitFor(1, &Readiness::readable);
}

TYPED_TEST_P(PollerTcpTest, PeekWouldBlock) {
  const typename TestFixture::Pair pair = this->NewPair();
  this->Watch(pair.client, 1, Interest::kReadable);
  this->ExpectNothingTold();
  for (int i = 0; i < 3; ++i) {
    this->Send(pair.server, "x");
    this->WaitFor(1, &Readiness::readable);
    EXPECT_EQ(this->Receive(pair.client), "x");
    this->ExpectNothingToRead(pair.client, MSG_PEEK);
  }
}

TYPED_TEST_P(PollerTcpTest, ReadPeekWouldBlock) {
  const typename TestFixture::Pair pair = this->NewPair();
  this->Watch(pair.client, 1, Interest::kReadable);
  this->ExpectNothingToRead(pair.client);
  this->Send(pair.server, "x");
  this->WaitFor(1, &Readiness::readable);
  EXPECT_EQ(this->Receive(pair.client), "x");
  this->ExpectNothingToRead(pair.client, MSG_PEEK);
  this->Send(pair.server, "y");
  this->WaitFor(1, &Readiness::readable);
  EXPECT_EQ(this->Receive(pair.client), "y");
}

TYPED_TEST_P(PollerTcpTest, CloseOnDrop) {
  const UniqueFd listener = this->Listen();
  this->Watch(listener, 1, Interest::kReadable);
  const UniqueFd client = this->StartToConnect(listener);
  this->Watch(client, 2, Interest::kWritable);
  this->WaitFor(2, &Readiness::writable);
  this->Rewatch(client, 2, Interest::kReadable);
  this->WaitFor(1, &Readiness::readable);
  this->AcceptFrom(listener).Reset();
  this->WaitFor(2, &Readiness::readable);
  EXPECT_EQ(this->Receive(client), "");
}

TYPED_TEST_P(PollerTcpTest, DropCancelsInterestAndShutsDown) {
  typename TestFixture::Pair pair = this->NewPair();
  {
    const UniqueFd client = std::move(pair.client);
    const absl::StatusOr<FdWatch> watch = FdWatch::Create(
        *this->poller_, client.get(), 1, kReadableAndWritable, Trigger::kEdge);
    ASSERT_TRUE(IsOk(watch.status()));
    this->WaitFor(1, &Readiness::writable);
  }
  EXPECT_EQ(this->Receive(pair.server), "");
  this->ExpectNothingTold();
}

// mio's #776: the peer never learned of a close after a read that would block.
TYPED_TEST_P(PollerTcpTest, Issue776) {
  typename TestFixture::Pair pair = this->NewWatchedPair();
  this->ExpectNothingToRead(pair.client);
  this->Close(pair.client, 1);
  EXPECT_EQ(this->Receive(pair.server), "");
}

TYPED_TEST_P(PollerTcpTest, TestTcpLevel) {
  typename TestFixture::Pair pair = this->NewWatchedPair();
  this->Rewatch(pair.client, 1, kReadableAndWritable, Trigger::kLevel);
  for (int i = 0; i < 3; ++i) {
    const Readiness told = this->Told(1);
    EXPECT_TRUE(told.writable() && !told.readable()) << told;
  }
  this->Send(pair.server, "Hello");
  this->AwaitInput(pair.client);
  for (int i = 0; i < 3; ++i) {
    const Readiness told = this->Told(1);
    EXPECT_TRUE(told.writable() && told.readable()) << told;
  }
  EXPECT_EQ(this->Receive(pair.client), "Hello");
  const Readiness told = this->Told(1);
  EXPECT_TRUE(told.writable() && !told.readable()) << told;
  this->Close(pair.client, 1);
  this->ExpectNothingTold();
}

REGISTER_TYPED_TEST_SUITE_P(
    PollerTcpTest, Accept, Connect, Read, Peek, Write, ConnectThenClose,
    ListenThenClose, BindTwiceBad, MultipleWritesImmediateSuccess,
    ConnectionResetByPeer, ConnectError, WriteError, WriteShutdown,
    LocalAddrReady, WriteThenDrop, WriteThenDeregister,
    TcpNoEventsAfterDeregister, AssertSize, TcpStreamIpv4, TcpStreamIpv6,
    TcpStreamStd, SetGetTtl, GetTtlWithoutPreviousSet, SetGetNodelay,
    GetNodelayWithoutPreviousSet, ShutdownRead, ShutdownWrite, ShutdownBoth,
    RawFd, Registering, Reregistering, NoEventsAfterDeregister,
    TcpShutdownClientReadCloseEvent, TcpShutdownClientWriteCloseEvent,
    TcpShutdownClientBothCloseEvent, TcpShutdownServerWriteCloseEvent,
    TcpResetCloseEvent, HupEventOnDisconnect, PriorityEventOnOobData, PeekOk,
    PeekWouldBlock, ReadPeekWouldBlock, CloseOnDrop,
    DropCancelsInterestAndShutsDown, Issue776, TestTcpLevel);

}  // namespace fio

#endif  // FIO_CORE_POLLER_TEST_SUITES_TCP_SUITE_H_
