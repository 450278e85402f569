#include "fio/sock/write_queue.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>

#include "absl/log/absl_check.h"
#include "absl/strings/cord.h"
#include "absl/types/span.h"
#include "fio/base/free_list.h"
#include "fio/base/syscalls.h"
#include "fio/sock/file_range.h"
#include "fio/sock/internal/plain_io.h"
#include "fio/sock/internal/sigpipe_blocker.h"
#include "fio/sock/internal/write_node.h"
#include "fio/sock/io_result.h"
#include "fio/sock/shared_bytes.h"

namespace fio {

using sock_internal::FileNode;
using sock_internal::PlainWrite;
using sock_internal::Retry;
using sock_internal::SigpipeBlocker;
using sock_internal::WriteBlock;
using sock_internal::WriteNode;

// --- Nodes ---

// One call's cord.
struct WriteQueue::CordNode final : WriteNode {
  explicit CordNode(absl::Cord cord)
      // NOLINTNEXTLINE(clang-analyzer-optin.cplusplus.UninitializedObject)
      : bytes(std::move(cord)), left(bytes.size()), rest(bytes.char_begin()) {}

  void* operator new(size_t) {
    static_assert(sizeof(CordNode) <= kBytes);
    return FreeList<kBytes>::Take();
  }
  void operator delete(void* node) { FreeList<kBytes>::Give(node); }

  size_t Gather(absl::Span<iovec> pieces) const override {
    absl::Cord::CharIterator it = rest;
    size_t count = 0;
    for (size_t bytes_left = left; bytes_left > 0 && count < pieces.size();) {
      const std::string_view chunk = absl::Cord::ChunkRemaining(it);
      pieces[count++] = {.iov_base = const_cast<char*>(chunk.data()),
                         .iov_len = chunk.size()};
      bytes_left -= chunk.size();
      absl::Cord::Advance(&it, chunk.size());
    }
    return count;
  }

  uint64_t size() const override { return left; }

  Forgotten Forget(uint64_t count) override {
    const size_t n = std::min<uint64_t>(count, left);
    absl::Cord::Advance(&rest, n);
    left -= n;
    return {.bytes = n, .calls = left == 0 ? size_t{1} : 0};
  }

  static constexpr size_t kBytes = 256;

  const absl::Cord bytes;
  size_t left;
  absl::Cord::CharIterator rest;
};

// One call's SharedBytes.
struct WriteQueue::SharedNode final : WriteNode {
  SharedNode(SharedBytes shared, size_t sent_before)
      : bytes(std::move(shared)), sent(sent_before) {}

  void* operator new(size_t) {
    static_assert(sizeof(SharedNode) == kBytes);
    return FreeList<kBytes>::Take();
  }
  void operator delete(void* node) { FreeList<kBytes>::Give(node); }

  size_t Gather(absl::Span<iovec> pieces) const override {
    pieces[0] = {.iov_base = const_cast<char*>(bytes.view().data()) + sent,
                 .iov_len = size()};
    return 1;
  }

  uint64_t size() const override { return bytes.size() - sent; }

  Forgotten Forget(uint64_t count) override {
    const size_t n = std::min(count, size());
    sent += n;
    return {.bytes = n, .calls = size() == 0 ? size_t{1} : 0};
  }

  static constexpr size_t kBytes = 32;

  const SharedBytes bytes;
  size_t sent;
};

// One call's part of a file.
struct sock_internal::FileNode final : WriteNode {
  explicit FileNode(FileRange range) : rest(std::move(range)) {}

  void* operator new(size_t) {
    static_assert(sizeof(FileNode) <= kBytes);
    return FreeList<kBytes>::Take();
  }
  void operator delete(void* node) { FreeList<kBytes>::Give(node); }

  FileNode* file() override { return this; }
  uint64_t size() const override { return rest.length(); }

  Forgotten Forget(uint64_t bytes) override {
    const size_t n = std::min(bytes, rest.length());
    rest.RemovePrefix(n);
    return {.bytes = n, .calls = rest.length() == 0 ? size_t{1} : 0};
  }

  static constexpr size_t kBytes = 64;

