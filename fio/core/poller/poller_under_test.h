#ifndef FIO_CORE_POLLER_POLLER_UNDER_TEST_H_
#define FIO_CORE_POLLER_POLLER_UNDER_TEST_H_

#include <cstdlib>

#include "fio/core/poller/poller.h"

namespace fio::core_internal {

// What a test of poller_tests(), of tools/poller_tests.bzl, runs on.
inline PollerKind PollerUnderTest() {
  return std::getenv("FIO_TEST_ON_POLL") == nullptr ? PollerKind::kAuto
                                                    : PollerKind::kPoll;
}

}  // namespace fio::core_internal

#endif  // FIO_CORE_POLLER_POLLER_UNDER_TEST_H_
