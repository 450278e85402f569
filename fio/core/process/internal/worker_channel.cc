#include "fio/core/process/internal/worker_channel.h"

#include <sys/socket.h>
#include <sys/types.h>

#include <cerrno>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "fio/base/errno_status.h"
#include "fio/base/syscalls.h"
#include "fio/base/unique_fd.h"
#include "fio/core/process/worker_end.h"

namespace fio::process_internal {

bool Send(int channel, const Order& order) {
  ssize_t sent;
  do {
    sent =
        Sys().send(channel, &order, sizeof(order), MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent >= 0;
}

absl::StatusOr<SocketPair> OpenSocketPair(absl::string_view purpose) {
  int ends[2];
  if (Sys().socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return ErrnoToStatus(errno, absl::StrCat("socketpair ", purpose));
  }
  return SocketPair{.root = UniqueFd::Created(ends[0]),
                    .worker = UniqueFd::Created(ends[1])};
}

}  // namespace fio::process_internal
