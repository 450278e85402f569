// A Connection is one stream socket on a loop: bytes in, bytes out, an idle
// timeout, and the Protocol that is told about them. The loop makes it, owns it
// and destroys it; its address never changes. Keep its id(), not its address,
// beyond a callback.
//
// It is one cache line, and has no buffers while it is idle.
//
// Thread safety: none. All of it belongs to the thread of its loop; other
// threads go through a LoopHandle.

#ifndef FIO_CORE_LOOP_CONNECTION_H_
#define FIO_CORE_LOOP_CONNECTION_H_

#include <sys/uio.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/move_only_function.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/idle_wheel.h"
#include "fio/core/loop/internal/callback_lock.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/poller/event.h"
#include "fio/sock/environment.h"
#include "fio/sock/file_range.h"
#include "fio/sock/io_result.h"
#include "fio/sock/proxy_header.h"
#include "fio/sock/shared_bytes.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/transport.h"
#include "fio/sock/watermarks.h"

namespace fio {

class ConnectionEnd;
class ConnectionGroup;
class Connections;
class ExternalLock;
class Loop;

namespace loop_internal {
struct ConnectionExtra;
class OverloadGuard;
class ReceiveBuffer;
}  // namespace loop_internal

class alignas(64) Connection {
 public:
  // What Force() makes happen.
  enum class Callback : uint8_t { kData, kReady, kTimeout };

  // Called with OK when a handshake is done, or with why it has failed.
  using HandshakeDone =
      MoveOnlyFunction<void(Connection&, const absl::Status&)>;

  using OnGone = MoveOnlyFunction<void(const CloseReason&)>;

  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  ConnectionId id() const {
    return serial() == 0 ? ConnectionId()
                         : ConnectionId(socket_.fd(), serial());
  }
  Loop& loop();

  // False from Close(), Abort() or Release() on, or once it has failed.
  bool is_open() const {
    return !Has(kDead) && error() == 0 && !socket_.is_closing();
  }

  // Whether Write() takes bytes: the connection is open, and ShutdownWrite()
  // was not called.
  bool can_write() const {
    return !Has(kDead) && error() == 0 && socket_.is_open();
  }

  // --- Protocol ---

  // Null if it has none.
  Protocol* protocol() { return protocol_.load(std::memory_order_relaxed); }

  // Gives the connection its protocol, and calls OnOpen(). The one that it had
  // is told OnClose() at the end of the turn, and destroyed; what is unread,
  // and the end if it has come, are for the new one. Counts as activity. A
  // connection that has had no protocol reads nothing, and is closed after
  // LoopOptions::attach_timeout. On a connection that is not open `protocol` is
  // told OnClose() (EBADF), at the end of the turn, and nothing else: false.
  // Null is Detach().
  bool Attach(std::unique_ptr<Protocol> protocol);

  // Takes the protocol off, likewise: nothing is told from here on, and no
  // timeout ends the connection. It may be read and written, and is closed when
  // the loop stops.
  void Detach();

  // At the end of the turn, when the protocol has been told OnClose(), gives
  // the socket to `take`, with what is queued, transport and environment. On a
  // connection that is not open `take` is dropped: false.
  bool Release(MoveOnlyFunction<void(Socket)> take);

  // No OnData(), whatever arrives, until Resume(), Force(kData) or Attach().
  // The end or a reset is told if nothing is unread before it.
  void Suspend();
  void Resume();

  // Has the callback run once more, in this turn or the next, whether there is
  // cause or not: kData (as of Resume()), kReady, when nothing is queued, or
  // kTimeout. On a connection that is not open it does nothing.
  void Force(Callback callback);

  // --- Reading ---