  FileRange rest;
  bool copied = false;  // sendfile(2) does not take it.
};

// --- The queue ---

namespace {

// What sendfile(2) moves at most in one call.
constexpr uint64_t kMaxSendfileBytes = 0x7ffff000;

constexpr size_t kFilePieceBytes = size_t{16} << 10;

// Another holder of the file description may have made it block, and
// sendfile(2) has no flag against that.
bool IsNonBlocking(int fd) {
  const int flags = Sys().fcntl(fd, F_GETFL, 0);
  return flags >= 0 && (flags & O_NONBLOCK) != 0;
}

// How many of the pieces hold the first `limit` bytes; the last one is cut.
size_t Trim(absl::Span<iovec> pieces, uint64_t limit) {
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (pieces[i].iov_len >= limit) {
      pieces[i].iov_len = limit;
      return i + 1;
    }
    limit -= pieces[i].iov_len;
  }
  return pieces.size();
}

}  // namespace

void WriteQueue::Append(std::string_view bytes) {
  if (bytes.empty()) return;
  bytes_ += bytes.size();
  ++calls_;
  if (open_ == nullptr) Open(bytes.size());
  for (;;) {
    const size_t left = open_->left();
    if (bytes.size() <= left) break;
    open_->Append(bytes.substr(0, left));
    bytes.remove_prefix(left);
    Open(bytes.size());
  }
  open_->Append(bytes);
  open_->EndCall();
}

void WriteQueue::Open(size_t bytes) {
  using Place = WriteBlock::Place;
  WriteBlock* block =
      head_ == nullptr ? WriteBlock::New(bytes, Place::kFirst) : nullptr;
  if (block == nullptr) block = WriteBlock::New(bytes, Place::kFurther);
  Link(block);
  open_ = block;
}

void WriteQueue::Adopt(WriteBlock* block) {
  bytes_ += block->size();
  calls_ += block->pending_calls();
  Link(block);
  open_ = block;
}

void WriteQueue::Append(absl::Cord bytes) {
  if (bytes.empty()) return;
  bytes_ += bytes.size();
  ++calls_;
  Link(new CordNode(std::move(bytes)));
}

void WriteQueue::Append(SharedBytes bytes, size_t sent) {
  ABSL_DCHECK_LE(sent, bytes.size());
  const size_t size = bytes.size() - sent;
  if (size == 0) return;
  bytes_ += size;
  ++calls_;
  Link(new SharedNode(std::move(bytes), sent));
}

void WriteQueue::Append(FileRange file) {
  if (file.length() == 0) return;
  bytes_ += file.length();
  file_bytes_ += file.length();
  ++calls_;
  Link(new FileNode(std::move(file)));
}

IoResult WriteQueue::Flush(int fd, uint64_t limit) {
  // By far the most common: a little, in one block, that leaves as a whole.
  if (open_ == head_) {
    const iovec piece = {.iov_base = open_->room + open_->begin,
                         .iov_len = open_->size()};
    const IoResult written = PlainWrite(fd, absl::MakeConstSpan(&piece, 1));
    if (written.bytes == piece.iov_len) {
      Clear();
    } else {
      Forget(written.bytes);
    }
    return written;
  }
  if (FileNode* file = head_->file()) return FlushFile(*file, fd, limit);
  return Flush(
      [fd](absl::Span<const iovec> pieces) { return PlainWrite(fd, pieces); },
      limit);
}

IoResult WriteQueue::Flush(Writer write, uint64_t limit) {
  if (FileNode* file = head_->file()) return FlushFile(*file, write);
  iovec pieces[IOV_MAX];
  const size_t count =
      Trim(absl::MakeSpan(pieces, Gather(absl::MakeSpan(pieces))), limit);
  const IoResult written = write(absl::MakeConstSpan(pieces, count));
  Forget(written.bytes);
  return written;
}

void WriteQueue::Splice(WriteQueue other) {
  if (other.empty()) return;
  if (empty()) {
    Swap(other);
    return;
  }
  tail_->next = std::exchange(other.head_, nullptr);
  tail_ = other.tail_;
  open_ = other.open_;
  calls_ += other.calls_;
  bytes_ += other.bytes_;
  file_bytes_ += other.file_bytes_;
}

