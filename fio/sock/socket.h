// A Socket owns one connected, non-blocking stream socket and a queue of what
// is to be sent. It uses no event loop: its user waits for the descriptor,
// reads when it is readable, and flushes when it is writable. A client that
// sends a line and reads the answer, with poll(2):
//
//   socket.Write("hello\n");
//   while (socket.Flush().would_block()) Wait(socket.fd(), POLLOUT);
//   char line[100];
//   fio::IoResult read = socket.Read(absl::MakeSpan(line));
//
// Write() only queues; the next Flush() sends many small writes in one system
// call. No call but FlushUntil() blocks, whatever other holders of the
// descriptor set; see "Other holders". None raises SIGPIPE or returns EINTR.
//
// How it ends. After Close() writes are refused. What is queued is sent, then
// the transport's closing message, and the socket closes; Flush() continues
// this. If bytes of the peer are unread then, close(2) would make the kernel
// send a reset, which can destroy our last bytes on their way. So the socket
// ends our stream, drops what arrives, and closes when the peer does. Abort()
// drops everything and sends a reset. An error of writing drops what is queued;
// the socket closes when what the peer sent before has been read. The end of
// the peer's stream does the same as Close(), unless AllowHalfOpen() was
// called. Closing releases what is queued, destroys the transport, closes the
// descriptor, and then ends the environment, newest object first. After that
// all calls return EBADF.
//
// Other holders. O_NONBLOCK and SO_LINGER belong to the connection, so whoever
// has a copy of the descriptor can change them. Without O_NONBLOCK reading and
// writing do not block either. (Only if it is cleared between a check and the
// sendfile(2) that follows, that call blocks.) A linger time, which would make
// close(2) block, is turned off; it is looked for where somebody may have set
// it: if nothing is known of the descriptor (ShortRead::kAsk), if this process
// has called fork(2), or if the kernel once had no room for what was written.
// Otherwise closing is one system call, and with a linger time that the caller
// has set through fd() it waits until the peer has acknowledged the end.
//
// Its size is 16 bytes. It allocates more only while something is queued, or a
// transport, watermarks or an environment are set. A SharedBytes that is queued
// alone takes no memory, or 16 bytes once a part of it has been sent; copied
// bytes that are queued alone take a block of 256 bytes, 1 KiB or 4 KiB.
//
// Callbacks (of a transport, of the environment, and those that release what
// was written) may call the socket, but must not destroy or move it.
//
// Thread safety: none.

#ifndef FIO_SOCK_SOCKET_H_
#define FIO_SOCK_SOCKET_H_

#include <sys/uio.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/types/span.h"
#include "fio/base/clock.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/environment.h"
#include "fio/sock/file_range.h"
#include "fio/sock/internal/state_or_bytes.h"
#include "fio/sock/internal/write_node.h"
#include "fio/sock/io_result.h"
#include "fio/sock/shared_bytes.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/transport.h"
#include "fio/sock/watermarks.h"

namespace fio {

class SocketDriver;

// What the owner of a socket keeps with it.
class SocketData {
 public:
  virtual ~SocketData() = default;
};

class Socket {
 public:
  // Holds no socket: every call returns EBADF.
  Socket() = default;
  // What it means if a read(2) returns fewer bytes than were asked for.
  enum class ShortRead : uint8_t {
    kAsk,          // Not known. The first short read asks the kernel (once, by
                   // SO_PROTOCOL): kEmpties for TCP, else kSaysNothing.
    kEmpties,      // Nothing is left: TCP without urgent data (tcp(7)).
    kSaysNothing,  // Bytes may be left: a Unix socket stops reading after
                   // passed descriptors, at another sender's credentials and
                   // at out-of-band data (unix(7)).
  };
  // Takes a connected stream socket that is non-blocking already.
  explicit Socket(UniqueFd fd, ShortRead short_read = ShortRead::kAsk)
      : fd_(std::move(fd)) {
    SetShortRead(short_read);
    if (short_read == ShortRead::kAsk) Set(kMayLinger);
  }
  Socket(Socket&& other) noexcept;
  Socket& operator=(Socket&& other) noexcept;
  // Closes the descriptor at once and drops what is queued. The kernel still
  // delivers what it has taken. Unlike Close(), this does not end a connection
  // of which another process has a copy (fork(2)).
  ~Socket() {
    if (!IsEmpty()) End();
  }

