#include "fio/base/errno_status.h"

#include <cerrno>
#include <string>
#include <string_view>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace fio {
namespace {

struct Row {
  int error;
  std::string_view name;
  absl::StatusCode code;
};

// EWOULDBLOCK and ENOTSUP are other names of EAGAIN and EOPNOTSUPP on Linux.
constexpr Row kRows[] = {
    {EPERM, "EPERM", absl::StatusCode::kPermissionDenied},
    {ENOENT, "ENOENT", absl::StatusCode::kNotFound},
    {ESRCH, "ESRCH", absl::StatusCode::kNotFound},
    {EINTR, "EINTR", absl::StatusCode::kUnavailable},
    {EIO, "EIO", absl::StatusCode::kDataLoss},
    {ENXIO, "ENXIO", absl::StatusCode::kNotFound},
    {E2BIG, "E2BIG", absl::StatusCode::kInvalidArgument},
    {ENOEXEC, "ENOEXEC", absl::StatusCode::kInvalidArgument},
    {EBADF, "EBADF", absl::StatusCode::kFailedPrecondition},
    {ECHILD, "ECHILD", absl::StatusCode::kFailedPrecondition},
    {EAGAIN, "EAGAIN", absl::StatusCode::kUnavailable},
    {ENOMEM, "ENOMEM", absl::StatusCode::kResourceExhausted},
    {EACCES, "EACCES", absl::StatusCode::kPermissionDenied},
    {EFAULT, "EFAULT", absl::StatusCode::kInvalidArgument},
    {ENOTBLK, "ENOTBLK", absl::StatusCode::kFailedPrecondition},
    {EBUSY, "EBUSY", absl::StatusCode::kFailedPrecondition},
    {EEXIST, "EEXIST", absl::StatusCode::kAlreadyExists},
    {EXDEV, "EXDEV", absl::StatusCode::kUnimplemented},
    {ENODEV, "ENODEV", absl::StatusCode::kNotFound},
    {ENOTDIR, "ENOTDIR", absl::StatusCode::kFailedPrecondition},
    {EISDIR, "EISDIR", absl::StatusCode::kFailedPrecondition},
    {EINVAL, "EINVAL", absl::StatusCode::kInvalidArgument},
    {ENFILE, "ENFILE", absl::StatusCode::kResourceExhausted},
    {EMFILE, "EMFILE", absl::StatusCode::kResourceExhausted},
    {ENOTTY, "ENOTTY", absl::StatusCode::kInvalidArgument},
    {ETXTBSY, "ETXTBSY", absl::StatusCode::kFailedPrecondition},
    {EFBIG, "EFBIG", absl::StatusCode::kOutOfRange},
    {ENOSPC, "ENOSPC", absl::StatusCode::kResourceExhausted},
    {ESPIPE, "ESPIPE", absl::StatusCode::kInvalidArgument},
    {EROFS, "EROFS", absl::StatusCode::kPermissionDenied},
    {EMLINK, "EMLINK", absl::StatusCode::kResourceExhausted},
    {EPIPE, "EPIPE", absl::StatusCode::kFailedPrecondition},
    {EDOM, "EDOM", absl::StatusCode::kInvalidArgument},
    {ERANGE, "ERANGE", absl::StatusCode::kOutOfRange},
    {EDEADLK, "EDEADLK", absl::StatusCode::kAborted},
    {ENAMETOOLONG, "ENAMETOOLONG", absl::StatusCode::kInvalidArgument},
    {ENOLCK, "ENOLCK", absl::StatusCode::kResourceExhausted},
    {ENOSYS, "ENOSYS", absl::StatusCode::kUnimplemented},
    {ENOTEMPTY, "ENOTEMPTY", absl::StatusCode::kFailedPrecondition},
    {ELOOP, "ELOOP", absl::StatusCode::kFailedPrecondition},
    {EBADMSG, "EBADMSG", absl::StatusCode::kDataLoss},
    {EPROTO, "EPROTO", absl::StatusCode::kInternal},
    {EOVERFLOW, "EOVERFLOW", absl::StatusCode::kOutOfRange},
    {EILSEQ, "EILSEQ", absl::StatusCode::kInvalidArgument},
    {EUSERS, "EUSERS", absl::StatusCode::kResourceExhausted},
    {ENOTSOCK, "ENOTSOCK", absl::StatusCode::kInvalidArgument},
    {EDESTADDRREQ, "EDESTADDRREQ", absl::StatusCode::kInvalidArgument},
    {EMSGSIZE, "EMSGSIZE", absl::StatusCode::kInvalidArgument},
    {EPROTOTYPE, "EPROTOTYPE", absl::StatusCode::kInvalidArgument},
    {ENOPROTOOPT, "ENOPROTOOPT", absl::StatusCode::kUnimplemented},
    {EPROTONOSUPPORT, "EPROTONOSUPPORT", absl::StatusCode::kUnimplemented},
    {ESOCKTNOSUPPORT, "ESOCKTNOSUPPORT", absl::StatusCode::kUnimplemented},
    {EOPNOTSUPP, "EOPNOTSUPP", absl::StatusCode::kUnimplemented},
    {EPFNOSUPPORT, "EPFNOSUPPORT", absl::StatusCode::kUnimplemented},
    {EAFNOSUPPORT, "EAFNOSUPPORT", absl::StatusCode::kUnimplemented},
    {EADDRINUSE, "EADDRINUSE", absl::StatusCode::kFailedPrecondition},
    {EADDRNOTAVAIL, "EADDRNOTAVAIL", absl::StatusCode::kUnavailable},
    {ENETDOWN, "ENETDOWN", absl::StatusCode::kUnavailable},
    {ENETUNREACH, "ENETUNREACH", absl::StatusCode::kUnavailable},
    {ENETRESET, "ENETRESET", absl::StatusCode::kUnavailable},
    {ECONNABORTED, "ECONNABORTED", absl::StatusCode::kUnavailable},
    {ECONNRESET, "ECONNRESET", absl::StatusCode::kUnavailable},
    {ENOBUFS, "ENOBUFS", absl::StatusCode::kResourceExhausted},
    {EISCONN, "EISCONN", absl::StatusCode::kFailedPrecondition},
    {ENOTCONN, "ENOTCONN", absl::StatusCode::kFailedPrecondition},
    {ESHUTDOWN, "ESHUTDOWN", absl::StatusCode::kFailedPrecondition},
    {ETIMEDOUT, "ETIMEDOUT", absl::StatusCode::kDeadlineExceeded},
    {ECONNREFUSED, "ECONNREFUSED", absl::StatusCode::kUnavailable},
    {EHOSTDOWN, "EHOSTDOWN", absl::StatusCode::kUnavailable},
    {EHOSTUNREACH, "EHOSTUNREACH", absl::StatusCode::kUnavailable},
    {EALREADY, "EALREADY", absl::StatusCode::kUnavailable},
    {EINPROGRESS, "EINPROGRESS", absl::StatusCode::kUnavailable},
    {ESTALE, "ESTALE", absl::StatusCode::kAborted},
    {EDQUOT, "EDQUOT", absl::StatusCode::kResourceExhausted},
    {ECANCELED, "ECANCELED", absl::StatusCode::kCancelled},
    {EOWNERDEAD, "EOWNERDEAD", absl::StatusCode::kAborted},
    {ENOTRECOVERABLE, "ENOTRECOVERABLE", absl::StatusCode::kAborted},
#if defined(__linux__)
    {ECHRNG, "ECHRNG", absl::StatusCode::kOutOfRange},
    {EUNATCH, "EUNATCH", absl::StatusCode::kFailedPrecondition},
    {EISNAM, "EISNAM", absl::StatusCode::kFailedPrecondition},
    {ENODATA, "ENODATA", absl::StatusCode::kNotFound},
    {ETIME, "ETIME", absl::StatusCode::kDeadlineExceeded},
    {ENONET, "ENONET", absl::StatusCode::kUnavailable},
    {ENOLINK, "ENOLINK", absl::StatusCode::kUnavailable},
    {ECOMM, "ECOMM", absl::StatusCode::kUnavailable},
    {EREMOTEIO, "EREMOTEIO", absl::StatusCode::kUnavailable},
    {ENOPKG, "ENOPKG", absl::StatusCode::kUnimplemented},
    {EBADFD, "EBADFD", absl::StatusCode::kFailedPrecondition},
    {ENOTUNIQ, "ENOTUNIQ", absl::StatusCode::kAlreadyExists},
    {EUCLEAN, "EUCLEAN", absl::StatusCode::kDataLoss},
    {ENOMEDIUM, "ENOMEDIUM", absl::StatusCode::kNotFound},
    {ENOKEY, "ENOKEY", absl::StatusCode::kPermissionDenied},
    {EKEYEXPIRED, "EKEYEXPIRED", absl::StatusCode::kPermissionDenied},
    {EKEYREVOKED, "EKEYREVOKED", absl::StatusCode::kPermissionDenied},
    {EKEYREJECTED, "EKEYREJECTED", absl::StatusCode::kPermissionDenied},
#endif
};

const Row* Find(int error) {
  for (const Row& row : kRows) {
    if (row.error == error) return &row;
  }
  return nullptr;
}

}  // namespace

absl::StatusCode ErrnoToStatusCode(int error) {
  if (error == 0) return absl::StatusCode::kOk;
  const Row* const row = Find(error);
  return row == nullptr ? absl::StatusCode::kUnknown : row->code;
}

std::string ErrnoName(int error) {
  const Row* const row = Find(error);
  return row == nullptr ? absl::StrCat("errno ", error)
                        : std::string(row->name);
}

absl::Status ErrnoToStatus(int error, std::string_view what) {
  // Not strerror(3), which is not thread-safe everywhere.
  return absl::Status(
      ErrnoToStatusCode(error),
      absl::StrCat(what, ": ", std::generic_category().message(error), " (",
                   ErrnoName(error), ")"));
}

}  // namespace fio
