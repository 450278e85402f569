// A Listener accepts the connections of one listening socket for one loop. The
// socket may be shared with listeners of other loops, threads and processes;
// and a connection may be handed to another loop.
//
// It accepts in batches, so that a flood of new connections does not starve the
// old ones. Out of descriptors it closes one of those who wait, by a descriptor
// that it keeps for this, and backs off; nothing spins.
//
// Thread safety: none; it belongs to the thread of its loop. stats() is for any
// thread.

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
#include "fio/base/unique_fd.h"
#include "fio/core/loop/connection.h"
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

// What becomes of a connection that was accepted.
class AcceptVerdict {
 public:
  // Served: by the listener's loop, or by that which AcceptBalance chooses.
  static constexpr AcceptVerdict Keep() { return AcceptVerdict(kKeep); }
  // Closed at once; a peer that has sent something may see a reset.
  static constexpr AcceptVerdict Reject() { return AcceptVerdict(kReject); }
  // Served by that one of the loops that the listener may hand connections to.
  // If there is no such loop, or it has gone, as Reject().
  static constexpr AcceptVerdict ToLoop(size_t index) {
    return AcceptVerdict(index);
  }

  constexpr bool keeps() const { return loop_ == kKeep; }
  constexpr bool rejects() const { return loop_ == kReject; }
  // REQUIRES: neither of these.
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
  // Each loop accepts what the kernel deals out: on a socket of its own that
  // shares the address (ListenSocketOptions::reuse_port), or, for Unix sockets,
  // on one that they share. Even by chance only.
  kByKernel,
  // One loop of each process accepts, and hands each connection to the loop
  // that has the fewest. Even to one connection, for a task each.
  kLeastConnections,
};

// The callbacks run on the threads of the loops that accept, on_open and
// transport on those of the loops that serve: where several loops share the
// options, possibly on several at once. They may close and pause the listener,
// and must not destroy it.
struct ListenOptions {
  // Called once for each connection, before anything else is told of it. It
  // attaches a protocol or closes.
  std::function<void(Connection&)> on_open = nullptr;

  // Called for each accepted socket before it is a connection; null keeps all.
  std::function<AcceptVerdict(const SocketAddress& peer)> on_accept = nullptr;

  // Called when there are no descriptors or no memory to accept with, once per
  // back-off: with the errno, and how many the listener has shed so far.
  std::function<void(int error, uint64_t shed)> on_shed = nullptr;

  // Called once per process that listens, after its last accept; by Reactor on
  // the thread of Run(), before the lifecycle's kOnFinish. If it could not
  // listen, by the call that failed.
  std::function<void()> on_finish = nullptr;

  // What the bytes of each connection pass; null for nothing.
  TransportFactory transport = nullptr;

  // How long to accept nothing once there is nothing to accept with.
  absl::Duration back_off = absl::Milliseconds(50);

  // In a cluster, the root process accepts and no worker does. In a single
  // process it means nothing.
  bool master_only = false;

  AcceptBalance balance = AcceptBalance::kByKernel;

  // Of the listening socket, and what accepted ones inherit from it.
  ListenSocketOptions socket = {};
};

// What a Listener has done since it was made.
struct ListenerStats {
  uint64_t accepted = 0;  // Sockets, but for those that were shed;
  uint64_t rejected = 0;  // of these: by on_accept, or since no loop takes it,
  uint64_t handed_over = 0;  // and to another loop.
  uint64_t shed = 0;         // Closed for want of descriptors or memory.
};

// Who is woken by a connection, of those that accept on one socket.
enum class AcceptWakes : uint8_t {
  kAll,
  kOne,  // Or a few; Trigger::kLevelExclusive.
};

class Listener {
 public:
  // Listens on the first address of `url` that can be bound; blocks while a
  // name is resolved. `loop` outlives the listener. on_finish is called by
  // Close(); `master_only` and `balance` mean nothing. Errors: kInvalidArgument
  // without an on_open, for a back_off that is not positive, or for datagrams;
  // those of Resolve(), ListenOnAny() and Loop::Watch(). All begin with
  // "listen" and the url.
  static absl::StatusOr<std::unique_ptr<Listener>> Create(
      Loop& loop, const Url& url, ListenOptions options);

  // Accepts on a socket that others may use as well. It is closed with its last
  // owner; on_finish is not called, and `options->socket` not looked at.
  // `targets` are the loops that connections may be handed to, in the order of
  // AcceptVerdict::ToLoop(), `loop` among them or not. Errors:
  // kInvalidArgument if one of the pointers is null, or as above; those of
  // Loop::Watch(). All begin with "listen" and the address.
  static absl::StatusOr<std::unique_ptr<Listener>> Create(
      Loop& loop, std::shared_ptr<ListenSocket> socket,
      std::shared_ptr<const ListenOptions> options,
      std::vector<LoopHandle> targets = {},
      AcceptWakes wakes = AcceptWakes::kOne);

  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  // As Close(). REQUIRES: not called from a callback of its options.
  ~Listener();

  // Accepts nothing until Resume(): who comes waits in the kernel, as far as
  // the backlog goes. It does not count. Where several share a socket, pause
  // all: what one was told of, the others may hear of with the next connection
  // only.
  void Pause();
  void Resume();
  bool paused() const { return paused_; }

  // Accepts no more, at once. Connections that wait are reset, if the socket is
  // not shared; with AcceptWakes::kOne, those that this listener may have been
  // woken for, and no other, are opened before. Those that were handed over are
  // opened all the same.
  void Close();

  // With the real port, also after Close().
  const SocketAddress& local_address() const { return local_address_; }

  // Any thread; each number for itself is right.
  ListenerStats stats() const;

 private:
  Listener(Loop& loop, std::shared_ptr<ListenSocket> socket,
           std::shared_ptr<const ListenOptions> options,
           std::vector<LoopHandle> targets, bool owns_socket,
           AcceptWakes wakes);

  absl::Status UpdateWatch();
  void WatchOrBackOff();
  void AcceptWaiting();
  void AcceptFailed(int error);
  bool ShedOne();
  void OpenReserve();
  void BackOff(int error);
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
  UniqueFd reserve_;  // None if there was no descriptor for it.

  // Watched, unless it is closed or paused or backs off.
  WatchId watch_ = WatchId::kNone;
  bool paused_ = false;
  TimerId back_off_ = TimerId::kNone;

  size_t next_target_ = 0;  // Who comes first among equals.

  struct {
    loop_internal::Counter accepted, rejected, handed_over, shed;
  } counters_;
};

}  // namespace fio

#endif  // FIO_CORE_LISTENER_H_
