// A Connection is one stream socket on a loop: bytes in, bytes out, an idle
// timeout, and the Protocol that is told about them. The loop makes it, owns it
// and destroys it; its address never changes. Keep its id(), not its address,
// beyond a callback.
//
// It is one cache line, and has no buffers while it is idle.
//
// Thread safety: none. All of it belongs to the thread of its loop; other
// threads go through Loop::Post().

#ifndef FIO_CORE_LOOP_CONNECTION_H_
#define FIO_CORE_LOOP_CONNECTION_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "absl/strings/cord.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/poller/event.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/sock/file_range.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"

namespace fio {

class Loop;

class alignas(64) Connection {
 public:
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  ConnectionId id() const { return {socket_.fd(), generation_}; }
  Loop& loop() { return *loop_; }

  // False from Close() or Abort() on, or once the connection has failed.
  bool is_open() const {
    return !Has(kDead) && error_ == 0 && !socket_.is_closing();
  }

  // Gives the connection its protocol. A connection without one reads nothing,
  // and is closed after ten seconds. On a connection that is not open,
  // `protocol` is destroyed and told nothing. REQUIRES: it has none yet.
  void Attach(std::unique_ptr<Protocol> protocol);

  // Takes what has arrived, as far as it fits the loop's receive buffer; empty
  // if nothing is there. The view is valid until the callback returns, or until
  // the next Received(). REQUIRES: called from OnData() of this connection.
  std::string_view Received();

  // Copies what has arrived into `out`, and returns how much; 0 if nothing is
  // there.
  size_t Read(absl::Span<char> out);

  // Queues bytes behind those written before: all of them or, if the
  // connection is not open, none. They leave at the end of the turn, in one
  // system call if the kernel has room, else when it has. Neither blocks nor
  // fails for want of room; above the high mark of LoopOptions::watermarks the
  // connection stops reading until half of that has left, and past their limit
  // it is aborted. Returns is_open(). Cords are shared and, as files, released
  // when they have left or are dropped.
  bool Write(std::string_view bytes);
  bool Write(absl::Cord bytes);
  bool Write(FileRange file);

  // What was written and has not left.
  uint64_t pending_bytes() const { return socket_.pending_bytes(); }

  // How long nothing may be read or written before OnTimeout(): rounded up to
  // 1 ms, at once counting from now. Zero, infinite and anything above 49 days
  // mean never, as for a new connection.
  void SetTimeout(absl::Duration timeout);
  absl::Duration timeout() const { return absl::Milliseconds(timeout_ms_); }

  // Counts as activity: the timeout starts anew.
  void Touch();

  // Takes no more writes, reads no more, and closes once everything written
  // has left; if that takes longer than the loop's close_timeout, as Abort().
  // Again, or after Abort(), it does nothing.
  void Close();

  // Drops what is queued and closes at the end of the turn; the peer sees a
  // reset.
  void Abort();

  // By value; no address if the connection is gone. Costs a system call.
  SocketAddress local_address() const { return socket_.local_address(); }
  SocketAddress peer_address() const { return socket_.peer_address(); }

 private:
  friend class ConnectionTable;
  friend class Loop;

  enum Flag : uint16_t {
    kInUse = 1 << 0,          // The table's entry is a connection.
    kReadable = 1 << 1,       // The kernel may have bytes, the end or an error.
    kWritable = 1 << 2,       // The kernel may have room.
    kHungUp = 1 << 3,         // An end or an error follows the bytes.
    kEnd = 1 << 4,            // The end was read, and OnEnd() called.
    kReadPaused = 1 << 5,     // Too much is queued to read on.
    kReadyDue = 1 << 6,       // OnReady() is due once nothing is queued.
    kDead = 1 << 7,           // To be buried at the end of the turn.
    kMustAttach = 1 << 8,     // The timeout is for Attach().
    kInDeliverList = 1 << 9,  // Of the loop.
    kInFlushList = 1 << 10,   // Of the loop.
    kStays = 1 << 11,         // Until no other stays: OnShutdown() said so.
    kShutdownTold = 1 << 12,
  };

  Connection() = default;

  bool Has(unsigned flags) const { return flags_ & flags; }
  void Set(unsigned flags) { flags_ |= static_cast<uint16_t>(flags); }
  void Clear(unsigned flags) { flags_ &= static_cast<uint16_t>(~flags); }

  // What the loop calls, in the order of its turn.
  void Open(Loop& loop, Socket socket, uint32_t generation);
  void RequireAttach();
  void OnReadiness(Readiness readiness);
  void Deliver();
  void Flush();
  void FlushNow();
  void Bury();
  void Shutdown();

  void ClearReadable();
  bool BytesBeforeEnd();
  size_t Account(const IoResult& read, size_t asked);
  void TellEnd();
  void FlushSoon();
  void WriteFailed(int error);
  template <typename Bytes>
  bool Queue(Bytes bytes, bool any);
  bool TooMuchPending() const;
  void ArmTimer(MonotonicTime deadline);
  void OnTimer();
  void Fail(int error);
  CloseReason reason() const;

  Loop* loop_ = nullptr;
  std::unique_ptr<Protocol> protocol_;
  Socket socket_;
  MonotonicTime last_active_;
  TimerId timer_ = TimerId::kNone;
  uint32_t timeout_ms_ = 0;
  uint32_t generation_ = 0;
  uint16_t flags_ = 0;
  uint16_t error_ = 0;  // The errno that ended it.
};

static_assert(sizeof(Connection) == 64, "one cache line per connection");

}  // namespace fio

#endif  // FIO_CORE_LOOP_CONNECTION_H_
