// A BoundPath owns the file of a Unix socket that is bound to a path. Its
// destructor removes the file, but only in the process that created it, and
// only if the path still names the same file. So a forked child does not remove
// it, nor the file of a server that has taken over the path.
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
  // Binds `fd` to `address`, which has a path. An existing file is an error,
  // except for a socket file that no socket is bound to any more, such as that
  // of a crashed server: it is replaced. This is checked by a connect(2) with
  // another socket type, which a live server does not see.
  //
  // The file gets exactly `mode`, whatever the umask is, and never a more
  // permissive one. Without `mode` it is 0777 less the umask.
  //
  // Errors: the failed call's errno; "bind /run/x: Address already in use" if
  // the path is in use.
  static absl::StatusOr<BoundPath> Bind(int fd, const SocketAddress& address,
                                        std::optional<mode_t> mode);

  // No path.
  BoundPath() = default;
  BoundPath(BoundPath&& other) noexcept { *this = std::move(other); }
  BoundPath& operator=(BoundPath&& other) noexcept;
  ~BoundPath() { Remove(); }

  // Call it before the socket closes: until then the inode number is not
  // reused.
  void Remove();

  // Removes the file in any process, if it is still the same: for a child whose
  // parent has died. Changes nothing here, takes no lock and allocates nothing.
  // Call it before the socket closes, too.
  void RemoveForParent() const;

 private:
  std::string path_;  // Absolute; empty if there is none.
  dev_t device_ = 0;
  ino_t inode_ = 0;
  pid_t owner_ = 0;
};

}  // namespace fio::sock_internal

#endif  // FIO_SOCK_INTERNAL_BOUND_PATH_H_
