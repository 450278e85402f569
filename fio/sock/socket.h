// A Socket owns one connected, non-blocking stream socket and what is waiting
// to leave through it. It knows no event loop: whoever uses it waits for the
// descriptor in their own way, reads when it is readable, and flushes when it
// is writable. With poll(2), a client that sends a line and prints the answer:
//
//   socket.Write("hello\n");
//   while (socket.Flush().would_block()) Wait(socket.fd(), POLLOUT);
//   char line[100];
//   fio::IoResult read = socket.Read(absl::MakeSpan(line));
//
// Write() only queues, so that many small writes leave in one system call by
// the Flush() that follows. Nothing blocks, nothing raises SIGPIPE, and a
// signal interrupts nothing (EINTR).
//
// How it ends. Close() takes no more writes, lets what is queued leave, then
// the transport's closing message, and closes; Flush() carries that on. If the
// peer's bytes lie unread by then, closing would have the kernel send a reset,
// which may destroy our last bytes on their way; so it ends our stream, drops
// what comes, and closes when the peer does. Abort() drops everything and
// resets. An error of writing drops what is queued, and the socket closes once
// what the peer sent before is read. The end of the peer's stream closes as
// Close() does, unless AllowHalfOpen(). Closing releases what is queued,
// destroys the transport, closes the descriptor, and then ends the
// environment, newest object first. From there on all calls answer EBADF.
//
// It takes 16 bytes; while something is queued, or a transport, watermarks or
// an environment are set, more.
//
// Callbacks (of a transport, of the environment, and those that release what
// was written) may call the socket, but not destroy or move it.
//
// Thread safety: none.

#ifndef FIO_SOCK_SOCKET_H_
#define FIO_SOCK_SOCKET_H_

#include <sys/uio.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
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
#include "fio/sock/io_result.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/transport.h"
#include "fio/sock/watermarks.h"

namespace fio {

class Socket {
 public:
  // Holds no socket: every call answers EBADF.
  Socket() = default;
  // What a read(2) that returns fewer bytes than were asked for says of the
  // kernel's buffer.
  enum class ShortRead : uint8_t {
    kAsk,          // Unknown: the kernel is asked once, at the first short read
                   // (SO_PROTOCOL): it is kEmpties for TCP.
    kEmpties,      // Nothing is left: TCP without urgent data (tcp(7)).
    kSaysNothing,  // Bytes may be left: a Unix socket stops reading behind
                   // passed descriptors, at another sender's credentials and
                   // at out-of-band data (unix(7)).
  };
  // Takes a connected stream socket that is non-blocking already.
  explicit Socket(UniqueFd fd, ShortRead short_read = ShortRead::kAsk)
      : fd_(std::move(fd)) {
    SetShortRead(short_read);
  }
  Socket(Socket&& other) noexcept;
  Socket& operator=(Socket&& other) noexcept;
  // Closes the descriptor at once and drops what is queued. The kernel goes on
  // delivering what it took. Unlike Close(), this does not end a connection of
  // which another process has a copy (fork(2)).
  ~Socket() { End(); }

  // Negative once closed.
  int fd() const { return fd_.get(); }
  // Whether writes are taken: neither closing, nor failed, nor closed, nor
  // without a write side.
  bool is_open() const { return WriteError() == 0; }
  bool is_closing() const { return Has(kClosing | kOver); }

  // --- Connecting ---

  // How an attempt to connect ended, once the descriptor is writable: no error
  // if the connection is established, EAGAIN if it is not yet, else the error,
  // which closes the socket. Do not call it again after it has returned
  // anything but EAGAIN.
  //
  // A TCP connection that was established and has been reset since counts as
  // established: Read() gives the bytes that came before the reset, and then
  // the error. A TCP attempt that failed, but whose error somebody else has
  // taken from the kernel (as libkqueue does), ends with ECONNREFUSED.
  IoResult FinishConnect();

  // --- Reading ---

  // Takes what is there, up to `out.size()` bytes, by one recv(2). No error and
  // no bytes is the end of the peer's stream. EAGAIN if nothing is there, the
  // connection is not established, or `out` is empty. Any other error, but
  // ENOMEM, closes; EBADF after Close().
  IoResult Read(absl::Span<char> out);

  // Whether the kernel holds bytes, the end or an error, without taking any:
  // `bytes` is then 1, 0 or, with the error, 0. Past the transport.
  IoResult Peek();

  // Copies up to `out.size()` bytes that wait, without taking them (MSG_PEEK of
  // recv(2)). Past the transport. Results as of Read(), but no error closes.
  IoResult Peek(absl::Span<char> out);

  // From now on a short read does not say that the kernel has nothing left to
  // read, so an owner that holds the descriptor pays one more recv(2) for each,
  // which asks. For an owner that learns of urgent data (POLLPRI of poll(2)): a
  // recv(2) stops short at it, though more bytes may follow.
  void DistrustShortReads() { SetShortRead(ShortRead::kSaysNothing); }

