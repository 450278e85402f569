// An IoResult is the result of one attempt to read or write bytes: their number
// and an errno. It is two words and allocates nothing. status() makes an
// absl::Status of it.
//
// Thread safety: as an int.

#ifndef FIO_SOCK_IO_RESULT_H_
#define FIO_SOCK_IO_RESULT_H_

#include <cerrno>
#include <cstddef>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "fio/base/errno_status.h"

namespace fio {

struct [[nodiscard]] IoResult {
  size_t bytes = 0;
  int error = 0;  // An errno, or 0.

  bool ok() const { return error == 0; }
  // There is nothing to read, or the kernel's buffer is full. This is a state,
  // not a failure: the descriptor becomes ready when it ends.
  bool would_block() const { return error == EAGAIN || error == EWOULDBLOCK; }
  // The kernel has no memory now. Nothing was lost. The descriptor does not
  // become ready when this ends: try again a little later.
  bool out_of_memory() const { return error == ENOBUFS || error == ENOMEM; }
  // Any other error. It is permanent.
  bool failed() const { return !ok() && !would_block() && !out_of_memory(); }

  // For logging: "12 bytes", or "ECONNRESET after 12 bytes".
  template <typename Sink>
  friend void AbslStringify(Sink& sink, const IoResult& result) {
    if (!result.ok()) {
      sink.Append(absl::StrCat(ErrnoName(result.error), " after "));
    }
    sink.Append(absl::StrCat(result.bytes, " bytes"));
  }

  // `what` names the call and the object, as in "recv fd 7".
  absl::Status status(std::string_view what) const {
    return ok() ? absl::OkStatus() : ErrnoToStatus(error, what);
  }
};

}  // namespace fio

#endif  // FIO_SOCK_IO_RESULT_H_
