// A Listener accepts the connections of one listening socket on one loop.
// Listeners of other loops and processes may share the socket. It can hand a
// connection over to another loop.
//
// It accepts in batches with a bounded number of system calls, so that many new
// connections do not delay the open ones. When the process has no descriptor
// left, it closes one connection (see AtLimit) and accepts nothing for
// ListenOptions::back_off. When the kernel lacks memory, for accept4(2) or to
// watch the socket, it tries again after the same time. It never gives up.
//
// Thread safety: none; it belongs to the thread of its loop. Any thread may
// call stats().

#ifndef FIO_CORE_LISTENER_H_
#define FIO_CORE_LISTENER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/core/loop/loop_stats.h"
#include "fio/core/poller/event.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/core/transport_factory.h"
#include "fio/sock/listen_socket.h"
#include "fio/sock/socket.h"
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
  //   1. of those that were accepted at least a second ago and have a
  //      Connection::SetDeadline() pending, the one that was accepted first:
  //      its protocol still waits for the peer to complete something
  //   2. of those that have no deadline, the one whose last activity
  //      (Connection::last_active()) is the longest ago
  //   3. the one that was accepted first
  //
  // So bytes that a peer sends now and then count as progress, unless the
  // protocol has set a deadline. Only connections of this listener that its own
  // loop serves are considered. If there are none, as kShedWaiting. It costs 16
  // bytes for each connection, and a look at each of them per back-off.
  kShedUnproductive,
};

// on_open and transport run on the thread of the loop that serves the
// connection, on_accept and on_shed on that of the loop that accepts. If
// several loops share the options, the callbacks may run on several threads at
// the same time. They may close and pause the listener, but must not destroy
// it.
struct ListenOptions {
  // Called once for each connection, before all its other callbacks. It
  // attaches a protocol or closes the connection. Required.
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

  // Makes the transport of each connection; null for plain bytes. A url whose
  // scheme needs TLS (https, wss) is an error without one, since TLS is not
  // built yet. With one, fio does not check that it is TLS.
  TransportFactory transport = nullptr;

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

// What a Listener has done since it was created.
struct ListenerStats {
  uint64_t accepted = 0;  // All sockets but those that were shed at once.
  uint64_t rejected = 0;  // Of these, by on_accept or because a loop is gone.
  uint64_t handed_over = 0;  // Of these, to another loop.
  uint64_t shed = 0;         // Closed because of no descriptors or memory.
};

// How many of the listeners that share one socket a new connection wakes.
enum class AcceptWakes : uint8_t {
  kAll,
  kOne,  // Sometimes a few; see Trigger::kLevelExclusive.
};

class Listener {
 public:
  // Checks whether `url` and `options` are valid, without listening. Errors:
  // kInvalidArgument without an on_open, for a back_off that is not positive,
  // or for a datagram url; kUnimplemented for a url that asks for TLS without a
  // transport.
  static absl::Status Check(const Url& url, const ListenOptions& options);

  // Listens on the first address of `url` that can be bound. Blocks while a
  // name is resolved. `loop` must outlive the listener. Close() calls
  // on_finish. `root_only` and `balance` are ignored. Errors: those of
  // Check(), Resolve() and ListenOnAny(); those of Loop::Watch(), except
  // kResourceExhausted (ENOMEM, ENOSPC), which the listener itself retries
  // every back_off. All begin with "listen" and the url.
  static absl::StatusOr<std::unique_ptr<Listener>> Create(
      Loop& loop, const Url& url, ListenOptions options);

  // Accepts on a socket that other listeners may share. Its last owner closes
  // it. on_finish is not called, and `options->socket` is ignored. `targets`
  // are the loops that connections may be handed to, with the index of
  // AcceptVerdict::ToLoop(); `loop` may be among them. Errors: kInvalidArgument
  // if a pointer is null, without an on_open, or for a back_off that is not
  // positive; those of Loop::Watch(), as above. All begin with "listen" and the
  // address.
  static absl::StatusOr<std::unique_ptr<Listener>> Create(
      Loop& loop, std::shared_ptr<ListenSocket> socket,
      std::shared_ptr<const ListenOptions> options,
      std::vector<LoopHandle> targets = {},
      AcceptWakes wakes = AcceptWakes::kOne);

  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  // As Close(). REQUIRES: not called from a callback of its options.
  ~Listener();

  // Accepts nothing until Resume(). Clients wait in the kernel, up to the
  // backlog. A second call does nothing. If several listeners share the socket
  // with AcceptWakes::kOne, pause all of them: a wake-up that this one has had
  // is not repeated for the others.
  void Pause();
  void Resume();
  bool paused() const { return paused_; }

  // Stops accepting, at once. Connections that were handed over are still
  // opened.
  //
  // A listener that was created from a url stops listening in all processes
  // that have a copy of the socket (ListenSocket::StopListening()), unless this
  // is a child of fork(2): new clients are refused, and those that wait are
  // reset. A listener that was given a socket only releases it. With
  // AcceptWakes::kOne it first accepts the connections for which it may have
  // been the only one woken.
  //
  // After it no callback is called, with two exceptions: on_accept, transport
  // and on_open for a connection whose callback has called Close(), and on_open
  // for one that was handed over. A child of fork(2) that closes or destroys
  // its copy does not call on_finish.
  void Close();

  // The address it listens on, with the real port. Valid after Close() too.
  const SocketAddress& local_address() const { return local_address_; }

  // Any thread. The numbers are read one after the other, so they may be of
  // slightly different times.
  ListenerStats stats() const;

 private:
  Listener(Loop& loop, std::shared_ptr<ListenSocket> socket,
           std::shared_ptr<const ListenOptions> options,
           std::vector<LoopHandle> targets, bool owns_socket,
           AcceptWakes wakes);

  absl::Status Start();
  absl::Status UpdateWatch();
  void WatchOrBackOff();
  void AcceptWaiting();
  void AcceptFailed(int error);
  bool MakeRoom();
  bool ClientWaits() const;
  Connection* FindUnproductive();
  bool ShedUnproductive();
  void Remember(ConnectionId id);
  void OpenReserve();
  void BackOff(const absl::Status& cause);
  void WaitAWhile();
  void EndBackOff();
  void Place(Socket socket, const SocketAddress& peer);
  const LoopHandle* Choose(AcceptVerdict verdict);
  const LoopHandle* LeastLoaded();
  void Serve(Socket socket);
  void HandOver(Socket socket, const LoopHandle& target);

  Loop& loop_;
  const SocketAddress local_address_;
  const std::shared_ptr<const ListenOptions> options_;
  const std::vector<LoopHandle> targets_;
  const bool owns_socket_;
  const AcceptWakes wakes_;
  bool accepting_ = false;                // AcceptWaiting() is under way.
  std::shared_ptr<ListenSocket> socket_;  // Null once closed.
  // Closed to accept a client at the limit. None if there was no descriptor for
  // it; AcceptWaiting() tries again.
  UniqueFd reserve_;

  // With AtLimit::kShedUnproductive: the connections that this loop serves, and
  // some that have ended.
  struct Served {
    ConnectionId id;
    MonotonicTime since;
  };
  std::vector<Served> served_;

  // The watch of the socket; kNone while closed, paused or in a back-off.
  WatchId watch_ = WatchId::kNone;
  bool paused_ = false;
  TimerId back_off_ = TimerId::kNone;

  size_t next_target_ = 0;  // Where the search for the least loaded starts.

  struct {
    loop_internal::Counter accepted, rejected, handed_over, shed;
  } counters_;
};

}  // namespace fio

#endif  // FIO_CORE_LISTENER_H_
