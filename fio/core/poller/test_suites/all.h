// All of Poller's contract as tests:
// FIO_INSTANTIATE_POLLER_TEST_SUITES(Backend) in a backend's test runs them on
// it. poller_fixture.h says what a Backend is.

#ifndef FIO_CORE_POLLER_TEST_SUITES_ALL_H_
#define FIO_CORE_POLLER_TEST_SUITES_ALL_H_

#include "fio/core/poller/test_suites/batch_suite.h"
#include "fio/core/poller/test_suites/churn_suite.h"
#include "fio/core/poller/test_suites/model_suite.h"
#include "fio/core/poller/test_suites/pipe_suite.h"
#include "fio/core/poller/test_suites/poller_test_suite.h"
#include "fio/core/poller/test_suites/tcp_listener_suite.h"
#include "fio/core/poller/test_suites/tcp_suite.h"
#include "fio/core/poller/test_suites/udp_option_suite.h"
#include "fio/core/poller/test_suites/udp_suite.h"
#include "fio/core/poller/test_suites/unix_datagram_suite.h"
#include "fio/core/poller/test_suites/unix_suite.h"
#include "fio/core/poller/test_suites/waker_suite.h"
#include "gtest/gtest.h"

#define FIO_INSTANTIATE_POLLER_TEST_SUITES(Backend)                         \
  INSTANTIATE_TYPED_TEST_SUITE_P(Backend, PollerTest, Backend);             \
  INSTANTIATE_TYPED_TEST_SUITE_P(Backend, PollTest, Backend);               \
  INSTANTIATE_TYPED_TEST_SUITE_P(Backend, PollerBatchTest, Backend);        \
  INSTANTIATE_TYPED_TEST_SUITE_P(Backend, PollerModelTest, Backend);        \
  INSTANTIATE_TYPED_TEST_SUITE_P(Backend, PollerTcpTest, Backend);          \
  INSTANTIATE_TYPED_TEST_SUITE_P(Backend, PollerTcpListenerTest, Backend);  \
  INSTANTIATE_TYPED_TEST_SUITE_P(Backend, PollerPipeTest, Backend);         \
  INSTANTIATE_TYPED_TEST_SUITE_P(Backend, PollerUdpTest, Backend);          \
  INSTANTIATE_TYPED_TEST_SUITE_P(Backend, PollerUdpOptionTest, Backend);    \
  INSTANTIATE_TYPED_TEST_SUITE_P(Backend, PollerUnixTest, Backend);         \
  INSTANTIATE_TYPED_TEST_SUITE_P(Backend, PollerUnixDatagramTest, Backend); \
  INSTANTIATE_TYPED_TEST_SUITE_P(Backend, PollerWakerTest, Backend)

#endif  // FIO_CORE_POLLER_TEST_SUITES_ALL_H_