  // The error that has met the connection and that no call has told yet, or 0
  // (SO_ERROR of socket(7)). It is told once.
  int TakeError();

  // The end of the peer's stream is no reason to close: replies are still
  // written. The caller closes.
  void AllowHalfOpen() { Set(kHalfOpen); }

  // --- Writing ---

  // Queue bytes behind those written before: all or, on an error, none. Bytes
  // are copied, cords shared; cords and files are released when they have left,
  // and also on an error. Errors: EBADF if closed; EPIPE after Close() or
  // ShutdownWrite(); what failed, after a failure; ENOBUFS when this is past a
  // limit of the watermarks, which aborts.
  IoResult Write(std::string_view bytes);
  IoResult Write(absl::Cord bytes);
  IoResult Write(FileRange file);

  // Offers bytes to the kernel past the queue, without keeping what it does not
  // take: EAGAIN if it takes none, or something is queued. `more`: the next
  // bytes follow at once, so a segment may wait to be filled (MSG_MORE, see
  // send(2)).
  enum class More : bool { kNo, kYes };
  IoResult TryWrite(std::string_view bytes, More more = More::kNo);
  // The same for several pieces, by one system call: of writev(2)'s kind, so at
  // most IOV_MAX (1024) of them are looked at.
  IoResult TryWrite(absl::Span<const iovec> pieces, More more = More::kNo);

  // Offers what is queued to the kernel, and then does what waits for that:
  // ShutdownWrite(), Close(). No error if all is done; EAGAIN if something is
  // left, and from inside a callback of this socket; ENOBUFS or ENOMEM if
  // something is left and the descriptor will not tell when to go on. `bytes`
  // have left, whatever the error. Any other error is the end, as above.
  IoResult Flush();

  // Flushes and waits until Flush() gives something else than EAGAIN or want
  // of memory, or until `deadline`: ETIMEDOUT. Blocks, by poll(2).
  IoResult FlushUntil(const Clock& clock, MonotonicTime deadline);

  // How much of what the kernel has taken the peer has not acknowledged, by
  // ioctl(2): in bytes (tcp(7), SIOCOUTQ), or, of a Unix socket, the memory of
  // what the peer has not read. 0 if the kernel does not know.
  size_t unacknowledged_bytes() const;

  // Calls of Write() of which a byte is queued, and all bytes that are.
  size_t pending_calls() const;
  uint64_t pending_bytes() const;
  PendingWrites pending() const;

  // From now on writes past a limit abort, and level() tells when to pause.
  void SetWatermarks(const Watermarks& watermarks);
  Watermarks::Level level() const;

  // Open, with nothing queued and no transport: TryWrite() offers bytes to the
  // kernel without a detour.
  bool is_direct() const { return state_ == nullptr && is_open(); }

  // What to wait for: readable, unless above the high watermark or at the end;
  // writable, if Flush() has something to do.
  bool wants_read() const;
  bool wants_write() const;

  // Whether small writes leave at once, without Nagle's delay (TCP_NODELAY of
  // tcp(7)). Sockets of ListenSocket and StartConnect() do so from the start.
  // Errors: the errno of setsockopt(2); EBADF if closed.
  absl::Status SetNoDelay(bool no_delay);

  // --- Ending ---

  // Ends our stream (FIN) when what is queued has left, and goes on reading;
  // result as of Flush().
  IoResult ShutdownWrite();
  // Drops what the peer sends from now on; Read() comes to the end. Errors:
  // those of shutdown(2).
  IoResult ShutdownRead();

  // See above. Does at once what can be done at once. Again, it does nothing.
  //
  // The peer is told even if a forked child has a copy of the descriptor, which
  // would keep the connection open after close(2): the end by shutdown(2), if
  // this process has called fork(2) since it began; a reset by connect(2) to
  // AF_UNSPEC, on TCP. On a Unix socket Abort() ends the stream, as there is no
  // reset. A copy in a child that was made without fork(3) handlers, as by a
  // bare clone(2), delays the end of Close() until it is closed, too.
  void Close();
  void Abort();

  // From now on a Close() also waits for the peer to close, once all that is
  // queued has left: whatever the peer sends, not knowing of it, would else be
  // answered with a reset. The caller bounds the wait.
  void LingerAtClose() { Set(kLingers); }
  // That wait.
  bool is_lingering() const { return Has(kLingering); }

  // Ends as Close() would, but at once and without closing the descriptor,
  // which is the caller's from here on. REQUIRES: not inside a callback.
  [[nodiscard]] UniqueFd Release();

  // --- Transport ---

  // From now on bytes pass `transport`, those queued, too; null is none. The
  // one before is destroyed. Errors: kFailedPrecondition (EBADF) if closed, and
  // `transport` is destroyed.
  absl::Status SetTransport(std::unique_ptr<Transport> transport);

