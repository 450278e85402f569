#include "fio/base/errno_status.h"

#include <cerrno>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using Code = absl::StatusCode;

// What tells a caller of sockets what to do.
TEST(Status, OfErrno) {
  struct Case {
    int error;
    Code code;
    const char* name;
  };
  const Case cases[] = {
      // Of an argument: another call is needed.
      {EINVAL, Code::kInvalidArgument, "EINVAL"},
      {EMSGSIZE, Code::kInvalidArgument, "EMSGSIZE"},
      {ENOTSOCK, Code::kInvalidArgument, "ENOTSOCK"},
      {ENAMETOOLONG, Code::kInvalidArgument, "ENAMETOOLONG"},
      {EACCES, Code::kPermissionDenied, "EACCES"},
      {EPERM, Code::kPermissionDenied, "EPERM"},
      {ENOENT, Code::kNotFound, "ENOENT"},
      {EEXIST, Code::kAlreadyExists, "EEXIST"},
      // Of the state of the object.
      {EBADF, Code::kFailedPrecondition, "EBADF"},
      {EPIPE, Code::kFailedPrecondition, "EPIPE"},
      {ENOTCONN, Code::kFailedPrecondition, "ENOTCONN"},
      {EADDRINUSE, Code::kFailedPrecondition, "EADDRINUSE"},
      // The same call may succeed later.
      {EADDRNOTAVAIL, Code::kUnavailable, "EADDRNOTAVAIL"},
      {EALREADY, Code::kUnavailable, "EALREADY"},
      {EINPROGRESS, Code::kUnavailable, "EINPROGRESS"},
      {EAGAIN, Code::kUnavailable, "EAGAIN"},
      {ECONNREFUSED, Code::kUnavailable, "ECONNREFUSED"},
      {ECONNRESET, Code::kUnavailable, "ECONNRESET"},
      {EHOSTUNREACH, Code::kUnavailable, "EHOSTUNREACH"},
      {ENETUNREACH, Code::kUnavailable, "ENETUNREACH"},
      {ETIMEDOUT, Code::kDeadlineExceeded, "ETIMEDOUT"},
      {EMFILE, Code::kResourceExhausted, "EMFILE"},
      {ENOBUFS, Code::kResourceExhausted, "ENOBUFS"},
      {ENOMEM, Code::kResourceExhausted, "ENOMEM"},
      {ENOLCK, Code::kResourceExhausted, "ENOLCK"},
      // This system cannot.
      {ENOSYS, Code::kUnimplemented, "ENOSYS"},
      {ENOPROTOOPT, Code::kUnimplemented, "ENOPROTOOPT"},
      {EAFNOSUPPORT, Code::kUnimplemented, "EAFNOSUPPORT"},
      {EOPNOTSUPP, Code::kUnimplemented, "EOPNOTSUPP"},
      {EIO, Code::kDataLoss, "EIO"},
      {ECANCELED, Code::kCancelled, "ECANCELED"},
      {EDEADLK, Code::kAborted, "EDEADLK"},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(ErrnoToStatusCode(c.error), c.code) << c.name;
    EXPECT_EQ(ErrnoName(c.error), c.name);
    const absl::Status status = ErrnoToStatus(c.error, "call fd 7");
    EXPECT_EQ(status.code(), c.code) << c.name;
    EXPECT_TRUE(status.message().starts_with("call fd 7: ")) << status;
    EXPECT_TRUE(status.message().ends_with(absl::StrCat(" (", c.name, ")")))
        << status;
  }
}

TEST(Status, OfErrnoIsWordedAsTheSystemWordsIt) {
  EXPECT_EQ(ErrnoToStatus(EACCES, "bind 127.0.0.1:80").message(),
            "bind 127.0.0.1:80: Permission denied (EACCES)");
}

TEST(Status, OfNoErrno) {
  EXPECT_TRUE(ErrnoToStatus(0, "call").ok());
  EXPECT_EQ(ErrnoToStatusCode(0), Code::kOk);
  EXPECT_EQ(ErrnoToStatusCode(4711), Code::kUnknown);
  EXPECT_EQ(ErrnoName(4711), "errno 4711");
  EXPECT_EQ(ErrnoToStatus(-1, "call").code(), Code::kUnknown);
}

// Every errno has a name and a code: one that the table lacks is found here.
TEST(Status, OfErrnoWhereAbseilKnowsMore) {
  for (int error = 1; error < 200; ++error) {
    if (absl::ErrnoToStatusCode(error) == Code::kUnknown) continue;
    EXPECT_NE(ErrnoToStatusCode(error), Code::kUnknown) << "errno " << error;
  }
}

}  // namespace
}  // namespace fio