  // Negative once closed.
  int fd() const { return fd_.get(); }
  // Whether writes are accepted: the socket is not closing, failed or closed,
  // and ShutdownWrite() was not called.
  bool is_open() const {
    return fd_ && error_ == 0 &&
           !(ending_.over | ending_.closing | ending_.write_shut);
  }
  bool is_closing() const { return (ending_.closing || ending_.over); }

  // --- Connecting ---

  // Returns the outcome of an attempt to connect. Call it when the descriptor
  // is writable. No error: the connection is established. EAGAIN: not yet. Any
  // other error closes the socket. Do not call it again after it has returned
  // anything but EAGAIN.
  //
  // A TCP connection that was established and has been reset since counts as
  // established: Read() gives the bytes that came before the reset, and then
  // the error. If a TCP attempt failed, but its error was already taken from
  // the kernel (libkqueue does so), this returns ECONNREFUSED.
  IoResult FinishConnect();

  // --- Reading ---

  // Reads up to `out.size()` bytes, by one recv(2). No error and no bytes: the
  // end of the peer's stream. EAGAIN: there is nothing to read, the connection
  // is not established, or `out` is empty. ENOMEM, ENOBUFS: try again later.
  // EBADF after Close(). EPROTO of a transport, which has failed: what is
  // queued is dropped, and the socket closes as by Close() and LingerAtClose(),
  // so that the transport's last words reach the peer; but when it has dropped
  // 64 KiB of the peer, it waits no longer. Any other error closes the socket.
  IoResult Read(absl::Span<char> out);

  // Gives back the last bytes that were read: the next Read() returns them
  // first. They are copied. Replacing the transport puts them below the new
  // one: its ReadRaw() returns them.
  void Unread(std::string_view bytes);
  size_t unread_bytes() const {
    return rest_.state() == nullptr ? 0 : UnreadInState();
  }

  // For transports: what Read() does without one. Reads what lies below the
  // transport: bytes that were given back before it was set, then those of the
  // kernel.
  IoResult ReadRaw(absl::Span<char> out);
  // The same for writing: what TryWrite() does without a transport. A failure
  // is returned, and ends nothing.
  IoResult WriteRaw(absl::Span<const iovec> pieces);

  // Whether the kernel has a byte (`bytes` is 1), the end of the stream (0, no
  // error) or an error to read, without taking it. Bypasses the transport.
  IoResult Peek();
  // The same for what ReadRaw() would return.
  IoResult PeekRaw();

  // Copies up to `out.size()` waiting bytes, without taking them (MSG_PEEK of
  // recv(2)). Bypasses the transport. Errors are those of recv(2), or EBADF;
  // none closes the socket. EAGAIN if `out` is empty.
  IoResult Peek(absl::Span<char> out);

  // From now on a short read does not mean that the kernel has nothing left.
  // With HoldDescriptor() each short read then costs one more recv(2), which
  // checks. Call it when there is urgent data (POLLPRI of poll(2)): a recv(2)
  // stops before it, although more bytes may follow.
  void DistrustShortReads() { SetShortRead(ShortRead::kSaysNothing); }

  // Returns the pending error of the connection and clears it; 0 if there is
  // none (SO_ERROR of socket(7)).
  int TakeError();

  // From now on the end of the peer's stream does not close the socket: replies
  // can still be written. The caller closes it.
  void AllowHalfOpen() { reading_.half_open = true; }

  // --- Writing ---

