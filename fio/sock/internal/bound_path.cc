#include "fio/sock/internal/bound_path.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "fio/base/syscalls.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/internal/call_failed.h"
#include "fio/sock/socket_address.h"

namespace fio::sock_internal {
namespace {

constexpr mode_t kModeBits = 07777;

// The path, even after a chdir(2).
std::string Absolute(std::string_view path) {
  char directory[PATH_MAX];
  if (path.starts_with('/') ||
      getcwd(directory, sizeof(directory)) == nullptr) {
    return std::string(path);
  }
  return absl::StrCat(directory, "/", path);
}

bool SameFile(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

// A stream socket would join the queue of a live server; this one gets
// EPROTOTYPE from it, also while it is bound and not listening yet. Returns
// EADDRINUSE if somebody is bound to it, 0 if nobody is, or the errno of the
// probe's socket(2).
int ProbeForOwner(const SocketAddress& address) {
  const UniqueFd probe = UniqueFd::Created(
      Sys().socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!probe) return errno;
  const bool is_owned =
      Sys().connect(probe.get(), address.data(), address.size()) == 0 ||
      errno != ECONNREFUSED;
  return is_owned ? EADDRINUSE : 0;
}

// 0 if the path is free now, or the errno that says why not.
int RemoveStale(const SocketAddress& address, const std::string& path) {
  struct stat before;
  struct stat after;
  // connect(2) refuses files that are no sockets, too.
  if (lstat(path.c_str(), &before) != 0 || !S_ISSOCK(before.st_mode)) {
    return EADDRINUSE;
  }
  const int error = ProbeForOwner(address);
  if (error != 0) return error;
  const bool is_removed = lstat(path.c_str(), &after) == 0 &&
                          SameFile(before, after) && unlink(path.c_str()) == 0;
  return is_removed ? 0 : EADDRINUSE;
}

absl::Status BindReplacing(int fd, const SocketAddress& address,
                           const std::string& path) {
  const auto bind = [&] {
    return Sys().bind(fd, address.data(), address.size()) == 0;
  };
  if (bind()) return absl::OkStatus();
  if (errno == EADDRINUSE) {
    const int error = RemoveStale(address, path);
    if (error == 0 && bind()) return absl::OkStatus();
    errno = error != 0 ? error : EADDRINUSE;
    // There is no descriptor to find out whether the path is in use.
    if (error != 0 && error != EADDRINUSE) return CallFailed("socket", address);
  }
  return CallFailed("bind", address);
}

}  // namespace

absl::StatusOr<BoundPath> BoundPath::Bind(int fd, const SocketAddress& address,
                                          std::optional<mode_t> mode) {
  // bind(2) makes a file of the socket's mode, less the umask.
  if (mode.has_value() && fchmod(fd, *mode) != 0) {
    return CallFailed("fchmod", address);
  }
  const std::string path = Absolute(address.path());
  absl::Status status = BindReplacing(fd, address, path);
  if (!status.ok()) return status;
  struct stat file;
  if (lstat(path.c_str(), &file) != 0) return CallFailed("stat", address);
  BoundPath result;
  result.path_ = path;
  result.device_ = file.st_dev;
  result.inode_ = file.st_ino;
  result.owner_ = getpid();
  if (mode.has_value() && (file.st_mode & kModeBits) != *mode &&
      chmod(path.c_str(), *mode) != 0) {
    return CallFailed("chmod", address);
  }
  return result;
}

BoundPath& BoundPath::operator=(BoundPath&& other) noexcept {
  if (this == &other) return *this;
  Remove();
  path_ = std::exchange(other.path_, {});
  device_ = other.device_;
  inode_ = other.inode_;
  owner_ = other.owner_;
  return *this;
}

void BoundPath::Remove() {
  if (owner_ == getpid()) RemoveForParent();
  path_.clear();
}

void BoundPath::RemoveForParent() const {
  struct stat file;
  if (!path_.empty() && lstat(path_.c_str(), &file) == 0 &&
      file.st_dev == device_ && file.st_ino == inode_) {
    unlink(path_.c_str());
  }
}

}  // namespace fio::sock_internal
