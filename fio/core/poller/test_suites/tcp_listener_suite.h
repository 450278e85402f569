// What a Poller tells of TCP listeners, as tests for every backend. All have a
// counterpart in mio's tests, of the same name.

#ifndef FIO_CORE_POLLER_TEST_SUITES_TCP_LISTENER_SUITE_H_
#define FIO_CORE_POLLER_TEST_SUITES_TCP_LISTENER_SUITE_H_

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/poller.h"
#include "fio/core/poller/ready_events.h"
#include "fio/core/poller/test_suites/poller_fixture.h"
#include "fio/core/poller/test_suites/tcp_fixture.h"
#include "gtest/gtest.h"

namespace fio {

template <typename Backend>
class PollerTcpListenerTest : public PollerTcpFixture<Backend> {
 protected:
  // Of the one who is waiting at `listener`, and nobody else is.
  void AcceptTheOnly(const UniqueFd& listener, const UniqueFd& client) {
    const UniqueFd server = this->AcceptFrom(listener);
    this->ExpectNonBlockingAndCloseOnExec(server);
    this->ExpectConnected(client, server);
    this->ExpectNothingToRead(server);
    this->ExpectNobodyToAccept(listener);
    EXPECT_EQ(this->Error(listener), 0);
  }

  void SmokeTest(const UniqueFd& listener) {
    this->ExpectNonBlockingAndCloseOnExec(listener);
    this->Watch(listener, 1, Interest::kReadable);
    const UniqueFd client = this->StartToConnect(listener);
    this->WaitFor(1, &Readiness::readable);
    AcceptTheOnly(listener, client);
  }
};

TYPED_TEST_SUITE_P(PollerTcpListenerTest);

TYPED_TEST_P(PollerTcpListenerTest, TcpListener) {
  this->SmokeTest(this->Listen());
}

TYPED_TEST_P(PollerTcpListenerTest, TcpListenerIpv6) {
  this->SmokeTest(this->Listen(AF_INET6));
}

TYPED_TEST_P(PollerTcpListenerTest, TcpListenerStd) {
  const UniqueFd listener = this->Listen(AF_INET, 0);
  this->SetFlags(listener, O_NONBLOCK);
  this->SmokeTest(listener);
}

TYPED_TEST_P(PollerTcpListenerTest, SetGetTtl) {
  this->ExpectOptionKeeps(this->Listen(), IPPROTO_IP, IP_TTL, 10);
}

TYPED_TEST_P(PollerTcpListenerTest, GetTtlWithoutPreviousSet) {
  const UniqueFd listener = this->Listen();
  EXPECT_GT(this->Option(listener, IPPROTO_IP, IP_TTL), 0);
  EXPECT_EQ(this->Error(listener), 0);
}

TYPED_TEST_P(PollerTcpListenerTest, RawFd) {
  this->ExpectTheSameUnderItsNumber(this->Listen());
}

TYPED_TEST_P(PollerTcpListenerTest, Registering) {
  const UniqueFd listener = this->Listen();
  this->Watch(listener, 1, Interest::kReadable);
  this->ExpectNothingTold();
}

TYPED_TEST_P(PollerTcpListenerTest, Reregister) {
  const UniqueFd listener = this->Listen();
  this->Watch(listener, 1, Interest::kReadable);
  this->Rewatch(listener, 2, Interest::kReadable);
  const UniqueFd client = this->StartToConnect(listener);
  this->WaitFor(2, &Readiness::readable);
  EXPECT_EQ(this->Told(1), Readiness());
  this->AcceptTheOnly(listener, client);
}

TYPED_TEST_P(PollerTcpListenerTest, NoEventsAfterDeregister) {
  const UniqueFd listener = this->Listen();
  this->Watch(listener, 1, Interest::kReadable);
  const UniqueFd client = this->StartToConnect(listener);
  this->Await(listener, POLLIN);
  this->Unwatch(listener, 1);
  this->ExpectNothingTold();
  this->AcceptTheOnly(listener, client);
}

TYPED_TEST_P(PollerTcpListenerTest, TcpListenerTwoStreams) {
  const UniqueFd listener = this->Listen();
  this->Watch(listener, 1, Interest::kReadable);
  // One edge for two: whoever is told goes on until nobody is left.
  const UniqueFd first = this->ConnectTo(listener);
  const UniqueFd second = this->ConnectTo(listener);
  this->WaitFor(1, &Readiness::readable);
  this->ExpectConnected(first, this->AcceptFrom(listener));
  this->Await(listener, POLLIN);
  this->AcceptTheOnly(listener, second);
  this->ExpectNothingTold();
  // Then the next is a new one.
  const UniqueFd third = this->StartToConnect(listener);
  this->WaitFor(1, &Readiness::readable);
  this->AcceptTheOnly(listener, third);
  this->ExpectNothingTold();
}

TYPED_TEST_P(PollerTcpListenerTest, TestTcpLevel) {
  UniqueFd listener = this->Listen();
  this->Watch(listener, 1, Interest::kReadable, Trigger::kLevel);
  const UniqueFd first = this->StartToConnect(listener);
  this->WaitFor(1, &Readiness::readable);
  EXPECT_TRUE(this->Told(1).readable());
  this->AcceptTheOnly(listener, first);
  this->ExpectNothingTold();
  const UniqueFd second = this->StartToConnect(listener);
  this->WaitFor(1, &Readiness::readable);
  this->Close(listener, 1);
  this->ExpectNothingTold();
}

// Whoever is told accepts one; nobody is told in vain until all are served.
TYPED_TEST_P(PollerTcpListenerTest, TwoPollersShareOneByLevelExclusive) {
  const UniqueFd listener = this->Listen();
  const std::unique_ptr<Poller> other = TypeParam::Create(this->clock_);
  Poller* const pollers[] = {this->poller_.get(), other.get()};
  for (Poller* const poller : pollers) {
    ASSERT_TRUE(IsOk(poller->Add(listener.get(), 1, Interest::kReadable,
                                 Trigger::kLevelExclusive)));
  }
  constexpr int kClients = 10;
  std::vector<UniqueFd> clients;
  for (int i = 0; i < kClients; ++i) {
    clients.push_back(this->ConnectTo(listener));
    this->Await(listener, POLLIN);
  }
  int accepted = 0;
  bool told = true;
  while (told) {
    told = false;
    for (Poller* const poller : pollers) {
      std::array<Event, 4> events;
      const absl::StatusOr<ReadyEvents> ready =
          poller->Wait(absl::MakeSpan(events), MonotonicTime::InfinitePast());
      ASSERT_TRUE(IsOk(ready.status()));
      if (ready->empty()) continue;
      told = true;
      EXPECT_TRUE((*ready->begin()).readiness().readable());
      EXPECT_TRUE(UniqueFd(accept(listener.get(), nullptr, nullptr)));
      ++accepted;
    }
  }
  EXPECT_EQ(accepted, kClients);
}

REGISTER_TYPED_TEST_SUITE_P(PollerTcpListenerTest, TcpListener, TcpListenerIpv6,
                            TcpListenerStd, SetGetTtl, GetTtlWithoutPreviousSet,
                            RawFd, Registering, Reregister,
                            NoEventsAfterDeregister, TcpListenerTwoStreams,
                            TestTcpLevel, TwoPollersShareOneByLevelExclusive);

}  // namespace fio

#endif  // FIO_CORE_POLLER_TEST_SUITES_TCP_LISTENER_SUITE_H_