  // Queue bytes after those written before: all or, on an error, none. Bytes
  // are copied; a cord and a SharedBytes are shared. What is not copied is
  // released when it has been sent, and also on an error. Errors: EBADF if
  // closed; EPIPE after Close() or ShutdownWrite(); the error of a write that
  // failed earlier; ENOBUFS if this exceeds a limit of the watermarks, which
  // aborts.
  IoResult Write(std::string_view bytes) {
    sock_internal::WriteBlock* const block = rest_.copied();
    if (block == nullptr || bytes.empty() || bytes.size() > block->left() ||
        !is_open()) {
      return WriteFirst(bytes);
    }
    block->AppendCall(bytes);
    return {.bytes = bytes.size()};
  }
  IoResult Write(absl::Cord bytes);
  IoResult Write(FileRange file);
  // Without the first `sent` bytes, such as those that TryWrite() has sent.
  // REQUIRES: `sent` <= bytes.size().
  IoResult Write(SharedBytes bytes, size_t sent = 0);

  // Sends bytes at once, without the queue; bytes that the kernel does not take
  // are not kept. EAGAIN: it took none, or something is queued. More::kYes:
  // more bytes follow at once, so the kernel may wait to fill a segment
  // (MSG_MORE of send(2)). If none follow after all, Flush() sends what the
  // kernel holds back.
  enum class More : bool { kNo, kYes };
  IoResult TryWrite(std::string_view bytes, More more = More::kNo);
  // The same for several pieces, by one system call. Only the first IOV_MAX
  // (1024) pieces are sent.
  IoResult TryWrite(absl::Span<const iovec> pieces, More more = More::kNo);

  // Sends what is queued and what the kernel holds back (More::kYes), and then
  // continues ShutdownWrite() or Close(). No error: all is done. EAGAIN:
  // something is left, or this was called in a callback of this socket.
  // ENOBUFS, ENOMEM: something is left, and the descriptor does not become
  // ready when to go on: try again later. Any other error ends the socket, see
  // above. `bytes` is how many were sent, also with an error. After about
  // `budget` bytes it stops, without an error: wants_write() tells whether
  // something is left.
  IoResult Flush(uint64_t budget = std::numeric_limits<uint64_t>::max());

  // Flushes until Flush() returns something else than EAGAIN, ENOBUFS or
  // ENOMEM, or until `deadline`: ETIMEDOUT. Blocks in poll(2).
  IoResult FlushUntil(const Clock& clock, MonotonicTime deadline);

  // How many bytes the kernel has taken but the peer has not acknowledged
  // (SIOCOUTQ of tcp(7)). On a Unix socket: the memory, in bytes, of what the
  // peer has not read. 0 if the kernel does not know.
  size_t unacknowledged_bytes() const;

  // How many calls of Write() have a byte in the queue, and how many bytes are
  // in it, or were taken by the transport and have not left.
  bool has_pending() const {
    return !rest_.empty() && (rest_.has_bytes() || HasPendingInState());
  }
  size_t pending_calls() const { return pending().calls; }
  uint64_t pending_bytes() const { return pending().bytes; }
  PendingWrites pending() const {
    if (rest_.empty()) return {};
    if (!rest_.has_bytes()) return PendingInState();
    const size_t bytes = rest_.size();
    return {.calls = rest_.calls(), .bytes = bytes, .memory_bytes = bytes};
  }

  // Whether what is queued exceeds a limit of `watermarks`.
  bool Exceeds(const Watermarks& watermarks) const {
    const sock_internal::WriteBlock* const block = rest_.copied();
    if (block == nullptr) return watermarks.IsOver(pending());
    return block->size() > watermarks.limit_bytes ||
           block->pending_calls() > watermarks.limit_calls;
  }

  // From now on a write that exceeds a limit aborts, and level() returns when
  // to pause.
  void SetWatermarks(const Watermarks& watermarks);
  Watermarks::Level level() const;

  // Open, with nothing queued, and no transport, watermarks or environment:
  // TryWrite() is then one system call.
  bool is_direct() const { return rest_.empty() && is_open(); }

  // What to wait for. Readable: unless above the high watermark or at the end
  // of the peer's stream. Writable: if Flush() has something to do.
  bool wants_read() const;
  bool wants_write() const {
    return (!rest_.empty() ||
            (Has(kHeldBack) || ending_.closing || ending_.write_shut)) &&
           WantsWrite();
  }

