// The memory of a loop into which connections read, one at a time: whose
// OnData() runs. What that does not consume lies in it until the callback ends.
// Between the callbacks it is nobody's, and poisoned.
//
// Thread safety: none.

#ifndef FIO_CORE_LOOP_INTERNAL_RECEIVE_BUFFER_H_
#define FIO_CORE_LOOP_INTERNAL_RECEIVE_BUFFER_H_

#include <algorithm>
#include <cstddef>
#include <memory>

#include "absl/types/span.h"
#include "fio/base/poison.h"

namespace fio {

class Connection;

namespace loop_internal {

class ReceiveBuffer {
 public:
  // `budget` is how much a connection may read in one OnData().
  ReceiveBuffer(size_t size, size_t budget)
      : size_(size),
        budget_(budget),
        memory_(
            std::make_unique_for_overwrite<char[]>(size + 2 * kPaddingBytes)) {
    End();
  }
  ReceiveBuffer(const ReceiveBuffer&) = delete;
  ReceiveBuffer& operator=(const ReceiveBuffer&) = delete;
  ~ReceiveBuffer() { Unpoison(memory_.get(), size_ + 2 * kPaddingBytes); }

  // From here on it is `user`'s, until End().
  void Begin(const Connection& user) {
    user_ = &user;
    left_ = budget_;
    begin_ = end_ = 0;
    dropped_ = false;
    Unpoison(memory_.get(), size_ + 2 * kPaddingBytes);
  }
  void End() {
    user_ = nullptr;
    Poison(memory_.get(), size_ + 2 * kPaddingBytes);
  }

  bool IsOf(const Connection& connection) const { return user_ == &connection; }

  // Its user is gone, and another connection may come in its place, at the same
  // address. What is unread is not for that one, and the callback that still
  // runs, the former one's, reads nothing of it.
  void Drop() {
    dropped_ = true;
    begin_ = end_ = 0;
    left_ = 0;
  }
  bool dropped() const { return dropped_; }

  // What was added and not consumed.
  absl::Span<char> unread() {
    return {memory_.get() + kPaddingBytes + begin_, end_ - begin_};
  }
  // Where more may be written, and then added. If nothing is unread, that is
  // all of the buffer.
  absl::Span<char> room() {
    if (begin_ == end_) begin_ = end_ = 0;
    return {memory_.get() + kPaddingBytes + end_, size_ - end_};
  }
  void Add(size_t bytes) { end_ += bytes; }
  void Consume(size_t bytes) { begin_ += bytes; }

  // As much of `out` as its user may still read.
  absl::Span<char> Limit(absl::Span<char> out) const {
    return out.first(std::min(out.size(), left_));
  }
  // Its user has read that much.
  void Spend(size_t bytes) { left_ -= bytes; }
  bool spent() const { return left_ != budget_; }

 private:
  // Writable memory before and after what Connection::MutableReceived() gives.
  static constexpr size_t kPaddingBytes = 32;

  const size_t size_;
  const size_t budget_;
  const std::unique_ptr<char[]> memory_;
  const Connection* user_ = nullptr;
  bool dropped_ = false;
  size_t left_ = 0;
  size_t begin_ = 0, end_ = 0;  // Of what is unread.
};

}  // namespace loop_internal
}  // namespace fio

#endif  // FIO_CORE_LOOP_INTERNAL_RECEIVE_BUFFER_H_