  // All bytes that have arrived and were not consumed, as far as they fit the
  // loop's receive buffer. Empty if there are none, or if OnData() has had
  // LoopOptions::read_budget_bytes. It reads more only when all that it has
  // shown in this OnData() was consumed. The view is valid until the callback
  // returns, or until the next call that reads.
  //
  // What OnData() does not consume stays with the connection, in front of what
  // arrives next, or of what the next protocol reads after Attach(). At
  // LoopOptions::unread_limit_bytes nothing more is read, and the kernel holds
  // the peer, until some of it is consumed. OnData() comes again when more has
  // arrived, and after Resume(), Force(kData) and Attach(). So whoever waits
  // for the rest of a message that is longer than the limit waits for ever: a
  // parser bounds its messages below it.
  //
  //   while (const size_t used = Parse(connection.Unread())) {
  //     connection.Consume(used);
  //   }
  //   // What is left is the beginning of a message.
  //   if (connection.Unread().size() > kLongest) connection.Close();
  //
  // REQUIRES: called from OnData() of this connection; `bytes` is not more than
  // Unread() has shown.
  std::string_view Unread();
  void Consume(size_t bytes);

  // Unread(), and consumes all of it.
  std::string_view Received();
  // The same, to be changed in place: those bytes, and 32 before and after.
  absl::Span<char> MutableReceived();

  // Copies what has arrived into `out`, and returns how much; 0 if nothing is
  // there, or as Received(). May be called at any time.
  size_t Read(absl::Span<char> out);

  // --- Writing ---

  // Queues bytes behind those written before: all of them, or none if
  // can_write() is false. They leave at the end of the turn, in one
  // system call if the kernel has room, else when it has. Neither blocks nor
  // fails for want of room; above the high watermark the connection, or the one
  // that it is linked with, stops reading until half of that has left, and past
  // the limit it is aborted. Returns whether the bytes were queued. What is not
  // copied, but shared (a cord, a SharedBytes) or sent from a file, is released
  // when it has left or is dropped.
  bool Write(std::string_view bytes);
  bool Write(absl::Cord bytes);
  bool Write(FileRange file);
  // As Socket::Write(): without the first `sent` bytes.
  bool Write(SharedBytes bytes, size_t sent = 0);

  // As Socket::TryWrite(): offers bytes to the kernel now, past the queue. What
  // the kernel holds back because of More::kYes leaves at the end of the turn
  // at the latest.
  IoResult TryWrite(std::string_view bytes,
                    Socket::More more = Socket::More::kNo);
  IoResult TryWrite(absl::Span<const iovec> pieces,
                    Socket::More more = Socket::More::kNo);

  // Offers what is queued to the kernel now instead of at the end of the turn,
  // up to LoopOptions::write_budget_bytes, and has it send what it holds back
  // because of More::kYes. True if nothing is left in the queue.
  bool Flush();

  // What was written and has not left: bytes, those of the transport included,
  // and calls of Write() of which a byte is in the queue.
  uint64_t pending_bytes() const;
  size_t pending_calls() const;

  // Instead of LoopOptions::watermarks.
  void SetWatermarks(const Watermarks& watermarks);

  // Instead of LoopOptions::unread_limit_bytes. 0: nothing more is read while
  // anything is unread. The second returns which of the two holds.
  void SetUnreadLimit(size_t bytes);
  size_t unread_limit_bytes() const;

  // Makes a pair, as a proxy has: from now on when one has more queued than its
  // high mark, it is the other that stops reading. Ends when one of them
  // closes, or is linked anew. REQUIRES: another connection of this loop; both
  // are open.
  void LinkWith(Connection& other);

  // --- Idle timeout ---

  // How long nothing may be read or written before OnTimeout(): rounded up to
  // 1 ms, at once counting from now. Zero, infinite and anything above 49 days
  // mean never, as for a new connection. A peer that acknowledges what was
  // sent to it is not idle, though nothing is read or written meanwhile: the
  // kernel is asked (Socket::unacknowledged_bytes()) after half of the timeout
  // and at its end, and if the amount has fallen, the timeout starts anew.
  //
  // Activity is every byte read and every byte written, by this end too: where
  // much is sent to a silent peer, as in a chat room, it never times out. To
  // bound the time since the peer has last sent something, call SetDeadline()
  // whenever something was received.
  //
  // Over a transport bytes count that it moves below itself: a part of a record
  // that is not whole yet, and what it took before and sends now. What it reads
  // for itself alone, such as a ticket or an update of keys of TLS, does not.
  void SetTimeout(absl::Duration timeout);
  absl::Duration timeout() const { return absl::Milliseconds(timeout_ms_); }

  // Counts as activity: the timeout starts anew.
  void Touch();

