// A Connector makes a connection to a url, and on demand makes it again
// whenever it fails or has ended.
//
//   Connector::Create(loop, resolver, "tcp://example.org:80",
//                     {.on_open = [](Connection& connection) {
//                        connection.Attach(std::make_unique<Client>());
//                      }});
//
// An attempt resolves the name off the loop, then tries its addresses as RFC
// 8305 ("Happy Eyeballs") has it: families take turns, and each address has a
// head start over the next one; the first that is established wins, and the
// others are closed. Writable is not established: the kernel must have no error
// for the socket, and know its peer; and that must not be the socket itself, as
// TCP to a free port of this machine may have it.
//
// Thread safety: none. It belongs to the thread of its loop, which makes all
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
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/resolver.h"
#include "fio/core/transport_factory.h"
#include "fio/sock/connect.h"

namespace fio {

// Callbacks may do anything, and end or destroy the connector, but not the
// loop or the resolver.
struct ConnectorOptions {
  // Required. Called for each connection once it is established, before
  // anything else is told of it. It attaches a protocol or closes.
  std::function<void(Connection&)> on_open = nullptr;

  // Called for each attempt that has come to no connection, once, with
  // "connect", the url, and the error of each address that was tried:
  // kDeadlineExceeded if it took too long, else the code of the first of them.
  // Never inside of Create(); not for attempts that Cancel() ends.
  std::function<void(const absl::Status& reason)> on_failed = nullptr;

  // Called once, when no further attempt will be made: last of all.
  std::function<void()> on_finish = nullptr;

  // How long an attempt may take, from the name to the connection; the
  // connection is not bound by it. Zero is the default.
  absl::Duration timeout = absl::Seconds(30);

  // Whether to try again after a failure, and after the connection has ended.
  bool reconnect = false;

  // How long to wait before that: twice as long after each failure in a row, up
  // to the maximum, and anew after each success. Each is made up to a quarter
  // shorter or longer, drawn from the seed; zero draws a seed, too.
  absl::Duration reconnect_delay = absl::Milliseconds(150);
  absl::Duration max_reconnect_delay = absl::Seconds(30);
  uint64_t jitter_seed = 0;

  // How long an address is tried before the next one is tried beside it.
  absl::Duration attempt_delay = absl::Milliseconds(250);

  // What bytes pass; null for nothing.
  TransportFactory transport = nullptr;

  // In a cluster only the root process connects. For a Reactor; a Connector
  // does not look at it.
  bool master_only = false;

  // With a local address, addresses of other families are left out.
  ConnectOptions socket = {};
};

class Connector {
 public:
  enum class State : uint8_t {
    kResolving,
    kConnecting,
    kConnected,
    kWaiting,   // For the next attempt.
    kFinished,  // on_finish was called; the connection may live on.
  };

  struct Stats {
    uint64_t attempts = 0;
    uint64_t opened = 0;
    uint64_t failed = 0;
  };

  // Begins the first attempt. `loop` and `resolver` outlive the connector.
  //
  // Errors: kInvalidArgument without an on_open, for a url that is none, has no
  // port (or 0), or is for datagrams, and for durations that make no sense. All
  // begin with "connect" and the url; on_finish has then been called.
  static absl::StatusOr<std::unique_ptr<Connector>> Create(
      Loop& loop, Resolver& resolver, std::string_view url,
      ConnectorOptions options);

  // The errors that Create() would have, and nothing else.
  static absl::Status Check(std::string_view url,
                            const ConnectorOptions& options);

  Connector(const Connector&) = delete;
  Connector& operator=(const Connector&) = delete;
  // As Cancel().
  ~Connector();

  // Makes no further attempt, closes what is under way, and calls on_finish,
  // unless it was called. An established connection stays. The loop cancels,
  // too, when its Run() ends, and does not try again while it stops.
  void Cancel();

  State state() const;

  // The connection that was made, until it has ended; else none.
  ConnectionId connection() const;

  const Stats& stats() const;

 private:
  // What callbacks of the loop and the resolver may find gone.
  class Impl;

  explicit Connector(std::shared_ptr<Impl> impl);

  const std::shared_ptr<Impl> impl_;
};

}  // namespace fio

#endif  // FIO_CORE_CONNECTOR_H_
