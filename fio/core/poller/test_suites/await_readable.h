// Whether a descriptor is readable, as poll(2) has it: for tests of what offers
// one to watch.

#ifndef FIO_CORE_POLLER_TEST_SUITES_AWAIT_READABLE_H_
#define FIO_CORE_POLLER_TEST_SUITES_AWAIT_READABLE_H_

#include <poll.h>

#include <cerrno>

#include "gtest/gtest.h"

namespace fio {

inline bool IsReadable(int fd) {
  pollfd ready = {.fd = fd, .events = POLLIN, .revents = 0};
  return poll(&ready, 1, 0) == 1;
}

inline void AwaitReadable(int fd) {
  pollfd ready = {.fd = fd, .events = POLLIN, .revents = 0};
  while (poll(&ready, 1, -1) < 0) ASSERT_EQ(errno, EINTR);
}

}  // namespace fio

#endif  // FIO_CORE_POLLER_TEST_SUITES_AWAIT_READABLE_H_