  // When a byte was last read or written, or Touch() or Attach() called; at
  // first, when it was opened.
  MonotonicTime last_active() const { return last_active_; }

  // --- Deadline ---

  // `span` after this call Protocol::OnDeadline() is called, once, whatever is
  // read or written until then. It is the bound for a peer that sends a byte
  // now and then, which the idle timeout is not: set it when a request begins,
  // and clear it when the request is complete.
  //
  // A new call replaces the deadline of an earlier one; InfiniteDuration()
  // clears it. Zero or less is due now: in the next turn, never in this call.
  // It is not called early, and is late by at most 1 ms and the length of a
  // turn. It is the connection's, not the protocol's: Attach() keeps it, and
  // OnDeadline() is called on the protocol that the connection has then. If it
  // has none, it is aborted. Close(), Abort() and Release() clear it.
  // A connection that is not open ignores the call.
  void SetDeadline(absl::Duration span);
  // InfiniteFuture() if there is none.
  MonotonicTime deadline() const;

  // --- Ending ---

  // Takes no more writes, reads no more, and closes once everything written
  // has left; if that takes longer than the loop's close_timeout, as Abort().
  // OnClose() is given `code`, which means what the caller likes. Again, or
  // after Abort(), it does nothing.
  void Close(uint16_t code = 0);

  // From now on Close() also waits for the peer to close, once all has left,
  // and drops what it sends meanwhile: for LoopOptions::close_linger, and again
  // as long as the peer takes our bytes. Call it before answering a peer that
  // has not sent all of its request: what it sends to a closed connection would
  // be answered with a reset, which can destroy the answer on its way. Close()
  // does so by itself if something is unread.
  void LingerAtClose();

  // As Close(), but at the end of this turn, whatever is left: offers what is
  // queued to the kernel once, and drops the rest. The peer sees a normal end;
  // a reset only if the kernel has bytes of it that were not read.
  void CloseNow(uint16_t code = 0);

  // Drops what is queued and closes at the end of the turn; the peer sees a
  // reset.
  void Abort();

  // Ends our stream when what is queued has left; reading goes on. From
  // here on can_write() is false, while is_open() stays true: Write() queues
  // nothing and returns false, TryWrite() gives EPIPE.
  void ShutdownWrite();
  // Drops what the peer sends from now on.
  void ShutdownRead();

  // Calls `gone` when the connection has ended, whatever protocol it has by
  // then: once, with the reason, after OnClose() and in the same turn. Each
  // that was given is called, in order. On a connection that is not open it is
  // dropped: false.
  bool NotifyGone(OnGone gone);

  // Tells `end` when the connection has ended, before OnClose(); any number, in
  // the order of adding. If it was added to another connection, it is removed
  // there. On a connection that is not open it is not told: false.
  bool AddEnd(ConnectionEnd& end);

  // It does not keep Loop::RunWhileBusy() from ending.
  void Unref();

  // --- What it is made of ---

  // By value; no address if the connection is gone. If a trusted proxy has told
  // whom it speaks for (proxy_header()), these are that client's address and
  // the one that it connected to. Otherwise as the next two.
  SocketAddress local_address() const;
  SocketAddress peer_address() const;
  // Those of the socket itself. Each costs a system call.
  SocketAddress raw_local_address() const { return socket_.local_address(); }
  SocketAddress raw_peer_address() const { return socket_.peer_address(); }

  // What a trusted proxy has told of this connection; null if none has. Valid
  // as long as the connection. Set by the Listener, before on_open.
  const ProxyHeader* proxy_header() const;
  void SetProxyHeader(const ProxyHeader& header);

  // As those of Socket. An environment ends before OnClose().
  absl::Status SetTransport(std::unique_ptr<Transport> transport);
  std::unique_ptr<Transport> ReplaceTransport(
      std::unique_ptr<Transport> transport);
  absl::Status SetEnv(Environment::Key key, void* object,
                      Environment::OnClose on_close);
  void* GetEnv(Environment::Key key) const { return socket_.GetEnv(key); }
  absl::Status UnsetEnv(Environment::Key key) { return socket_.UnsetEnv(key); }
  absl::Status RemoveEnv(Environment::Key key) {
    return socket_.RemoveEnv(key);
  }