  // The same, but gives back the one before: a transport that replaces itself
  // can so live on in its successor. If closed, gives back `transport`.
  std::unique_ptr<Transport> ReplaceTransport(
      std::unique_ptr<Transport> transport);

  bool has_transport() const;

  // --- Environment ---

  // Objects linked to the life of this socket, as in fio/sock/environment.h.
  // Errors beside those there: kFailedPrecondition (EBADF) if closed; SetEnv()
  // then calls `on_close`.
  absl::Status SetEnv(Environment::Key key, void* object,
                      Environment::OnClose on_close);
  void* GetEnv(Environment::Key key) const;
  absl::Status UnsetEnv(Environment::Key key);
  absl::Status RemoveEnv(Environment::Key key);

  // --- Addresses ---

  // By getsockname(2) and getpeername(2); no address if the call fails, as it
  // does for the peer of a socket whose connection is gone.
  SocketAddress local_address() const;
  SocketAddress peer_address() const;

  // --- For owners that keep books by descriptor, as a loop does ---

  // From now on the socket closes neither itself nor its descriptor: when it
  // would, it only says so by is_over(), and the owner destroys it. So the
  // number cannot come back while the owner's books still have it.
  void HoldDescriptor(bool hold) { hold ? Set(kHeld) : Clear(kHeld); }
  bool is_over() const { return Has(kOver); }
  // The last Read(), or the last Flush() that waits for the peer to close, has
  // left nothing in the kernel: the next bytes make the descriptor readable
  // anew. With HoldDescriptor() it relies on the owner for urgent data; see
  // DistrustShortReads().
  bool is_drained() const { return Has(kDrained); }
  // A callback runs, in which TryWrite() and Flush() are always EAGAIN.
  bool in_callback() const { return Has(kBusy); }
  // Releases what is queued, destroys the transport, ends the environment.
  void Discard();
  // The descriptor is another's by now: forgets it, without closing it.
  void Forget();
  // The connection belongs to the process that forked this one: ending it here
  // only closes this copy of the descriptor, and the peer notices nothing.
  void Forsake();

 private:
  enum Flag : uint32_t {
    kHeld = 1 << 0,
    kHalfOpen = 1 << 1,
    kEnded = 1 << 2,          // The peer's stream, read to its end.
    kDrained = 1 << 3,        // Nothing was left to read the last time.
    kClosing = 1 << 4,        // Close() was called.
    kAborted = 1 << 5,        // Abort() was called.
    kShutdownWrite = 1 << 6,  // ShutdownWrite() was called.
    kFinSent = 1 << 7,
    kFarewell = 1 << 8,       // BeforeClose() was called.
    kHeldBack = 1 << 9,       // The transport has something to flush.
    kLingering = 1 << 10,     // Waiting for the peer to close first.
    kOver = 1 << 11,          // To be torn down, or being so.
    kBusy = 1 << 12,          // Inside a call that may run callbacks.
    kLingers = 1 << 13,       // LingerAtClose() was called.
    kForsaken = 1 << 14,      // Forsake() was called.
    kShortAsks = 1 << 15,     // ShortRead::kAsk,
    kShortEmpties = 1 << 16,  // and kEmpties.
  };
  class Busy;
  struct State;
  struct DeleteState {
    void operator()(State* state) const;
  };

  bool Has(unsigned flags) const { return (flags_ & flags) != 0; }
  void Set(unsigned flags) { flags_ |= flags; }
  void Clear(unsigned flags) { flags_ &= ~flags; }
  void SetShortRead(ShortRead what) {
    Clear(kShortAsks | kShortEmpties);
    if (what == ShortRead::kAsk) Set(kShortAsks);
    if (what == ShortRead::kEmpties) Set(kShortEmpties);
  }
  bool IsValid() const { return fd_ && !Has(kOver); }
  int WriteError() const {
    if (!IsValid()) return EBADF;
    if (error_ != 0) return error_;
    return Has(kClosing | kShutdownWrite) ? EPIPE : 0;
  }
  static absl::Status ClosedError(const char* call);

  State& state();
  template <typename Bytes>
  IoResult Queue(Bytes bytes, uint64_t size);
  IoResult Account(const IoResult& read, size_t asked, bool plain);
  bool ShortReadEmptied();
  bool ShortReadEmpties();
  IoResult FlushQueue();
  IoResult FlushTransport();
  IoResult EndWriting();
  IoResult ReadToClose();
  void AwaitPeersClose();
  bool MayHaveBytes();
  void WriteFailed(int error);
  void EndLater();
  void End();
  void AfterCallbacks(uint32_t flags_before);
  void ReleaseIdleState();

  UniqueFd fd_;
  uint32_t flags_ : 20 = 0;
  uint32_t error_ : 12 = 0;  // Of writing.
  // What an idle socket does not need.
  std::unique_ptr<State, DeleteState> state_;
};

static_assert(sizeof(Socket) == 16);

}  // namespace fio

#endif  // FIO_SOCK_SOCKET_H_
