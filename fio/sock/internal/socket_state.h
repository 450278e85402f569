// What a Socket has while it is not idle; for its own files.

#ifndef FIO_SOCK_INTERNAL_SOCKET_STATE_H_
#define FIO_SOCK_INTERNAL_SOCKET_STATE_H_

#include <sys/socket.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "fio/base/free_list.h"
#include "fio/sock/environment.h"
#include "fio/sock/internal/driven_io.h"
#include "fio/sock/internal/plain_io.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_driver.h"
#include "fio/sock/transport.h"
#include "fio/sock/watermarks.h"
#include "fio/sock/write_queue.h"

namespace fio {

// What was given back by Unread().
struct Socket::UnreadBytes {
  size_t size() const { return above.size() + below.size(); }
  static size_t Take(std::string& bytes, absl::Span<char> out) {
    const size_t size = bytes.copy(out.data(), out.size());
    bytes.erase(0, size);
    return size;
  }

  std::string above;  // The transport.
  std::string below;
};

struct Socket::State {
  static constexpr size_t kBytes = 128;
  void* operator new(size_t) {
    static_assert(sizeof(State) <= kBytes);
    return FreeList<kBytes>::Take();
  }
  void operator delete(void* state) { FreeList<kBytes>::Give(state); }

  WriteQueue queue;
  std::unique_ptr<Transport> transport;
  std::unique_ptr<Environment> environment;
  std::unique_ptr<Watermarks> watermarks;
  std::unique_ptr<UnreadBytes> unread;
  std::unique_ptr<SocketData> data;
  uint64_t counted_memory = 0;  // See CountMemory().
  // The queue, of which the transport has pieces in hand, by CloseFailed().
  bool drops_queue = false;
  bool shaking = false;  // See SetShaking().
  Watermarks::Level level = Watermarks::Level::kLow;

  // What the transport's raw calls met since Shake() began.
  struct Raw {
    bool read : 1 = false;
    bool empty : 1 = false;
    bool full : 1 = false;
    bool ended : 1 = false;
    bool starved : 1 = false;
    bool moved : 1 = false;   // Since TakeRawMoved() has asked.
    uint16_t error : 10 = 0;  // With `ended`: it has failed.

    void NoteRead(const IoResult& result) {
      const bool at_end = result.bytes == 0 && (result.ok() || result.failed());
      read = read || result.bytes > 0 || at_end;
      moved = moved || result.bytes > 0;
      ended = ended || at_end;
      empty = result.would_block();
      NoteError(result);
    }
    void NoteWrite(const IoResult& result) {
      full = full || result.would_block();
      moved = moved || result.bytes > 0;
      ended = ended || result.failed();
      NoteError(result);
    }
    void NoteError(const IoResult& result) {
      starved = starved || result.out_of_memory();
      if (result.failed()) error = static_cast<uint16_t>(result.error);
    }
  } raw;

  uint16_t drops_at_most = 0;  // See HasDroppedEnough(); 0 for no bound.

  // Transports that were replaced inside their own calls; destroyed when these
  // have returned.
  std::unique_ptr<std::vector<std::unique_ptr<Transport>>> retired;

  SocketDriver* driver = nullptr;  // Null: the socket makes system calls.
  // How many bytes were reported as sent before they had left; negative if some
  // have left that were not reported.
  int64_t reported = 0;
};

inline SocketDriver* Socket::driver() const {
  const State* const state = rest_.state();
  return state == nullptr ? nullptr : state->driver;
}

// Where the socket meets what moves its bytes: the system calls, or a driver.

inline IoResult Socket::ReadBelow(absl::Span<char> out) {
  SocketDriver* const driver = this->driver();
  return driver == nullptr ? sock_internal::PlainRead(fd(), out)
                           : sock_internal::DrivenRead(*driver, out);
}

inline IoResult Socket::PeekBelow(absl::Span<char> out) {
  SocketDriver* const driver = this->driver();
  return driver == nullptr ? sock_internal::PlainRead(fd(), out, MSG_PEEK)
                           : sock_internal::DrivenPeek(*driver, out);
}

inline IoResult Socket::WriteBelow(absl::Span<const iovec> pieces, int flags) {
  SocketDriver* const driver = this->driver();
  return driver == nullptr ? sock_internal::PlainWrite(fd(), pieces, flags)
                           : WriteDriven(*driver, pieces);
}

// In the queue, not with a driver.
inline bool Socket::HasQueued() const {
  return !rest_.empty() &&
         (rest_.has_bytes() || rest_.state()->queue.pending_calls() > 0);
}

inline uint64_t Socket::QueuedBytes() const {
  if (rest_.empty()) return 0;
  return rest_.has_bytes() ? rest_.size()
                           : rest_.state()->queue.pending_bytes();
}

// Marks that callbacks may be running. What they end or replace is destroyed
// when they have returned.
class Socket::Busy {
 public:
  explicit Busy(Socket& socket)
      : socket_(socket), nested_(socket.Has(kBusy)), before_(socket.ending_) {
    socket.Set(kBusy);
  }
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;
  ~Busy() {
    if (nested_) return;
    socket_.Clear(kBusy);
    socket_.AfterCallbacks(before_);
  }

 private:
  Socket& socket_;
  const bool nested_;
  const Ending before_;
};

}  // namespace fio

#endif  // FIO_SOCK_INTERNAL_SOCKET_STATE_H_