  // Sets the transport, as SetTransport(), and has it do its handshake before
  // any byte of the application passes: until `done` is called nothing is read
  // for a protocol, what is written waits, and no idle timeout, deadline or
  // attach_timeout counts. Suspend() and paused reading do not hold it up.
  // Handshakes have a share of each turn of their own, the oldest connections
  // first, so that a storm of them does not hold up who is served already.
  //
  // `done` is called once, on the loop's thread, never inside of this call:
  // with OK; with Transport::status(); with kDeadlineExceeded after `timeout`;
  // with kUnavailable if the peer ends its stream or the connection fails, also
  // while the handshake is suspended, unless bytes of the peer come before
  // that; with kCancelled if the connection is closed meanwhile. With an error
  // the connection is closing already: what the transport has to say (an alert)
  // is sent first, and reaches the peer; what was written is dropped. A
  // connection that is not open ignores the call: false.
  //
  // The CloseReason has that error as its detail. Its origin is kPeer if the
  // peer has ended its stream, kLocal if the connection was closed here, else
  // kError: EPROTO, or the errno with which the connection has failed.
  //
  // If the transport is replaced meanwhile, the new one goes on; if it is taken
  // off, this fails (kFailedPrecondition), unless it takes itself off in a
  // Shake() that returns kDone.
  bool StartHandshake(std::unique_ptr<Transport> transport,
                      absl::Duration timeout, HandshakeDone done);
  // For a handshake that has returned Transport::Handshake::kSuspended. From
  // another thread: LoopHandle::ResumeHandshake().
  void ResumeHandshake();
  bool is_handshaking() const;

  // Null if it has none.
  Transport* transport() const { return socket_.transport(); }

  // Null if it is in none; see ConnectionGroup.
  ConnectionGroup* group() const;

 private:
  // The parts of Connections, which owns it.
  friend class Connections;
  friend class ConnectionTable;
  friend class ExternalLock;
  friend class loop_internal::OverloadGuard;
  friend class ConnectionGroup;  // It keeps its group.
  friend class ProtocolLock;     // It locks what other threads may lock.

  using Kind = loop_internal::CallbackLock::Kind;

  enum Flag : uint16_t {
    kReadable = 1 << 0,       // Bytes, the end or an error may have come.
    kWritable = 1 << 1,       // There may be room.
    kHungUp = 1 << 2,         // An end or an error follows the bytes.
    kEndRead = 1 << 3,        // No bytes are before it.
    kEndTold = 1 << 4,        // By OnEnd().
    kReadPaused = 1 << 5,     // Too much is queued to read on.
    kSuspended = 1 << 6,      // By Suspend().
    kDataForced = 1 << 7,     // OnData() is due.
    kReadyDue = 1 << 8,       // OnReady() is due once nothing is queued.
    kInDeliverList = 1 << 9,  // Of Connections.
    kInFlushList = 1 << 10,   // Of Connections.
    kDead = 1 << 11,          // To be buried at the end of the turn.
    kRetired = 1 << 12,       // Being buried.
    // Bytes have left since the kernel was last seen without any.
    kUnacknowledged = 1 << 13,
  };

  // What few connections have, kept with the socket.
  using Extra = loop_internal::ConnectionExtra;

  Connection() = default;

  bool Has(unsigned flags) const { return (flags_ & flags) != 0; }
  void Set(unsigned flags) { flags_ = static_cast<uint16_t>(flags_ | flags); }
  void Clear(unsigned flags) {
    flags_ = static_cast<uint16_t>(flags_ & ~flags);
  }
  // Not closing, though it may have failed with bytes left to read.
  bool IsServed() const { return !Has(kDead) && !socket_.is_closing(); }
  // Its transport has failed, and tells the peer.
  bool IsSayingLastWords() const {
    return error() != 0 && socket_.is_closing() && !socket_.is_over();
  }
  uint64_t serial() const {
    return serial_and_error_.load(std::memory_order_relaxed) >> 16;
  }
  // The errno that ended it; 0 if there is none.
  int error() const {
    return static_cast<uint16_t>(
        serial_and_error_.load(std::memory_order_relaxed));
  }
  void SetError(int error) { SetSerialAndError(serial(), error); }
  void SetSerialAndError(uint64_t serial, int error) {
    serial_and_error_.store(serial << 16 | static_cast<uint16_t>(error),
                            std::memory_order_release);
  }

