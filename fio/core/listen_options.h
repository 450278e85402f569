// How a Listener accepts, and what it does with a connection before on_open.
//
// Thread safety: as a std::string; see ListenOptions for its callbacks.

#ifndef FIO_CORE_LISTEN_OPTIONS_H_
#define FIO_CORE_LISTEN_OPTIONS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "fio/core/connection_limits.h"
#include "fio/core/loop/connection.h"
#include "fio/core/transport_factory.h"
#include "fio/sock/listen_socket.h"
#include "fio/sock/proxy_options.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"

namespace fio {

// What happens to a connection that was accepted.
class AcceptVerdict {
 public:
  // It is served by the listener's loop, or by the loop that AcceptBalance
  // chooses.
  static constexpr AcceptVerdict Keep() { return AcceptVerdict(kKeep); }
  // It is closed at once. A peer that has sent something may see a reset.
  static constexpr AcceptVerdict Reject() { return AcceptVerdict(kReject); }
  // It is served by the loop with this index among those that the listener may
  // hand connections to. If there is no such loop any more, as Reject().
  static constexpr AcceptVerdict ToLoop(size_t index) {
    return AcceptVerdict(index);
  }

  constexpr bool keeps() const { return loop_ == kKeep; }
  constexpr bool rejects() const { return loop_ == kReject; }
  // REQUIRES: neither keeps() nor rejects().
  constexpr size_t loop() const { return loop_; }

  friend constexpr bool operator==(AcceptVerdict, AcceptVerdict) = default;

 private:
  static constexpr size_t kKeep = std::numeric_limits<size_t>::max();
  static constexpr size_t kReject = kKeep - 1;

  constexpr explicit AcceptVerdict(size_t loop) : loop_(loop) {}

  size_t loop_;
};

// Which loop of a process gets a connection.
enum class AcceptBalance : uint8_t {
  // Each loop accepts what the kernel gives it: on a socket of its own that
  // shares the address (ListenSocketOptions::reuse_port), or, for Unix sockets,
  // on one socket that all loops share. The numbers are even by chance only.
  kByKernel,
  // One loop of each process accepts, and hands each connection to the loop
  // that has the fewest. The numbers differ by one at most. It costs a task for
  // each connection.
  kLeastConnections,
};

// Which connection is closed when a client waits and the process has no
// descriptor left to accept it with (EMFILE, ENFILE): one per back-off.
enum class AtLimit : uint8_t {
  // The waiting client that came first. Open connections stay open.
  kShedWaiting,

  // An open connection that makes no progress. It ends as by
  // Connection::Abort(), and the client that waits is accepted in its place. It
  // is the first of these that exists:
  //
  //   1. of those that were accepted at least a second ago and have a handshake
  //      under way or a Connection::SetDeadline() pending, the one that was
  //      accepted first: it still waits for the peer to complete something
  //   2. of those that have neither, the one whose last activity
  //      (Connection::last_active()) is the longest ago
  //   3. the one that was accepted first
  //
  // So bytes that a peer sends now and then count as progress, unless the
  // protocol has set a deadline. Only connections of this listener that its own
  // loop serves are considered. If there are none, as kShedWaiting. It costs 16
  // bytes for each connection, and a look at each of them per back-off.
  kShedUnproductive,
};

// A connection goes this way: on_accept, the PROXY header (`proxy`), the
// handshake of its transport, on_open. What has neither header nor transport is
// open as soon as it is accepted.
//
// on_open, on_handshake_failed and transport run on the thread of the loop that
// serves the connection, on_accept and on_shed on that of the loop that
// accepts. If several loops share the options, the callbacks may run on several
// threads at the same time. They may close and pause the listener, but must not
// destroy it.
struct ListenOptions {
  // Called once for each connection, before all its other callbacks, when its
  // handshake is done. It attaches a protocol or closes the connection. What
  // the peer has sent behind the handshake is there to read. Required.
  std::function<void(Connection&)> on_open = nullptr;

  // Called for each accepted socket before it becomes a connection. Null keeps
  // all.
  std::function<AcceptVerdict(const SocketAddress& peer)> on_accept = nullptr;

  // Called when there is no descriptor or no memory to accept with, once per
  // back-off. `error` is the errno, `shed` is ListenerStats::shed.
  std::function<void(int error, uint64_t shed)> on_shed = nullptr;

  // Called once in each process that listens, after its last accept. A Reactor
  // calls it on the thread of Run(), before the lifecycle's kOnFinish. If
  // listening fails, it is called inside the call that fails.
  std::function<void()> on_finish = nullptr;

  // Makes the transport of each connection; null for plain bytes, or for what
  // `secure` makes. fio does not check that it is TLS. A url with keys for TLS
  // (cert, key and others, see Url) is an error with it: nobody would use them.
  TransportFactory transport = nullptr;

  // Makes `transport` for a url whose scheme needs TLS (tls, https, wss). Such
  // a url is an error if neither is set.
  SecureTransport secure = nullptr;

  // How long a handshake may take, from the making of its transport. Positive;
  // infinite for no bound.
  absl::Duration handshake_timeout = absl::Seconds(10);

  // How many connections of this listener, on each loop that accepts, may be
  // before the end of their handshake, or of their PROXY header, at the same
  // time. Beyond it new clients wait in the kernel, as by Pause(), until one
  // ends. 0 means no bound.
  size_t max_handshakes = 1024;

  // Called once for each connection that ends before on_open: with `peer` as of
  // TransportRequest, and why. kDeadlineExceeded: it took too long.
  // kUnavailable: the peer has ended its stream. kCancelled: the loop ends, or
  // something has closed the connection. kInternal: no transport was made.
  // kInvalidArgument: the PROXY header is malformed. Otherwise
  // Transport::status(). The connection is closed, and is not for anybody. With
  // or without it, one failure a second is logged (INFO).
  std::function<void(const SocketAddress& peer, const absl::Status& why)>
      on_handshake_failed = nullptr;

  // The connections are those of a proxy, which says in a header (the PROXY
  // protocol) who its client is; see docs/proxy-protocol.md. `proxy` and
  // `proxy_trust` of the url replace what is set here.
  std::optional<ProxyOptions> proxy = {};

  // What each connection may keep in memory.
  ConnectionLimits limits = {};

  // How long nothing is accepted after a failure, and how long until the next
  // attempt to watch the socket. Positive.
  absl::Duration back_off = absl::Milliseconds(50);

  AtLimit at_limit = AtLimit::kShedWaiting;

  // In a cluster, the root process accepts and no worker does. A single process
  // ignores it.
  bool root_only = false;

  AcceptBalance balance = AcceptBalance::kByKernel;

  // Options of the listening socket. Accepted sockets inherit some of them.
  ListenSocketOptions socket = {};
};

// kInvalidArgument without an on_open, for a back_off, handshake_timeout or
// proxy that makes no sense.
absl::Status CheckListenOptions(const ListenOptions& options);

// The options to listen on `url` with: they have what its query says and what
// `secure` makes, and tell the transport's factory of the url. Errors: as
// CheckListenOptions(); those of ApplyQuery() and of `secure`; kInvalidArgument
// for a datagram url, for a url that needs TLS without `transport` and
// `secure`, and for one with keys that `transport` does not use.
absl::StatusOr<ListenOptions> CompleteListenOptions(const Url& url,
                                                    ListenOptions options);

}  // namespace fio

#endif  // FIO_CORE_LISTEN_OPTIONS_H_