  // Whether small writes leave at once, without Nagle's delay (TCP_NODELAY of
  // tcp(7)). Sockets of ListenSocket and StartConnect() do so from the start.
  // Errors: the errno of setsockopt(2); EBADF if closed.
  absl::Status SetNoDelay(bool no_delay);

  // --- Ending ---

  // Ends our stream (FIN) when what is queued has been sent; reading is still
  // possible. Result as of Flush().
  IoResult ShutdownWrite();
  // Drops what the peer sends from now on; Read() returns the end of the
  // stream. Errors: those of shutdown(2).
  IoResult ShutdownRead();

  // See "How it ends". Both do at once what needs no waiting. A second call
  // does nothing.
  //
  // The peer sees the end even if a forked child has a copy of the descriptor,
  // which would keep the connection open after close(2). For that, Close()
  // calls shutdown(2) if this process has ever called fork(2); Abort() calls
  // connect(2) with AF_UNSPEC on TCP. On a Unix socket, which has no reset,
  // Abort() ends the stream. If a child was made without fork(3) handlers, as
  // by a direct clone(2), Close() ends the connection only when the child's
  // copy is closed, too.
  void Close();
  void Abort();

  // From now on Close() also waits for the peer to close after all that is
  // queued has been sent. Otherwise bytes that the peer sends meanwhile would
  // be answered with a reset. The caller must bound the wait.
  void LingerAtClose() { ending_.lingers = true; }
  // Whether the socket waits for the peer to close.
  bool is_lingering() const { return ending_.lingering; }
  // Whether all that was written has been sent, and only the transport's
  // closing message and the end follow.
  bool has_said_farewell() const { return ending_.farewell_said; }

  // Drops what is queued, destroys the transport and ends the environment, but
  // does not close the descriptor: the caller now owns it. REQUIRES: not inside
  // a callback.
  [[nodiscard]] UniqueFd Release();

  // --- Transport ---

  // From now on all bytes pass through `transport`, including those queued
  // already. Null removes the transport. The previous one is destroyed. Errors:
  // kFailedPrecondition (EBADF) if closed; `transport` is then destroyed.
  absl::Status SetTransport(std::unique_ptr<Transport> transport);

  // The same, but returns the previous transport, so that the new one can own
  // it. If closed, returns `transport`.
  std::unique_ptr<Transport> ReplaceTransport(
      std::unique_ptr<Transport> transport);

  bool has_transport() const;
  // Null if there is none.
  Transport* transport() const;

  // Calls Transport::Shake(). If that fails, sets `failure` to the transport's
  // status(). REQUIRES: there is a transport, and no callback is running.
  Transport::Handshake Shake(absl::Status* failure = nullptr);
  // For a handshake that has failed: drops what is queued, and closes once the
  // transport has nothing left to flush and the peer has closed, too.
  void CloseFailed();
  // While a handshake is under way, Flush() passes nothing to the transport:
  // EAGAIN. One that is running when it begins stops, without an error.
  void SetShaking(bool shaking);
  // Of the raw calls since Shake() began: whether bytes or the end were read,
  // the kernel had nothing more, no more room, or no memory, and the stream has
  // ended or failed. If it has failed, raw_error() is the errno.
  bool raw_has_read() const;
  bool raw_is_empty() const;
  bool raw_is_full() const;
  bool raw_had_no_memory() const;
  bool raw_has_ended() const;
  int raw_error() const;
  // Whether a raw call has moved bytes since this was last asked. They may be
  // bytes that the transport took earlier, or a part of what it reads whole.
  bool TakeRawMoved();

  // --- Environment ---

  // Objects linked to the lifetime of this socket; see fio/sock/environment.h.
  // Errors: as there, and kFailedPrecondition (EBADF) if closed; SetEnv() then
  // runs `on_close`.
  absl::Status SetEnv(Environment::Key key, void* object,
                      Environment::OnClose on_close);
  void* GetEnv(Environment::Key key) const;
  absl::Status UnsetEnv(Environment::Key key);
  absl::Status RemoveEnv(Environment::Key key);

