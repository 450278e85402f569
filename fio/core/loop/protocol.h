// A Protocol is what a user makes of a connection: its callbacks. One object
// serves one connection, owns what belongs to it, and is destroyed with it.
//
//   class Echo final : public fio::Protocol {
//    public:
//     void OnData(fio::Connection& connection) override {
//       connection.Write(connection.Received());
//     }
//   };
//
// All callbacks run on the thread of the connection's loop, one at a time. Each
// may call anything of the connection, of others and of the loop: closing takes
// effect at the end of the turn, never under a callback's feet. None may block,
// since all connections of the loop would wait. An exception that leaves a
// callback ends the process (std::terminate()); stderr has the protocol's
// Name().

#ifndef FIO_CORE_LOOP_PROTOCOL_H_
#define FIO_CORE_LOOP_PROTOCOL_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace fio {

class Connection;

// Why a protocol has lost its connection.
struct CloseReason {
  enum class Origin : uint8_t {
    kLocal,     // Close() or Abort() here, or the loop stopped.
    kPeer,      // The peer ended its stream, and Close() followed.
    kError,     // The connection failed: `error` says how.
    kReplaced,  // Attach() or Detach(): the connection lives on.
    kReleased,  // Release(): the socket lives on.
  };

  Origin origin = Origin::kLocal;
  // An errno, as ECONNRESET; ETIMEDOUT if the peer took no bytes after Close(),
  // ENOBUFS if more was queued than the limit allows, EBADF if the protocol
  // never had an open connection. 0 unless the origin is kError.
  int error = 0;
  // What Close() was given.
  uint16_t code = 0;
  // Why a handshake was not done, as StartHandshake() tells it. Of an error of
  // reading or writing: what Transport::status() says. OK if there is nothing
  // to say.
  absl::Status detail = absl::OkStatus();

  // For logs, as "closed here, code 3", "ended by the peer" or "failed:
  // ECONNRESET (Connection reset by peer)".
  std::string ToString() const;
  template <typename Sink>
  friend void AbslStringify(Sink& sink, const CloseReason& reason) {
    sink.Append(reason.ToString());
  }
};

class Protocol {
 public:
  virtual ~Protocol() = default;

  // The first callback, from inside of Attach().
  virtual void OnOpen(Connection& /*connection*/) {}

  // Bytes have arrived: take them with Received() or Read(). What is left in
  // the kernel is told again in the next turn. May be called with nothing to
  // read: rarely, and over a transport for what is the transport's alone, as
  // the tickets of TLS.
  virtual void OnData(Connection& connection) = 0;

  // Everything written has been taken by the kernel: once after Attach(), and
  // once each time that Write() has queued bytes and the last one has left.
  virtual void OnReady(Connection& /*connection*/) {}

  // More is queued to write than the high watermark; once, until OnLowWater().
  // Nothing has to be done: reading has paused (Connection::Write()).
  virtual void OnHighWater(Connection& /*connection*/) {}
  // Half of that has left, and reading goes on.
  virtual void OnLowWater(Connection& /*connection*/) {}

  // The peer has ended its stream and all its bytes have been read; once. What
  // OnData() has left unread, Connection::Read() gives. What is written from
  // here on still reaches the peer. By default: Close().
  virtual void OnEnd(Connection& connection);

  // Nothing was read or written for the connection's timeout: then again, once
  // a second, until something is, or Touch() or SetTimeout() is called. By
  // default: Close().
  virtual void OnTimeout(Connection& connection);

  // The deadline that SetDeadline() has set is over: once for each. By default:
  // Abort(), so that a peer that sends too slowly loses its connection at once;
  // Close() would wait for it.
  virtual void OnDeadline(Connection& connection);

  // The loop begins to drain (Loop::Drain()): this process is about to be
  // replaced, but the connection may still be used. Tell the peer, in the terms
  // of the protocol, that it should connect anew: an HTTP server answers each
  // request with "Connection: close" from here on. Called once, on the loop's
  // thread, for each connection that is open and has a protocol at that time; a
  // later one asks Loop::draining(). By default nothing happens, and
  // OnShutdown() follows when the time to drain is over.
  virtual void OnDrain(Connection& /*connection*/) {}

  // The loop is stopping; once, unless Close() was called before. The answer
  // is how long the connection may stay: zero for none, InfiniteDuration() for
  // until no other stays. It is then closed as by Close().
  virtual absl::Duration OnShutdown(Connection& /*connection*/) {
    return absl::ZeroDuration();
  }

  // The last callback, exactly once, at the end of a turn. Unless the protocol
  // was replaced, the connection's id names nothing any more, and what is
  // written is dropped.
  virtual void OnClose(Connection& /*connection*/,
                       const CloseReason& /*reason*/) {}

  // For reports; by default the name of the class.
  virtual std::string Name() const;
};

}  // namespace fio

#endif  // FIO_CORE_LOOP_PROTOCOL_H_
