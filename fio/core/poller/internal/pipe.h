// OpenPipe() opens a pipe(2) that is non-blocking and closed on exec(3).
//
// Thread safety: any thread.

#ifndef FIO_CORE_POLLER_INTERNAL_PIPE_H_
#define FIO_CORE_POLLER_INTERNAL_PIPE_H_

#include "absl/status/statusor.h"
#include "fio/base/unique_fd.h"

namespace fio::poller_internal {

struct Pipe {
  UniqueFd read_end;
  UniqueFd write_end;
};

// By pipe2(2), or by pipe(2) where that is refused. Errors: the errno of
// pipe(2).
absl::StatusOr<Pipe> OpenPipe();

}  // namespace fio::poller_internal

#endif  // FIO_CORE_POLLER_INTERNAL_PIPE_H_