  // --- Addresses ---

  // By getsockname(2) and getpeername(2). An empty address if the call fails,
  // as getpeername(2) does when the connection is gone.
  SocketAddress local_address() const;
  SocketAddress peer_address() const;

  // --- For owners that index sockets by descriptor, as a loop does ---

  // From now on the socket does not close its descriptor. When it would, it
  // only sets is_over(), and the owner destroys it. So the kernel cannot reuse
  // the number while the owner's index still has it.
  void HoldDescriptor(bool hold) { hold ? Set(kHeld) : Clear(kHeld); }
  bool is_over() const { return ending_.over; }
  // The last Read(), or the last Flush() while lingering, left nothing in the
  // kernel: the next bytes make the descriptor readable again. With
  // HoldDescriptor() the owner must call DistrustShortReads() when there is
  // urgent data.
  bool is_drained() const { return reading_.drained; }
  // Whether a callback is running. Inside it TryWrite() and Flush() return
  // EAGAIN.
  bool in_callback() const { return Has(kBusy); }
  // An object that goes with the socket, and is destroyed with it, or when
  // another takes its place. Null if there is none. REQUIRES for setting: not
  // closed.
  void SetData(std::unique_ptr<SocketData> data);
  SocketData* data() const {
    return rest_.state() == nullptr ? nullptr : DataInState();
  }
  std::unique_ptr<SocketData> TakeData();
  // What is queued and unread, in memory, with what the transport holds.
  uint64_t memory_bytes() const {
    if (rest_.empty()) return 0;
    return rest_.has_bytes() ? rest_.size() : MemoryInState();
  }
  // By how many bytes that has changed since the last call. To call it after
  // each change costs the least if nothing was queued, or only copied bytes
  // that fitted in one block (is_short()), until Flush() was called.
  int64_t CountMemory() { return rest_.empty() ? 0 : CountMemoryOfState(); }
  bool is_short() const { return rest_.copied() != nullptr; }
  // More than the bytes, and calls of Write(), of one that is_short().
  static constexpr size_t kShortBytes = 4096;
  // The same as if all of it had gone.
  int64_t UncountMemory();
  // Releases what is queued, destroys the transport and ends the environment.
  void Discard();
  // From now on `driver` moves the bytes, see fio/sock/socket_driver.h: no call
  // of this socket reads, writes or ends the descriptor. What is written counts
  // as pending until it has left, so Flush() returns EAGAIN until then; the
  // driver has the memory of it also after the socket has closed. TryWrite()
  // copies, up to 64 KiB that have not left; that, and what a transport has
  // written, is pending, too. REQUIRES: open; nothing was read or written
  // before. FlushUntil() and Release() are not possible.
  void SetDriver(SocketDriver& driver);
  // Forgets the descriptor without closing it, because it belongs to another
  // owner now.
  void Forget();
  // For a copy in a forked child, when the connection belongs to the parent:
  // ending the socket then only closes this copy of the descriptor, and the
  // peer sees nothing.
  void Forsake();

 private:
  // What is known of the peer's bytes.
  struct Reading {
    bool half_open : 1 = false;   // AllowHalfOpen() was called.
    bool ended : 1 = false;       // The peer's stream, read to its end.
    bool drained : 1 = false;     // The last read left nothing in the kernel.
    bool short_asks : 1 = false;  // ShortRead::kAsk,
    bool short_empties : 1 = false;  // and kEmpties.
  };
  // How far it has come in ending.
  struct Ending {
    bool closing : 1 = false;     // Close() was called.
    bool aborted : 1 = false;     // Abort() was called.
    bool write_shut : 1 = false;  // ShutdownWrite() was called.
    bool fin_sent : 1 = false;
    bool farewell_said : 1 = false;  // BeforeClose() was called.
    bool lingers : 1 = false;        // LingerAtClose() was called.
    bool lingering : 1 = false;      // Waiting for the peer to close first.
    bool over : 1 = false;           // To be ended, or being ended.
  };
  enum Flag : uint16_t {
    kHeld = 1 << 0,       // HoldDescriptor() was called.
    kForsaken = 1 << 1,   // Forsake() was called.
    kBusy = 1 << 2,       // Inside a call that may run callbacks.
    kHeldBack = 1 << 3,   // The transport or the kernel has bytes to flush.
    kMayLinger = 1 << 4,  // Somebody may have set SO_LINGER.
  };
  class Busy;
  struct State;
  struct UnreadBytes;
  struct DeleteState {
    void operator()(State* state) const;
  };

