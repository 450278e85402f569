// A FileRange is a part of a file that is to be sent: a descriptor, owned or
// borrowed, and which bytes of it. It is read by position, so the descriptor's
// own position neither matters nor moves, and one descriptor may serve many
// peers at once.
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
  // As a length: all there is from the offset on.
  static constexpr uint64_t kToEnd = 0;

  // Takes `fd`, a regular file, and closes it when the range is gone: sent,
  // dropped, or refused here. `length` is a maximum: what the file does not
  // have now is not part of the range, and what it has lost by the time it is
  // sent is left out.
  //
  // Errors: kOutOfRange if there is nothing at `offset`; kInvalidArgument if it
  // is no regular file; those of fstat(2).
  static absl::StatusOr<FileRange> Own(UniqueFd fd, uint64_t offset = 0,
                                       uint64_t length = kToEnd);
  // The same, but `fd` stays the caller's, who keeps it open until then.
  static absl::StatusOr<FileRange> Borrow(int fd, uint64_t offset = 0,
                                          uint64_t length = kToEnd);

  int fd() const { return fd_; }
  uint64_t offset() const { return offset_; }
  uint64_t length() const { return length_; }

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
  uint64_t offset_;
  uint64_t length_;
};

}  // namespace fio

#endif  // FIO_SOCK_FILE_RANGE_H_
