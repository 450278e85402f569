// Converts an errno to an absl::Status. This differs from absl::ErrnoToStatus()
// in two ways: the message names the errno, and the code says what the caller
// of a socket can do about it. For example, EADDRNOTAVAIL is kUnavailable (no
// such local address, or no free local port), not kAlreadyExists.
//
// Thread safety: any thread.

#ifndef FIO_BASE_ERRNO_STATUS_H_
#define FIO_BASE_ERRNO_STATUS_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace fio {

// The code for the errno `error`. kOk for 0; kUnknown for a number that is not
// an errno of this system.
absl::StatusCode ErrnoToStatusCode(int error);

// "ECONNRESET"; "errno 4711" for a number that is not an errno of this system.
std::string ErrnoName(int error);

// The Status of a call that failed with `error`. `what` names the call and its
// object: "bind 127.0.0.1:80" becomes "bind 127.0.0.1:80: Permission denied
// (EACCES)". OK if `error` is 0.
absl::Status ErrnoToStatus(int error, std::string_view what);

}  // namespace fio

#endif  // FIO_BASE_ERRNO_STATUS_H_