  static constexpr unsigned kAllFlags = 31;

  bool Has(unsigned flags) const { return (flags_ & flags) != 0; }
  void Set(unsigned flags) { flags_ |= flags & kAllFlags; }
  void Clear(unsigned flags) { flags_ &= ~flags & kAllFlags; }
  void SetShortRead(ShortRead what) {
    reading_.short_asks = what == ShortRead::kAsk;
    reading_.short_empties = what == ShortRead::kEmpties;
  }
  bool IsValid() const { return fd_ && !ending_.over; }
  bool IsEmpty() const { return !fd_ && rest_.empty(); }
  int WriteError() const {
    if (!IsValid()) return EBADF;
    if (error_ != 0) return error_;
    return (ending_.closing || ending_.write_shut) ? EPIPE : 0;
  }
  static absl::Status ClosedError(const char* call);

  State& state();
  SocketData* DataInState() const;
  size_t UnreadInState() const;
  uint64_t MemoryInState() const;
  PendingWrites PendingInState() const;
  bool HasPendingInState() const;
  PendingWrites PendingWithDriver() const;
  bool HasQueued() const;
  uint64_t QueuedBytes() const;
  bool WantsWrite() const;
  int64_t CountMemoryOfState();
  IoResult WriteFirst(std::string_view bytes);
  IoResult SendPlain(std::string_view bytes);
  IoResult FlushAlone(uint64_t budget);
  IoResult FlushOn(IoResult flushed, uint64_t budget);
  template <typename... Bytes>
  IoResult Queue(uint64_t size, Bytes&&... bytes);
  bool ReadsKernel() const;
  IoResult ReadInState(absl::Span<char> out);
  IoResult Account(const IoResult& read, bool plain);
  bool ShortReadEmptied();
  bool ShortReadEmpties();
  IoResult FlushQueue(uint64_t budget);
  IoResult FlushSome(uint64_t limit);
  void DropQueue();
  void DropQueueIfDue();
  SocketDriver* driver() const;
  IoResult ReadBelow(absl::Span<char> out);
  IoResult PeekBelow(absl::Span<char> out);
  IoResult WriteBelow(absl::Span<const iovec> pieces, int flags);
  int ShutdownBelow(int how);
  IoResult ReadDriven(SocketDriver& driver, absl::Span<char> out);
  IoResult WriteDriven(SocketDriver& driver, absl::Span<const iovec> pieces);
  IoResult FlushDriven(uint64_t budget);
  IoResult CountLeft(SocketDriver& driver);
  IoResult TakeLeft(SocketDriver& driver);
  IoResult FlushTransport();
  void PushHeldBack();
  IoResult EndWriting();
  size_t TakeUnread(absl::Span<char> out);
  void ReleaseUnread();
  bool TransportHasReadAll() const;
  bool IsShaking() const;
  IoResult ReadToClose();
  void CloseWithLastWords();
  bool HasDroppedEnough(size_t bytes);
  void AwaitPeersClose();
  bool MayHaveBytes();
  void WriteFailed(int error);
  void EndLater();
  void End();
  void AfterCallbacks(Ending before);
  void ReleaseIdleState();

  UniqueFd fd_;
  Reading reading_;
  Ending ending_;
  uint16_t flags_ : 5 = 0;
  uint16_t error_ : 10 = 0;  // Of writing.
  // What an idle socket does not need.
  sock_internal::StateOrBytes<State, DeleteState> rest_;
};

static_assert(sizeof(Socket) == 16);

}  // namespace fio

#endif  // FIO_SOCK_SOCKET_H_