size_t WriteQueue::Gather(absl::Span<iovec> pieces) const {
  size_t count = 0;
  for (const WriteNode* node = head_; node != nullptr && count < pieces.size();
       node = node->next) {
    const size_t more = node->Gather(pieces.subspan(count));
    if (more == 0) break;
    count += more;
  }
  return count;
}

IoResult WriteQueue::FlushFile(FileNode& node, int fd, uint64_t limit) {
  if (!node.copied && IsNonBlocking(fd)) {
    SigpipeBlocker blocker;
    auto offset = static_cast<off_t>(node.rest.offset());
    const size_t size =
        std::min({node.rest.length(), limit, kMaxSendfileBytes});
    const IoResult sent = Retry(
        [&] { return Sys().sendfile(fd, node.rest.fd(), &offset, size); });
    if (sent.error == EPIPE) blocker.Raised();
    node.copied = sent.error == EINVAL || sent.error == ENOSYS;
    if (!node.copied) {
      if (sent.ok() && sent.bytes == 0) return FileEnded(node);
      Forget(sent.bytes);
      return sent;
    }
  }
  return FlushFile(node, [fd](absl::Span<const iovec> pieces) {
    return PlainWrite(fd, pieces);
  });
}

IoResult WriteQueue::FlushFile(FileNode& node, Writer write) {
  char buffer[kFilePieceBytes];
  const size_t size = std::min(node.rest.length(), kFilePieceBytes);
  const IoResult read = Retry([&] {
    return Sys().pread(node.rest.fd(), buffer, size,
                       static_cast<off_t>(node.rest.offset()));
  });
  if (!read.ok()) return read;
  if (read.bytes == 0) return FileEnded(node);
  const iovec piece = {.iov_base = buffer, .iov_len = read.bytes};
  const IoResult written = write(absl::MakeConstSpan(&piece, 1));
  Forget(written.bytes);
  return written;
}

// The file has nothing where the range has bytes left.
IoResult WriteQueue::FileEnded(FileNode& node) {
  if (node.rest.if_truncated() == FileRange::IfTruncated::kFail) {
    return {.error = EIO};
  }
  Forget(node.rest.length());
  return {};
}

void WriteQueue::Forget(uint64_t bytes) {
  ABSL_CHECK_LE(bytes, bytes_) << "more was taken than was offered";
  // What has left is released at the end, when all is in order again: that may
  // run code of the user's.
  WriteQueue gone;
  bytes_ -= bytes;
  while (bytes > 0) {
    const WriteNode::Forgotten forgotten = head_->Forget(bytes);
    bytes -= forgotten.bytes;
    calls_ -= forgotten.calls;
    if (head_->file() != nullptr) file_bytes_ -= forgotten.bytes;
    if (head_->size() == 0) gone.Link(Unlink());
  }
}

void WriteQueue::Clear() {
  WriteNode* node = std::exchange(head_, nullptr);
  tail_ = nullptr;
  open_ = nullptr;
  calls_ = 0;
  bytes_ = 0;
  file_bytes_ = 0;
  while (node != nullptr) {
    WriteNode* next = node->next;
    delete node;
    node = next;
  }
}

void WriteQueue::Link(WriteNode* node) {
  if (head_ == nullptr) {
    head_ = node;
  } else {
    tail_->next = node;
  }
  tail_ = node;
  open_ = nullptr;
}

WriteNode* WriteQueue::Unlink() {
  WriteNode* node = head_;
  head_ = std::exchange(node->next, nullptr);
  if (head_ == nullptr) {
    tail_ = nullptr;
    open_ = nullptr;
  }
  return node;
}

void WriteQueue::Swap(WriteQueue& other) noexcept {
  std::swap(head_, other.head_);
  std::swap(tail_, other.tail_);
  std::swap(open_, other.open_);
  std::swap(calls_, other.calls_);
  std::swap(bytes_, other.bytes_);
  std::swap(file_bytes_, other.file_bytes_);
}

}  // namespace fio