  // What Connections calls, in the order of a turn.
  void Open(Connections& connections, Socket socket, uint64_t serial);
  void RequireAttach();
  void OnReadiness(Readiness readiness);
  MonotonicTime CheckIdle();
  void Deliver();
  void FlushTurn();
  void Shutdown();
  bool TellShutdown(absl::Duration& stay);
  void TellWhatIsDue();
  std::unique_ptr<Extra> Bury(const CloseReason& why);
  void TellEnds(Extra* extra, const CloseReason& reason);

  template <typename Call>
  bool Tell(Kind kind, Call call);
  std::unique_ptr<Protocol> ExchangeProtocol(
      std::unique_ptr<Protocol> protocol);
  Extra& extra();
  Extra* FindExtra() const;  // Null if it has none.
  bool IsHandshaking() const;
  bool HasMarks() const;
  bool HasWaitingTasks() const;
  bool IsDeadlineDue() const;
  bool IsCloseArmed() const;
  bool IsLingering() const;
  bool IsTimeoutDue() const;
  bool MustAttach() const;
  MonotonicTime AnyDeadline() const;
  void TransportChanged();

  void TellData();
  void ClearReadable();
  void PeekHungUp();
  IoResult ReadAhead();
  void ReadWhatWasTold();
  void TellEnd();
  size_t Account(const IoResult& read);
  void AccountNone(const IoResult& read);
  void EndReading(int error);
  void NoteError(int error);
  void AfterTransport();
  bool Shake();
  void AwaitMore();
  void PeekSuspended();
  void PeerHasGone(int error);
  void EndHandshake();
  void FailHandshake(const absl::Status& status, int error = 0);
  void AbortFor(int error);
  uint64_t memory_bytes() const;
  void CountMemory();
  absl::Span<char> Fill(const char* call);
  void TakeKept(loop_internal::ReceiveBuffer& buffer);
  size_t ReadNew(absl::Span<char> out);
  void KeepUnread();
  void DeliverUnread();
  bool IsFull() const;

  template <typename... Bytes>
  bool Queue(bool any, Bytes&&... bytes);
  void AwaitRoom();
  void CountWritten(size_t bytes);
  void AwaitAcknowledgment();
  const Watermarks& watermarks() const;
  Watermarks::Level LevelAfter(Watermarks::Level before) const;
  Connection* partner() const;
  bool MustPause() const;
  void ReadOn();
  void TellWatermarks();
  void FlushSoon();
  void WriteFailed(int error);
  bool AccountFlush(const IoResult& flushed);
  bool AfterFlush();
  void TellReady();

  void Active();
  void DeliverFirst();
  MonotonicTime CheckClosing();
  MonotonicTime CheckServed();
  absl::Duration Patience() const;
  MonotonicTime PatienceEnd() const;
  bool IsIdle();
  bool KnowsUnacknowledged() const;
  void SetIdleSince(MonotonicTime time);
  void TellTimeout();
  void TellDeadline();
  void ArmIdle();
  MonotonicTime IdleDeadline() const;
  bool WantsToLinger() const;
  absl::Duration LingerSpan() const;
  bool HasBeenAcknowledged();
  void LimitClosing();
  void CloseWhenDrained();
  void Fail(int error);
  CloseReason reason() const;

  Connections* connections_ = nullptr;
  std::atomic<Protocol*> protocol_{nullptr};  // Owned; others may look.
  Socket socket_;
  MonotonicTime last_active_;  // Or when Close() was called.
  IdleWheel::Link idle_;
  // 48 bits and 16; other threads look at the serial number, 0 for none.
  std::atomic<uint64_t> serial_and_error_{0};
  uint32_t timeout_ms_ = 0;
  uint16_t flags_ = kDead;  // Until it is opened.
  loop_internal::CallbackLock lock_;
};

static_assert(sizeof(Connection) == 64, "one cache line per connection");

}  // namespace fio

#endif  // FIO_CORE_LOOP_CONNECTION_H_
