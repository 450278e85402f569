#include "fio/core/process/service_manager.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "fio/base/errno_status.h"
#include "fio/base/syscalls.h"
#include "fio/base/unique_fd.h"

namespace fio {
namespace {

constexpr char kPid[] = "LISTEN_PID";
constexpr char kFds[] = "LISTEN_FDS";
constexpr char kNames[] = "LISTEN_FDNAMES";
constexpr char kSocket[] = "NOTIFY_SOCKET";

absl::Status Malformed(const char* name, std::string_view value,
                       std::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(name, "=", value, ": ", what));
}

absl::StatusOr<std::vector<ListenFd>> ReadVariables(
    const ServiceEnvironment& environment) {
  std::vector<ListenFd> taken;
  const char* const pid_text = environment.get(kPid);
  const char* const fds_text = environment.get(kFds);
  if (pid_text == nullptr || fds_text == nullptr) return taken;
  pid_t pid;
  if (!absl::SimpleAtoi(pid_text, &pid) || pid <= 0) {
    return Malformed(kPid, pid_text, "no process's id");
  }
  if (pid != getpid()) return taken;
  const int first = environment.first_fd;
  int count;
  if (!absl::SimpleAtoi(fds_text, &count) || count < 0 ||
      count > std::numeric_limits<int>::max() - first) {
    return Malformed(kFds, fds_text, "no number of descriptors");
  }
  std::vector<std::string> names;
  if (const char* const text = environment.get(kNames); text != nullptr) {
    names = absl::StrSplit(text, ':');
    if (count == 0 && *text == '\0') names.clear();
    if (names.size() != static_cast<size_t>(count)) {
      return Malformed(kNames, text,
                       absl::StrCat("not as many as ", count, " descriptors"));
    }
  }
  for (int fd = first; fd < first + count; ++fd) {
    if (fcntl(fd, F_GETFD) < 0) {
      return ErrnoToStatus(errno,
                           absl::StrCat(kFds, ": fcntl descriptor ", fd));
    }
  }
  for (int i = 0; i < count; ++i) {
    const int fd = first + i;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    taken.push_back(
        {.fd = UniqueFd(fd),
         .name = names.empty() ? "unknown" : names[static_cast<size_t>(i)]});
  }
  return taken;
}

struct UnixAddress {
  sockaddr_un address = {};
  socklen_t size = 0;
};

absl::StatusOr<UnixAddress> NotifyAddress(std::string_view name) {
  if (name[0] != '/' && name[0] != '@') {
    return Malformed(kSocket, name, "neither a path nor an abstract name");
  }
  UnixAddress unix_address;
  sockaddr_un& address = unix_address.address;
  address.sun_family = AF_UNIX;
  if (name.size() >= sizeof(address.sun_path)) {
    return Malformed(kSocket, name, "too long");
  }
  std::copy(name.begin(), name.end(), address.sun_path);
  size_t size = offsetof(sockaddr_un, sun_path) + name.size();
  if (name[0] == '@') {
    address.sun_path[0] = '\0';
  } else {
    ++size;  // The path's end.
  }
  unix_address.size = static_cast<socklen_t>(size);
  return unix_address;
}

}  // namespace

absl::StatusOr<std::vector<ListenFd>> TakeListenFds(
    const ServiceEnvironment& environment) {
  absl::StatusOr<std::vector<ListenFd>> taken = ReadVariables(environment);
  for (const char* const name : {kPid, kFds, kNames}) environment.unset(name);
  return taken;
}

absl::Status NotifyServiceManager(std::string_view state,
                                  const ServiceEnvironment& environment) {
  const char* const name = environment.get(kSocket);
  if (name == nullptr || *name == '\0') return absl::OkStatus();
  if (state.empty()) {
    return absl::InvalidArgumentError("notify service manager: empty state");
  }
  absl::StatusOr<UnixAddress> address = NotifyAddress(name);
  if (!address.ok()) return address.status();
  const UniqueFd socket =
      UniqueFd::Created(Sys().socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) {
    return ErrnoToStatus(errno, absl::StrCat("socket for ", name));
  }
  iovec bytes = {.iov_base = const_cast<char*>(state.data()),
                 .iov_len = state.size()};
  msghdr message = {};
  message.msg_name = &address->address;
  message.msg_namelen = address->size;
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  while (Sys().sendmsg(socket.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT) <
         0) {
    if (errno == EINTR) continue;
    return ErrnoToStatus(errno, absl::StrCat("sendmsg ", name));
  }
  return absl::OkStatus();
}

}  // namespace fio
