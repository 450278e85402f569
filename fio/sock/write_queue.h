// A WriteQueue holds what is to be sent on one socket until the kernel has
// taken it, in the order of the Append() calls: copied bytes, cords, shared
// bytes, and parts of files.
//
// Each Append() counts as one call. What it passed to the queue (a cord, a
// SharedBytes, a descriptor) is released exactly once: when its last byte has
// been sent, by Clear(), or by the queue's destructor. Releasing may run the
// user's code. That code may append to this queue or clear it, but must not
// destroy it.
//
// Small copies share blocks: 256 bytes or 1 KiB for the first, 4 KiB for the
// next ones.
// Blocks are reused, so in a steady state nothing is allocated. An empty queue
// holds no memory.
//
// Thread safety: none.

#ifndef FIO_SOCK_WRITE_QUEUE_H_
#define FIO_SOCK_WRITE_QUEUE_H_

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/cord.h"
#include "absl/types/span.h"
#include "fio/sock/file_range.h"
#include "fio/sock/io_result.h"
#include "fio/sock/shared_bytes.h"
#include "fio/sock/watermarks.h"

namespace fio {

namespace sock_internal {
struct FileNode;
struct WriteBlock;
struct WriteNode;
}  // namespace sock_internal

class WriteQueue {
 public:
  // Writes some bytes from the front of `pieces`, or none, like writev(2).
  using Writer = absl::FunctionRef<IoResult(absl::Span<const iovec> pieces)>;

  static constexpr uint64_t kNoLimit = std::numeric_limits<uint64_t>::max();

  WriteQueue() = default;
  WriteQueue(WriteQueue&& other) noexcept { Swap(other); }
  WriteQueue& operator=(WriteQueue&& other) noexcept {
    WriteQueue(std::move(other)).Swap(*this);
    return *this;
  }
  ~WriteQueue() { Clear(); }

  // Copies. Empty bytes do not count as a call.
  void Append(std::string_view bytes);
  // Shares: memory of absl::MakeCordFromExternal() must live until it is
  // released.
  void Append(absl::Cord bytes);
  // Shares, without the first `sent` bytes. Takes 32 bytes of memory. REQUIRES:
  // `sent` <= bytes.size().
  void Append(SharedBytes bytes, size_t sent = 0);
  // Truncated files: see FileRange::IfTruncated.
  void Append(FileRange file);
  // Takes bytes that were copied before. REQUIRES: empty; `block` is not.
  void Adopt(sock_internal::WriteBlock* block);

  bool empty() const { return head_ == nullptr; }
  // Calls with a byte that is still queued.
  size_t pending_calls() const { return calls_; }
  uint64_t pending_bytes() const { return bytes_; }
  PendingWrites pending() const {
    return {
        .calls = calls_, .bytes = bytes_, .memory_bytes = bytes_ - file_bytes_};
  }

  // Sends from the head of the queue to the stream socket `fd` and removes what
  // the kernel took, by one system call: send(2), sendmsg(2) of at most IOV_MAX
  // pieces, or, after fcntl(2), sendfile(2). Never raises SIGPIPE, and does not
  // block, whether `fd` has O_NONBLOCK or not. Errors of reading a file are
  // returned, too; EIO if the file was truncated. Sends `limit` bytes at most,
  // or a block of copies more. REQUIRES: not empty, and `limit` is not 0.
  IoResult Flush(int fd, uint64_t limit = kNoLimit);

  // The same through `write`, which is called at most once, and not at all if
  // the head is a file with no bytes left. Files are read in pieces of 16 KiB.
  // `write` may append to the queue, but do nothing else with it.
  IoResult Flush(Writer write, uint64_t limit = kNoLimit);

  // Drops everything.
  void Clear();

  // --- For who sends what is queued by other means, and learns later what has
  // left ---

  // Moves all of `other` behind what is queued.
  void Splice(WriteQueue other);

  // Writes to `pieces` where the first bytes lie, and returns how many pieces
  // that are: as many as fit before the first part of a file, so none if a file
  // is the head. The bytes stay there, whatever is added, until Forget() or
  // Clear() releases them, also if the queue is moved.
  size_t Gather(absl::Span<iovec> pieces) const;

  // Removes bytes that have left from the head. REQUIRES: they are there.
  void Forget(uint64_t bytes);

 private:
  using Node = sock_internal::WriteNode;
  using Block = sock_internal::WriteBlock;
  using FileNode = sock_internal::FileNode;
  struct CordNode;
  struct SharedNode;

  void Swap(WriteQueue& other) noexcept;
  void Open(size_t bytes);
  void Link(Node* node);
  Node* Unlink();
  IoResult FlushFile(FileNode& node, int fd, uint64_t limit);
  IoResult FlushFile(FileNode& node, Writer write);
  IoResult FileEnded(FileNode& node);

  Node* head_ = nullptr;
  Node* tail_ = nullptr;
  Block* open_ = nullptr;  // The tail, if it is a block.
  size_t calls_ = 0;
  uint64_t bytes_ = 0;
  uint64_t file_bytes_ = 0;  // Of these, those in files.
};

}  // namespace fio

#endif  // FIO_SOCK_WRITE_QUEUE_H_
