// A WriteQueue holds what is to leave through one socket, in the order in which
// it was appended, until the kernel has taken it: bytes that it copied, bytes
// that it shares, and parts of files.
//
// Each Append() is one call, and all of it leaves before any of the next. What
// a call handed over (an owned buffer, a descriptor) is released exactly once:
// when its last byte has left, or when it is dropped by Clear() or with the
// queue. Releasing may run code of the user's, which may append to this very
// queue or clear it, but not destroy it.
//
// Small copies share blocks, of 1 KiB for the first and 4 KiB from there on,
// that are used again and again: in a steady state nothing is allocated. An
// empty queue holds no memory.
//
// Thread safety: none.

#ifndef FIO_SOCK_WRITE_QUEUE_H_
#define FIO_SOCK_WRITE_QUEUE_H_

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/cord.h"
#include "absl/types/span.h"
#include "fio/sock/file_range.h"
#include "fio/sock/io_result.h"
#include "fio/sock/watermarks.h"

namespace fio {

class WriteQueue {
 public:
  // Takes a part of `pieces`, from the front, or none; as writev(2).
  using Writer = absl::FunctionRef<IoResult(absl::Span<const iovec> pieces)>;

  WriteQueue() = default;
  WriteQueue(WriteQueue&& other) noexcept { Swap(other); }
  WriteQueue& operator=(WriteQueue&& other) noexcept {
    WriteQueue(std::move(other)).Swap(*this);
    return *this;
  }
  ~WriteQueue() { Clear(); }

  // Copies. No bytes are no call.
  void Append(std::string_view bytes);
  // Shares: what absl::MakeCordFromExternal() wrapped lives until it has left.
  void Append(absl::Cord bytes);
  // Truncated files: see FileRange::IfTruncated.
  void Append(FileRange file);

  bool empty() const { return head_ == nullptr; }
  // Calls of which a byte is left.
  size_t pending_calls() const { return calls_; }
  uint64_t pending_bytes() const { return bytes_; }
  PendingWrites pending() const {
    return {
        .calls = calls_, .bytes = bytes_, .memory_bytes = bytes_ - file_bytes_};
  }

  // Offers the head of the queue to the stream socket `fd` and forgets what it
  // took, by one system call: send(2), sendmsg(2) of at most IOV_MAX pieces, or
  // sendfile(2). Never raises SIGPIPE. An error of reading a file is an error
  // like another; EIO if the file was truncated. REQUIRES: not empty.
  IoResult Flush(int fd);

  // The same through `write`, which is called at most once, and not at all if
  // the head is a file that has come to its end. Files are read for it in
  // pieces of 16 KiB. `write` may append to the queue, nothing else.
  IoResult Flush(Writer write);

  // Drops everything.
  void Clear();

 private:
  struct Node;
  struct Block;
  template <size_t kBytes>
  struct SizedBlock;
  struct CordNode;
  struct FileNode;

  void Swap(WriteQueue& other) noexcept;
  void Open(size_t bytes);
  void Link(Node* node);
  Node* Unlink();
  size_t Gather(absl::Span<iovec> pieces) const;
  IoResult FlushFile(FileNode& node, int fd);
  IoResult FlushFile(FileNode& node, Writer write);
  IoResult FileEnded(FileNode& node);
  void Forget(uint64_t bytes);

  Node* head_ = nullptr;
  Node* tail_ = nullptr;
  Block* open_ = nullptr;  // The tail, if it is a block.
  size_t calls_ = 0;
  uint64_t bytes_ = 0;
  uint64_t file_bytes_ = 0;  // Of these, those in files.
};

}  // namespace fio

#endif  // FIO_SOCK_WRITE_QUEUE_H_
