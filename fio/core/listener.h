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
// A connection with a transport is given to on_open when its handshake is done;
// see ListenOptions:
//
//   auto listener = fio::Listener::Create(
//       loop, *fio::Url::Parse("tcp://0.0.0.0:443"),
//       {.on_open = Serve,
//        .transport = [](const fio::TransportRequest&) { return NewTls(); },
//        .handshake_timeout = absl::Seconds(5)});
//
// Thread safety: none; it belongs to the thread of its loop. Any thread may
// call stats().

#ifndef FIO_CORE_LISTENER_H_
#define FIO_CORE_LISTENER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/listen_options.h"  // IWYU pragma: export
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/core/loop/loop_stats.h"
#include "fio/core/poller/event.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/sock/listen_socket.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"

namespace fio {

namespace core_internal {
class Openings;
}

// What a Listener has done since it was created.
struct ListenerStats {
  uint64_t accepted = 0;  // All sockets but those that were shed at once.
  // Of these, by on_accept, as no trusted proxy, or because a loop is gone.
  uint64_t rejected = 0;
  uint64_t handed_over = 0;  // Of these, to another loop.
  uint64_t shed = 0;         // Closed because of no descriptors or memory.
  // Of those accepted: which have ended before on_open,
  uint64_t handshakes_failed = 0;
  // and how many are before the end of their handshake, or PROXY header, now.
  uint64_t handshakes_under_way = 0;

  ListenerStats& operator+=(const ListenerStats& other);
};

// How many of the listeners that share one socket a new connection wakes.
enum class AcceptWakes : uint8_t {
  kAll,
  kOne,  // Sometimes a few; see Trigger::kLevelExclusive.
};

class Listener {
 public:
  // Checks whether `url` and `options` are valid, without listening: the errors
  // of CompleteListenOptions(). Calls `secure`, as Create() does.
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
  // if a pointer is null, if `options->secure` is set, which needs a url, and
  // as CheckListenOptions(); those of Loop::Watch(), as above. All begin with
  // "listen" and the address.
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

  // Stops accepting, at once. Connections that were handed over, and those
  // whose handshake is under way, are still opened.
  //
  // A listener that was created from a url stops listening in all processes
  // that have a copy of the socket (ListenSocket::StopListening()), unless this
  // is a child of fork(2): new clients are refused, and those that wait are
  // reset. A listener that was given a socket only releases it. With
  // AcceptWakes::kOne it first accepts the connections for which it may have
  // been the only one woken.
  //
  // After it no callback is called, but those of connections that were accepted
  // before: transport, on_open and on_handshake_failed, and on_accept for one
  // whose callback has called Close(). A child of fork(2) that closes or
  // destroys its copy does not call on_finish.
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
  void Serve(Socket socket, const SocketAddress& peer);
  void HandOver(Socket socket, const SocketAddress& peer,
                const LoopHandle& target);
  bool HasRoom();
  void OnRoom();

  Loop& loop_;
  const SocketAddress local_address_;
  const std::shared_ptr<const ListenOptions> options_;
  const std::shared_ptr<core_internal::Openings> openings_;
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

  // The watch of the socket; kNone while closed, paused, full or in a back-off.
  WatchId watch_ = WatchId::kNone;
  bool paused_ = false;
  bool full_ = false;  // ListenOptions::max_handshakes are under way.
  TimerId back_off_ = TimerId::kNone;

  size_t next_target_ = 0;  // Where the search for the least loaded starts.

  struct {
    loop_internal::Counter accepted, rejected, handed_over, shed;
  } counters_;
};

}  // namespace fio

#endif  // FIO_CORE_LISTENER_H_
