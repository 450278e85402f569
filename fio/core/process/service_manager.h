// The interface to a service manager such as systemd: the sockets that it
// passes to the service, see sd_listen_fds(3), and the state that the service
// reports, see sd_notify(3). Without a service manager both functions do
// nothing.
//
//   auto fds = TakeListenFds();  // Before anything opens descriptors.
//   ...
//   NotifyServiceManager("READY=1").IgnoreError();
//
// Thread safety: that of getenv(3) and, for TakeListenFds(), of unsetenv(3).

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

// The process's environment, which a test can replace.
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

// Takes the descriptors that the manager passed, in its order, and makes them
// close on exec(3). Empty if there are none, or LISTEN_PID is another process.
// Unsets the variables, also on an error, so that neither a second call nor a
// child takes the descriptors again. Errors: kInvalidArgument for a malformed
// LISTEN_PID, LISTEN_FDS or LISTEN_FDNAMES, with its value; the errno of
// fcntl(2) for a descriptor that is not open. After an error the descriptors
// are unchanged.
absl::StatusOr<std::vector<ListenFd>> TakeListenFds(
    const ServiceEnvironment& environment = {});

// Sends `state`, lines of NAME=value, as one datagram to the socket in
// NOTIFY_SOCKET: a path, or '@' and an abstract name. Ok without sending if it
// is not set. Does not block, unlike sd_notify(3): kUnavailable while the
// manager's queue is full. Other errors: kInvalidArgument if `state` is empty,
// or NOTIFY_SOCKET is neither of these or too long; the errno of the call that
// failed, with the address.
absl::Status NotifyServiceManager(std::string_view state,
                                  const ServiceEnvironment& environment = {});

}  // namespace fio

#endif  // FIO_CORE_PROCESS_SERVICE_MANAGER_H_
