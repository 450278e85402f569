// What Poller promises of UDP sockets whose options change, as tests for every
// backend. Their names are those of the tests of mio that prove the same.

#ifndef FIO_CORE_POLLER_TEST_SUITES_UDP_OPTION_SUITE_H_
#define FIO_CORE_POLLER_TEST_SUITES_UDP_OPTION_SUITE_H_

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <optional>

#include "fio/core/poller/event.h"
#include "fio/core/poller/test_suites/socket_fixture.h"
#include "gtest/gtest.h"

namespace fio {

template <typename Backend>
class PollerUdpOptionTest : public PollerUdpFixture<Backend> {
 protected:
  using typename PollerUdpFixture<Backend>::Udp;

  struct Option {
    int level;
    int name;
    std::optional<int> initial;  // None if the system's owner sets it.
    std::array<int, 2> values;
  };
  static constexpr Option kTtl = {IPPROTO_IP, IP_TTL, std::nullopt, {10, 20}};
  static constexpr Option kBroadcast = {SOL_SOCKET, SO_BROADCAST, 0, {1, 0}};
  static constexpr Option kMulticastTtlV4 = {
      IPPROTO_IP, IP_MULTICAST_TTL, 1, {10, 20}};
  static constexpr Option kMulticastLoopV4 = {
      IPPROTO_IP, IP_MULTICAST_LOOP, 1, {0, 1}};
  static constexpr Option kMulticastLoopV6 = {
      IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 1, {0, 1}};

  static Udp BindFor(const Option& option) {
    return PollerUdpFixture<Backend>::Bind(
        option.level == IPPROTO_IPV6 ? AF_INET6 : AF_INET);
  }
  int Get(const Udp& udp, const Option& option) {
    return this->GetOption(udp.fd, option.level, option.name);
  }
  // The watch of a socket whose option changes stays as it is.
  void ExpectSetAndGet(const Option& option) {
    const Udp udp = BindFor(option);
    this->Add(udp.fd, 1, Interest::kReadable);
    for (const int value : option.values) {
      this->SetOption(udp.fd, option.level, option.name, value);
      EXPECT_EQ(Get(udp, option), value);
    }
    EXPECT_EQ(this->Told(1), Readiness());
    this->ExpectNoErrors({&udp});
    this->Send(udp.fd, "to itself", udp.address);
    this->WaitFor(1, &Readiness::readable);
  }
  void ExpectGet(const Option& option) {
    const int value = Get(BindFor(option), option);
    EXPECT_EQ(value, option.initial.value_or(value));
  }
};

TYPED_TEST_SUITE_P(PollerUdpOptionTest);

TYPED_TEST_P(PollerUdpOptionTest, SetGetTtl) {
  this->ExpectSetAndGet(this->kTtl);
}
TYPED_TEST_P(PollerUdpOptionTest, GetTtlWithoutPreviousSet) {
  this->ExpectGet(this->kTtl);
}
TYPED_TEST_P(PollerUdpOptionTest, SetGetBroadcast) {
  this->ExpectSetAndGet(this->kBroadcast);
}
TYPED_TEST_P(PollerUdpOptionTest, GetBroadcastWithoutPreviousSet) {
  this->ExpectGet(this->kBroadcast);
}
TYPED_TEST_P(PollerUdpOptionTest, SetGetMulticastTtlV4) {
  this->ExpectSetAndGet(this->kMulticastTtlV4);
}
TYPED_TEST_P(PollerUdpOptionTest, GetMulticastTtlV4WithoutPreviousSet) {
  this->ExpectGet(this->kMulticastTtlV4);
}
TYPED_TEST_P(PollerUdpOptionTest, SetGetMulticastLoopV4) {
  this->ExpectSetAndGet(this->kMulticastLoopV4);
}
TYPED_TEST_P(PollerUdpOptionTest, GetMulticastLoopV4WithoutPreviousSet) {
  this->ExpectGet(this->kMulticastLoopV4);
}
TYPED_TEST_P(PollerUdpOptionTest, SetGetMulticastLoopV6) {
  this->ExpectSetAndGet(this->kMulticastLoopV6);
}
TYPED_TEST_P(PollerUdpOptionTest, GetMulticastLoopV6WithoutPreviousSet) {
  this->ExpectGet(this->kMulticastLoopV6);
}

REGISTER_TYPED_TEST_SUITE_P(
    PollerUdpOptionTest, SetGetTtl, GetTtlWithoutPreviousSet, SetGetBroadcast,
    GetBroadcastWithoutPreviousSet, SetGetMulticastTtlV4,
    GetMulticastTtlV4WithoutPreviousSet, SetGetMulticastLoopV4,
    GetMulticastLoopV4WithoutPreviousSet, SetGetMulticastLoopV6,
    GetMulticastLoopV6WithoutPreviousSet);

}  // namespace fio

#endif  // FIO_CORE_POLLER_TEST_SUITES_UDP_OPTION_SUITE_H_
