// A HandshakeTransport is a Transport that does what TLS does, without the
// cryptography: a handshake of several rounds in which both sides talk, records
// that change each byte, bytes of its own in between, an alert when it fails
// and a farewell at the end. Test a protocol on it to find out what an
// encrypted connection would do to it. HandshakeSide says what is on the wire.
//
//   HandshakeTransport::Options options;
//   options.script.suspend_in_round = 1;
//   auto shared = std::make_shared<HandshakeTransport::Control>();
//   connection.StartHandshake(
//       std::make_unique<HandshakeTransport>(
//           HandshakeSide::Role::kServer, options, shared),
//       absl::Seconds(10), done);
//   ...
//   shared->Resume();  // Any thread.
//   handle.ResumeHandshake(id);
//
// Without StartHandshake() it needs `rounds` = 0. With rounds, a Socket without
// a loop calls Socket::Shake().
//
// It reads more than it is asked for, and keeps what does not fit. It takes
// bytes to send though the kernel is full, up to a limit, and keeps them. What
// it has to answer while it reads waits for Flush().
//
// Thread safety: none, but for Control::Resume().

#ifndef FIO_TESTING_HANDSHAKE_TRANSPORT_H_
#define FIO_TESTING_HANDSHAKE_TRANSPORT_H_

#include <sys/uio.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"
#include "fio/testing/handshake_side.h"

namespace fio::testing {

class HandshakeTransport final : public Transport {
 public:
  enum class Call : uint8_t {
    kShake,
    kStatus,
    kRead,
    kWrite,
    kFlush,
    kBeforeClose,
    kDestroyed,
  };

  struct Options {
    HandshakeScript script = {};
    // How many bytes it asks the kernel for at once.
    size_t read_bytes = 4096;
    // How many bytes it holds for a kernel that is full; then it takes no more.
    size_t hold_bytes = 4096;
    // Whether a graceful end begins with a farewell.
    bool says_farewell = true;
    // Whether the end of the stream without a farewell is an error, EPROTO.
    bool needs_farewell = false;
    // Called first in each call. It may do anything that is allowed there: end
    // the socket, replace the transport. Null in kStatus and kDestroyed.
    std::function<void(Socket* socket, Call call)> on_call = nullptr;

    // All that a seed can choose. It calls nothing, and neither suspends nor
    // fails.
    static Options FromSeed(uint64_t seed);
  };

  // What a test keeps in hand while the transport lives and after it.
  class Control {
   public:
    // Lets a side that has suspended go on, now or when it comes to it. Then
    // call Connection::ResumeHandshake(). Any thread.
    void Resume() { resumed_ = true; }
    bool resumed() const { return resumed_; }

    // How many transports with this control live.
    int alive() const { return alive_; }
    // How many bytes of the application were read and not asked for yet.
    size_t pending_bytes() const { return pending_; }

   private:
    friend class HandshakeTransport;
    std::atomic<bool> resumed_ = false;
    std::atomic<int> alive_ = 0;
    size_t pending_ = 0;
  };

  HandshakeTransport(HandshakeSide::Role role, const Options& options,
                     std::shared_ptr<Control> control = nullptr);
  ~HandshakeTransport() override;

  Handshake Shake(Socket& socket) override;
  absl::Status status() const override;
  // Its HandshakeSide for the key `&kSide`.
  static const char kSide;
  const void* Info(const void* key) const override;

  IoResult Read(Socket& socket, absl::Span<char> out) override;
  IoResult Write(Socket& socket, absl::Span<const iovec> pieces) override;
  IoResult Flush(Socket& socket) override;
  bool BeforeClose(Socket& socket) override;
  HeldBytes held_bytes() const override {
    return {.unsent = side_.output().size(), .unread = side_.unread_bytes()};
  }

  const HandshakeSide& side() const { return side_; }

 private:
  void Called(Socket* socket, Call call) const;
  IoResult ReadWire(Socket& socket);
  IoResult SendOutput(Socket& socket);

  const Options options_;
  const std::shared_ptr<Control> control_;
  HandshakeSide side_;
};

}  // namespace fio::testing

#endif  // FIO_TESTING_HANDSHAKE_TRANSPORT_H_
