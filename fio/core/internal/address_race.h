// An AddressRace connects to the first of several addresses that answers, as
// RFC 8305 ("Happy Eyeballs") describes: IPv6 and IPv4 addresses alternate, and
// each address has a head start over the next one. An address that fails is
// followed by the next one at once. The first that is established wins, with a
// transport the first whose handshake is done, and the others are closed.
//
//   AddressRace race_(loop, url, seed, {.on_open = ..., .on_failed = ...});
//   ...
//   race_.Begin(addresses, weak_from_this());
//
// A race ends in one of four ways: on_open, on_failed, GiveUp() or Cancel().
// Then the next one may begin. A race has no time limit of its own.
//
// The callbacks and the transport factory may call Cancel(), and may drop the
// owner that Begin() was given, and the AddressRace with it.
//
// Thread safety: none. It belongs to the thread of its loop, which runs the
// callbacks.

#ifndef FIO_CORE_INTERNAL_ADDRESS_RACE_H_
#define FIO_CORE_INTERNAL_ADDRESS_RACE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "fio/core/connection_limits.h"
#include "fio/core/internal/backoff.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/core/transport_factory.h"
#include "fio/sock/connect.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"

namespace fio::core_internal {

class AddressRace {
 public:
  // Most are those of ConnectorOptions.
  struct Options {
    // Required. Called with the connection that has won, when the others are
    // closed: before any other callback of the connection, never inside of
    // Begin().
    std::function<void(Connection&)> on_open;

    // Required. Called when every address has failed, also inside of Begin().
    // The message has the error of each address; the code is that of the first.
    // Also called if the loop does not take the connection that has won, with
    // the error of Loop::Adopt().
    std::function<void(const absl::Status& reason)> on_failed;

    // How long one address is tried before the next one is tried at the same
    // time.
    absl::Duration attempt_delay;

    // For the handshake of each transport.
    absl::Duration handshake_timeout;
    TransportFactory transport = nullptr;  // Null for none.

    ConnectionLimits limits = {};

    // With a local address, only addresses of the same family are tried.
    ConnectOptions socket = {};
  };

  // `url` is what transports are made for; it must outlive this. `loop` must
  // outlive each race. `seed` is of the delays before a Unix server whose queue
  // is full is tried again.
  AddressRace(Loop& loop, const Url& url, uint64_t seed, Options options);
  AddressRace(const AddressRace&) = delete;
  AddressRace& operator=(const AddressRace&) = delete;
  // As Cancel().
  ~AddressRace() { Cancel(); }

  // Begins a race. `owner` is what this is a part of, or this itself. The race
  // keeps it alive while it calls back, and at no other time. REQUIRES: `owner`
  // is alive, and the caller keeps it alive during the call; `addresses` is not
  // empty; no race is under way.
  void Begin(const std::vector<SocketAddress>& addresses,
             std::weak_ptr<const void> owner);

  // Ends the race as Cancel() does, and returns what became of it
  // (kDeadlineExceeded): `why`, the errors so far, and the addresses that have
  // not answered. REQUIRES: a race is under way.
  absl::Status GiveUp(std::string_view why);

  // Ends the race: closes its sockets and the connections whose handshake is
  // under way, and calls nothing back. A connection that on_open was called
  // with stays open. Does nothing if no race is under way.
  void Cancel();

 private:
  // A socket on its way, or the connection that was made of it and does its
  // handshake.
  struct Trial {
    int fd;  // -1 once its handshake has failed.
    Socket socket;
    SocketAddress address;
    WatchId watch = WatchId::kNone;
    TimerId pause = TimerId::kNone;
    ConnectionId connection = {};
  };
  using TrialIterator = std::vector<Trial>::iterator;

  void TryNext();
  void TryNextAfter(absl::Duration delay);
  absl::Status Try(const SocketAddress& address);
  absl::Status Watch(Trial& trial);
  void OnWritable(int fd);
  void AskLater(Trial& trial);
  void OnEstablished(int fd);
  void StartHandshake(Connection& connection);
  void OnHandshakeDone(Connection& connection, const absl::Status& status);
  void OnFailure(TrialIterator trial, const absl::Status& why);

  TrialIterator Find(int fd);
  TrialIterator Find(ConnectionId connection);
  Trial Take(TrialIterator trial);
  void End(TrialIterator trial);

  Loop& loop_;
  const Url& url_;
  const Options options_;
  Backoff queue_backoff_;

  // Of this race.
  std::weak_ptr<const void> owner_;
  std::vector<SocketAddress> addresses_;
  size_t next_ = 0;            // Of addresses_.
  std::vector<Trial> trials_;  // The newest last.
  TimerId stagger_ = TimerId::kNone;
  std::vector<absl::Status> errors_;  // Of a full queue, the latest only.
};

}  // namespace fio::core_internal

#endif  // FIO_CORE_INTERNAL_ADDRESS_RACE_H_
