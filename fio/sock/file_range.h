// A FileRange is a part of a file that is to be sent: a descriptor, owned or
// borrowed, and which bytes of it. The file is read by offset, as by pread(2):
// the descriptor's own position is neither used nor changed, and one descriptor
// may serve many peers at once.
//
// Thread safety: none; as a UniqueFd.

#ifndef FIO_SOCK_FILE_RANGE_H_
#define FIO_SOCK_FILE_RANGE_H_

#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"
#include "fio/base/unique_fd.h"

namespace fio {

class FileRange {
 public:
  // As a length: all bytes from the offset on.
  static constexpr uint64_t kToEnd = 0;

  // What to do when the file has become shorter than the range by the time it
  // is sent.
  enum class IfTruncated : uint8_t {
    // The connection fails with EIO, and nothing that was written after the
    // file is sent. The peer may have been told a length, so it must not take
    // other bytes for the missing ones.
    kFail,
    // Sends the bytes that are there, and then what was written after the file.
    kSendWhatIsThere,
  };

  // Takes `fd`, a regular file that is open for reading. Closes it when the
  // range is gone: sent, dropped, or refused here. `length` is a maximum: the
  // range ends where the file ends now.
  //
  // Errors, all with the number of the descriptor in the message:
  // kInvalidArgument if it is no regular file, or not open for reading
  // (O_WRONLY, O_PATH); kOutOfRange if the file has no byte at `offset`;
  // otherwise the errno of fstat(2) or fcntl(2).
  static absl::StatusOr<FileRange> Own(UniqueFd fd, uint64_t offset = 0,
                                       uint64_t length = kToEnd);
  // The same, but `fd` stays the caller's, who keeps it open until the range is
  // gone.
  static absl::StatusOr<FileRange> Borrow(int fd, uint64_t offset = 0,
                                          uint64_t length = kToEnd);

  int fd() const { return fd_; }
  uint64_t offset() const { return offset_; }
  uint64_t length() const { return length_; }

  // kFail unless set.
  IfTruncated if_truncated() const { return if_truncated_; }
  void set_if_truncated(IfTruncated what) { if_truncated_ = what; }

  // Shortens the range from its front. REQUIRES: `bytes` <= length().
  void RemovePrefix(uint64_t bytes) {
    offset_ += bytes;
    length_ -= bytes;
  }

 private:
  FileRange(int fd, uint64_t offset, uint64_t length)
      : fd_(fd), offset_(offset), length_(length) {}

  int fd_;
  UniqueFd owned_;
  IfTruncated if_truncated_ = IfTruncated::kFail;
  uint64_t offset_;
  uint64_t length_;
};

}  // namespace fio

#endif  // FIO_SOCK_FILE_RANGE_H_
