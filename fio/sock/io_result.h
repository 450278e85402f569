// An IoResult is what one attempt to move bytes gave: how many, or which errno.
// It is two words and allocates nothing; status() words it when someone asks.
//
// Thread safety: a value.

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
  // Nothing now: the peer has sent nothing more, or the kernel's buffer is
  // full. A state, not a failure; the descriptor tells when it ends.
  bool would_block() const { return error == EAGAIN || error == EWOULDBLOCK; }
  // The kernel has no memory for it now. Nothing was lost, and nothing tells
  // when that ends: try again a little later.
  bool out_of_memory() const { return error == ENOBUFS || error == ENOMEM; }
  // Neither of these: it will not get better.
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
