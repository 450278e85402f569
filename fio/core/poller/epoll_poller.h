// The Poller on Linux's epoll(7): one system call per Add, Modify, Remove and
// Wait, none per RemoveForClose. The kernel writes directly to the caller's
// events.
//
// Thread safety: as Poller.

#ifndef FIO_CORE_POLLER_EPOLL_POLLER_H_
#define FIO_CORE_POLLER_EPOLL_POLLER_H_

#include <memory>

#include "absl/status/statusor.h"
#include "fio/base/clock.h"
#include "fio/core/poller/poller.h"

namespace fio {

// `clock` must outlive the poller. Errors: the errno of epoll_create1(2);
// kUnimplemented on other systems.
absl::StatusOr<std::unique_ptr<Poller>> CreateEpollPoller(const Clock& clock);

}  // namespace fio

#endif  // FIO_CORE_POLLER_EPOLL_POLLER_H_
