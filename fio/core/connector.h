// A Connector connects to a url. With `reconnect` it connects again after each
// failure and each end of a connection.
//
//   Connector::Create(loop, resolver, "tcp://example.org:80",
//                     {.on_open = [](Connection& connection) {
//                        connection.Attach(std::make_unique<Client>());
//                      }});
//
// An attempt first resolves the name, without blocking the loop. Then it tries
// the addresses as RFC 8305 ("Happy Eyeballs") describes: IPv6 and IPv4
// addresses alternate, and each address has a head start over the next one. The
// first address that is established wins, and the other sockets are closed.
//
// With a transport an address is established when the handshake is done. Until
// then on_open is not called, and a handshake that fails counts as an address
// that has refused: the next one is tried, and if there is none the attempt has
// failed.
//
// A TCP connection counts as established when the handshake was completed, also
// if the peer has reset it since: on_open is then called, and the protocol gets
// the bytes that came before the reset, and the error. A socket that is
// connected to itself, which can happen for a free port of this machine, counts
// as refused. A Unix server whose queue is full is tried again until the
// attempt times out, after 1 ms at first and up to 100 ms later.
//
// Thread safety: none. It belongs to the thread of its loop, which runs all
// callbacks.

#ifndef FIO_CORE_CONNECTOR_H_
#define FIO_CORE_CONNECTOR_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "fio/core/connection_limits.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/resolver.h"
#include "fio/core/transport_factory.h"
#include "fio/sock/connect.h"

namespace fio {

// Callbacks may cancel or destroy the connector. They must not destroy the loop
// or the resolver.
struct ConnectorOptions {
  // Required. Called once for each connection, when it is established, before
  // any other callback of the connection. It attaches a protocol or closes.
  std::function<void(Connection&)> on_open = nullptr;

  // Called once for each attempt that made no connection. The message has
  // "connect", the url, and the error of each address that was tried, of a
  // handshake what Transport::status() said. The code is kDeadlineExceeded if
  // the attempt took too long, otherwise that of the first error. Never called
  // inside of Create(), nor for an attempt that Cancel() ends.
  std::function<void(const absl::Status& reason)> on_failed = nullptr;

  // Called once, when no further attempt will be made. The last callback.
  std::function<void()> on_finish = nullptr;

  // How long one attempt may take, from resolving the name to the end of the
  // handshake.
  // It does not limit the life of the connection. Zero means the default.
  absl::Duration timeout = absl::Seconds(30);

  // Whether to try again after a failure, and after the connection has ended.
  bool reconnect = false;

  // How long to wait before the next attempt. The delay doubles after each
  // failure in a row, up to the maximum; a success resets it. A connection that
  // the peer has refused (CloseReason::detail is kPermissionDenied), as with
  // TLS 1.3 it does after on_open, is a success only if it has lasted as long
  // as the maximum. Each delay is then made up to a quarter shorter or longer,
  // at random. `jitter_seed` seeds the random numbers; 0 means a different seed
  // for each connector.
  absl::Duration reconnect_delay = absl::Milliseconds(150);
  absl::Duration max_reconnect_delay = absl::Seconds(30);
  uint64_t jitter_seed = 0;

  // How long one address is tried before the next one is tried at the same
  // time.
  absl::Duration attempt_delay = absl::Milliseconds(250);

  // Makes the Transport of each connection, for example TLS. Null for none. It
  // is asked for each address that TCP has connected to. If it returns null,
  // that address has failed (kInternal).
  TransportFactory transport = nullptr;

  // As in ListenOptions: makes `transport` for a url whose scheme needs TLS.
  SecureTransport secure = nullptr;

  // What each connection may keep in memory.
  ConnectionLimits limits = {};

  // Reactor::Connect(): in a cluster only the root process connects. A
  // Connector itself ignores it.
  bool root_only = false;

  // With a local address, only addresses of the same family are tried.
  ConnectOptions socket = {};
};

class Connector {
 public:
  enum class State : uint8_t {
    kResolving,
    kConnecting,
    kConnected,
    kWaiting,   // For the next attempt.
    kFinished,  // on_finish was called; the connection may still be open.
  };

  struct Stats {
    uint64_t attempts = 0;
    uint64_t opened = 0;
    uint64_t failed = 0;
  };

  // Begins the first attempt. `loop` and `resolver` must outlive the connector.
  // Call it on the thread of `loop`; the resolver may serve other loops as
  // well.
  //
  // Errors: those of `secure`; kInvalidArgument without an on_open, for a bad
  // url, a url without a port, with port 0, one for datagrams or with a key
  // that is for listening or that `transport` does not use, one that needs TLS
  // without `transport` and `secure`, and for negative or contradictory
  // durations. Each message begins with "connect" and the url. on_finish has
  // then been called.
  static absl::StatusOr<std::unique_ptr<Connector>> Create(
      Loop& loop, Resolver& resolver, std::string_view url,
      ConnectorOptions options);

  // Returns the error that Create() would return, and does nothing else. Calls
  // `secure`, as Create() does.
  static absl::Status Check(std::string_view url,
                            const ConnectorOptions& options);

  // The same, and then puts into `options` what `secure` has made: Create()
  // with them and the same url does not call it again.
  static absl::Status Prepare(std::string_view url, ConnectorOptions& options);

  Connector(const Connector&) = delete;
  Connector& operator=(const Connector&) = delete;
  // As Cancel(). In a child of fork(2) that has inherited the connector,
  // on_finish is not called.
  ~Connector();

  // Ends the current attempt: cancels the look-up of the name, and closes the
  // sockets and the connections whose handshake is under way. Makes no further
  // attempt, and calls on_finish, unless it was called before. An established
  // connection stays open. The loop does the same when its Run() ends; while it
  // stops it makes no further attempt.
  void Cancel();

  State state() const;

  // The established connection, until it has ended; otherwise no connection.
  ConnectionId connection() const;

  const Stats& stats() const;

 private:
  // Callbacks of the loop and the resolver hold weak references to it.
  class Impl;

  explicit Connector(std::shared_ptr<Impl> impl);

  const std::shared_ptr<Impl> impl_;
};

}  // namespace fio

#endif  // FIO_CORE_CONNECTOR_H_
