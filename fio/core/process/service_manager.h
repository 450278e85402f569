// What a service manager, as systemd, and a service tell each other: the
// sockets that the service is started with, see sd_listen_fds(3), and the
// service's state, see sd_notify(3). Without a service manager both do nothing.
//
//   auto fds = TakeListenFds();  // Before anything opens descriptors.
//   ...
//   NotifyServiceManager("READY=1").IgnoreError();
//
// Thread safety: that of getenv(3) and, for TakeListenFds(), unsetenv(3).

#ifndef FIO_CORE_PROCESS_SERVICE_MANAGER_H_
#define FIO_CORE_PROCESS_SERVICE_MANAGER_H_

#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/base/unique_fd.h"

namespace fio {

// What a test may put in place of the process's own.
struct ServiceEnvironment {
  // As getenv(3) and unsetenv(3).
  absl::FunctionRef<const char*(const char* name)> get = getenv;
  absl::FunctionRef<int(const char* name)> unset = unsetenv;

  int first_fd = 3;
};

struct ListenFd {
  UniqueFd fd;
  std::string name;  // FileDescriptorName= of the unit; or "unknown".
};

// The descriptors that this process was started with, in the manager's order
// and closed on exec(3) from here on. Empty if there are none, or LISTEN_PID
// names another process. The variables are unset, also on an error, so that
// neither a second call nor a child takes the descriptors again. Errors:
// kInvalidArgument naming LISTEN_PID, LISTEN_FDS or LISTEN_FDNAMES and its
// value; the errno of fcntl(2) for a descriptor that is not open. On an error
// the descriptors are as they were.
absl::StatusOr<std::vector<ListenFd>> TakeListenFds(
    const ServiceEnvironment& environment = {});

// Sends `state`, lines of NAME=value, as one datagram to the socket that
// NOTIFY_SOCKET names: a path, or '@' and a name that is in no file system. Ok
// without sending if it is not set. Waits while the manager's queue is full, as
// sd_notify(3) does. Errors: kInvalidArgument if `state` is empty, or naming a
// NOTIFY_SOCKET that is none of these or too long; the errno of the call that
// failed, with the address.
absl::Status NotifyServiceManager(std::string_view state,
                                  const ServiceEnvironment& environment = {});

}  // namespace fio

#endif  // FIO_CORE_PROCESS_SERVICE_MANAGER_H_
