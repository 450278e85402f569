// All bytes between a Socket and the kernel pass through its Transport, in both
// directions: for TLS, compression, a proxy's header or logging. A socket
// without one makes the system calls itself. By default each function here
// makes the same calls, so a transport overrides only what it needs.
//
// A socket owns its transport. It destroys it when it closes, or when another
// transport replaces it. A transport that could not be set is destroyed, too.
// All calls come from the thread that uses the socket, one at a time. They may
// call the socket, even close it or replace the transport, which then lives
// until the call has returned. They must not destroy the socket.
//
// Thread safety: none. One transport serves one socket.

#ifndef FIO_SOCK_TRANSPORT_H_
#define FIO_SOCK_TRANSPORT_H_

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "fio/sock/io_result.h"

namespace fio {

class Socket;

// A transport reads and writes what lies below it by Socket::ReadRaw() and
// Socket::WriteRaw() alone, never by the descriptor: so it runs over whatever
// brings the bytes. One that expects a password before all else:
//
//   class Password : public fio::Transport {
//     Handshake Shake(fio::Socket& socket) override {
//       char byte;
//       while (given_.size() < 8) {
//         const auto read = socket.ReadRaw(absl::MakeSpan(&byte, 1));
//         if (read.bytes == 0) return Handshake::kMore;  // It is called again.
//         given_ += byte;
//       }
//       return given_ == "open up\n" ? Handshake::kDone : Handshake::kFailed;
//     }
//     absl::Status status() const override {
//       return absl::PermissionDeniedError("wrong password");
//     }
//     std::string given_;
//   };
//
// A transport with a handshake (Connection::StartHandshake()): until Shake()
// has returned kDone no byte of the application passes, and Read(), Write(),
// Flush() and BeforeClose() are not called. After kFailed Flush() is called
// alone, so that what it has to say to the peer leaves.
class Transport {
 public:
  // What a handshake needs to go on.
  enum class Handshake : uint8_t {
    kDone,       // Nothing: bytes may pass.
    kMore,       // Bytes of the peer, or room for those that it has written.
    kSuspended,  // Connection::ResumeHandshake(), as when a key is fetched.
    kFailed,     // It does not go on; status() says why.
  };

  virtual ~Transport() = default;

  // Reads no more than belongs to the handshake, or keeps the rest for its
  // Read(): what it gives to Socket::Unread() passes by it.
  //
  // Goes on with the handshake as far as it can without waiting. Called again
  // when bytes have arrived, when there is room, and when it was resumed.
  virtual Handshake Shake(Socket& /*socket*/) { return Handshake::kDone; }

  // Why the handshake, or another call, has failed. OK if it has nothing to say
  // beyond the error. Asked only after a failure, before the transport goes.
  virtual absl::Status status() const { return absl::OkStatus(); }

  // What errors call its handshake, as in "the handshake has timed out".
  virtual std::string_view handshake_name() const { return "the handshake"; }

  // What this transport tells users who know it: the object for `key`, null if
  // there is none. Valid as long as the transport.
  virtual const void* Info(const void* /*key*/) const { return nullptr; }

  // Reads up to `out.size()` bytes, which is not 0. No error and no bytes is
  // the end of the peer's stream; EAGAIN if nothing is there. May write.
  // EPROTO: what the peer has sent makes no sense, or may not be. Then only
  // Flush() is called, so that last words (an alert) reach the peer, and the
  // socket closes; see Socket::Read().
  virtual IoResult Read(Socket& socket, absl::Span<char> out);

  // Whether Read() would return something without reading from below. Asked
  // after a Read() that returned bytes and has found the kernel empty, as most
  // do: if there is nothing, no Read() follows before more arrives, which saves
  // a system call for each request. By default it is taken for possible, and a
  // peer's end is then not told to a protocol that leaves all that it may
  // (LoopOptions::unread_limit_bytes) unread.
  virtual bool HasUnread() const { return true; }

  // What it keeps of the stream, in bytes of memory.
  struct HeldBytes {
    size_t unsent = 0;  // That Write() took, or its own, and have not left.
    size_t unread = 0;  // That were read, and are for a later Read().
  };
  // They count as if the socket had them: the first as pending, and both for
  // the bounds of memory (LoopOptions::memory_limit_bytes). A transport that
  // keeps bytes without a small bound overrides this, and one that owns another
  // adds what that holds. Asked after each call that may have changed it, and
  // at any other time, also inside of its own calls: it must be quick, and call
  // nothing.
  virtual HeldBytes held_bytes() const { return {}; }

  // Takes bytes from the front of `pieces`, which have at least one byte: all,
  // a part, or none and EAGAIN if it has no room. First sends the bytes that it
  // took earlier and still holds: a flush of the socket calls either Write() or
  // Flush(), not both.
  virtual IoResult Write(Socket& socket, absl::Span<const iovec> pieces);

  // Sends the bytes that it took earlier and still holds. `bytes` of the result
  // is how many of them are left, with EAGAIN or without an error. Called when
  // nothing is queued for Write().
  virtual IoResult Flush(Socket& socket);

  // Called at most once, when everything written has been sent and
  // Socket::Close() or Socket::ShutdownWrite() is about to end the stream; not
  // at an Abort() or an error. Write a closing message here. If it returns
  // true, the end waits until Flush() has nothing left or fails.
  virtual bool BeforeClose(Socket& socket);
};

}  // namespace fio

#endif  // FIO_SOCK_TRANSPORT_H_
