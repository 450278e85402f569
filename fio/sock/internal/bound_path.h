// A BoundPath is the file that a Unix socket bound to a path leaves in the file
// system. It removes the file when it dies, but only in the process that made
// it, and only as long as the path still is that file: a child's copy, and a
// server that has taken the path over since, lose nothing.
//
// Thread safety: none.

#ifndef FIO_SOCK_INTERNAL_BOUND_PATH_H_
#define FIO_SOCK_INTERNAL_BOUND_PATH_H_

#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "fio/sock/socket_address.h"

namespace fio::sock_internal {

class BoundPath {
 public:
  // Binds `fd` to `address`, which has a path. A file that is there already is
  // an error, but for a socket that nobody is bound to any more, as a server
  // that crashed leaves it: that is replaced. Whether anybody is, a connect(2)
  // of the wrong type tells, of which a live server sees nothing.
  //
  // The file gets exactly `mode`, whatever the umask, and is never more open
  // than that; or what the umask leaves.
  //
  // Errors: the failed call's errno; "bind /run/x: Address already in use" if
  // the path is somebody else's.
  static absl::StatusOr<BoundPath> Bind(int fd, const SocketAddress& address,
                                        std::optional<mode_t> mode);

  // No path.
  BoundPath() = default;
  BoundPath(BoundPath&& other) noexcept { *this = std::move(other); }
  BoundPath& operator=(BoundPath&& other) noexcept;
  ~BoundPath() { Remove(); }

  // Call it before the socket closes: that keeps the inode's number ours.
  void Remove();

 private:
  std::string path_;  // Absolute; empty if there is none.
  dev_t device_ = 0;
  ino_t inode_ = 0;
  pid_t owner_ = 0;
};

}  // namespace fio::sock_internal

#endif  // FIO_SOCK_INTERNAL_BOUND_PATH_H_
