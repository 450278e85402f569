// The listeners of a reactor: their sockets, which the root opens, and the
// The listeners of a reactor: their sockets, which the root opens, and the
// Listeners that accept on them in this process.
//
// Each socket that collects clients has a Listener that serves it, or will
// soon: a loop that cannot watch its socket makes the start fail, or tries
// again.
//
// Thread safety: none; all calls are made on the thread of the main loop.

#ifndef FIO_CORE_INTERNAL_LISTEN_SET_H_
#define FIO_CORE_INTERNAL_LISTEN_SET_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "fio/core/internal/loop_group.h"
#include "fio/core/listener.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/sock/listen_socket.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"

namespace fio {

enum class ListenerId : uint64_t;  // See reactor.h.

namespace core_internal {

class ListenSet {
 public:
  // The processes and loops that accept.
  struct Servers {
    size_t workers = 1;
    size_t loops = 1;            // Of each worker.
    bool root_is_apart = false;  // The root is no worker.
  };

  // Listens, with as many sockets as `servers` need. If a socket of `inherited`
  // has the address, it is used instead, and taken out of there. Errors: those
  // of Listener::Check(), Resolve() and ListenSocket::Listen(). All begin with
  // "listen" and the url.
  absl::StatusOr<ListenerId> Open(const Url& url, ListenOptions options,
                                  const Servers& servers,
                                  std::vector<ListenSocket>& inherited);

  // Instead of a worker's index: the root, if it is no worker.
  static constexpr size_t kRoot = static_cast<size_t>(-1);
  // Makes the loops of `group`, which are those of `worker`, accept on all
  // listeners that are meant for it. Errors: those of Listener::Create(), of
  // any loop. What fails on a loop that another thread runs already is logged;
  // the Listener itself retries what the kernel has no memory for.
  absl::Status Accept(LoopGroup& group, size_t worker);
  absl::Status Accept(ListenerId id, LoopGroup& group, size_t worker);

  // Lets the loops of `worker` serve also the sockets of `lent`'s worker, for
  // `time`, counted anew by each call. Sharing does no harm: the kernel gives
  // each connection to one process. Of another worker's sockets, each loop
  // takes those of the loop with its own index; of its own worker's, those of
  // all other loops. A loop looks once at a socket that it serves already, so
  // that a client does not wait for a wake-up that got lost. Listeners of the
  // root are left out. Failures are logged.
  void AcceptLent(LoopGroup& group, size_t worker, size_t lent,
                  absl::Duration time);

  // The sockets of the listeners that workers serve, and the worker of each; 0
  // for those that all share.
  struct Shared {
    size_t worker;
    std::shared_ptr<const ListenSocket> socket;
  };
  std::vector<Shared> SharedSockets() const;

  // Null if no listener has this id.
  const SocketAddress* FindAddress(ListenerId id) const;

  // May be called before anything accepts. False if no listener has this id.
  bool SetPaused(ListenerId id, bool paused, LoopGroup& group);
  // Closes the Listeners of this process, and then, as a task of the main loop,
  // calls on_finish; at once if nothing accepts. The sockets stop listening in
  // every process, unless workers that may go on share them. False if no
  // listener has this id.
  bool Close(ListenerId id, LoopGroup& group);
  // The same for all listeners, and for good: the sockets stop listening in
  // every process, if this process has opened them. Then calls `done`, in the
  // same task.
  void CloseAll(LoopGroup& group, std::function<void()> done);
  // The same, where nothing accepts. Calls each on_finish before it returns.
  void Drop() { Finish(std::exchange(entries_, {})); }

  // For a child of fork(2) that has a copy of the set, or after CloseAll():
  // destroys the Listeners.
  void ForgetAccepting() { accepting_.clear(); }

 private:
  enum class Sharing : uint8_t { kPerLoop, kPerWorker, kByAll };
  struct Entry {
    std::shared_ptr<const ListenOptions> options;
    Sharing sharing;
    Servers servers;
    SocketAddress address;
    std::vector<std::shared_ptr<ListenSocket>> sockets;

    // Workers, which may go on when the root closes it, accept on it.
    bool is_of_workers() const {
      return servers.root_is_apart && !options->root_only;
    }
    bool is_of_root() const {
      return servers.root_is_apart && options->root_only;
    }
  };
  // What one loop accepts on, by listener and index of the socket.
  using Key = std::pair<ListenerId, size_t>;
  struct Acceptor {
    std::unique_ptr<Listener> listener;  // Null while it is tried again.
    bool lent = false;
    TimerId timer = TimerId::kNone;  // The loan's end, or the next try.
  };
  // Which loop is to accept on which socket.
  struct Part {
    Key key;
    std::shared_ptr<const Entry> entry;
    size_t index;  // Of the loop.
    Loop& loop;
    std::vector<LoopHandle> targets;
  };
  // Each only on its loop's thread.
  using Accepting = absl::flat_hash_map<Key, Acceptor>;

  using Entries = absl::flat_hash_map<ListenerId, std::shared_ptr<const Entry>>;

  static void StopListening(const Entry& entry);
  static void Finish(const Entries& entries);
  static Sharing SharingOf(const Url& url, const ListenOptions& options,
                           const Servers& servers);
  static size_t SocketOf(const Entry& entry, size_t worker, size_t loop);
  static AcceptWakes WakesOf(const Entry& entry);
  Accepting& accepting(size_t loop) { return *accepting_[loop]; }
  void ReserveAccepting(size_t loops);
  std::vector<Key> KeysOf(ListenerId id, size_t loop) const;
  // The parts of Accept() and AcceptLent() that run on a loop's own thread.
  absl::Status AcceptOn(const Part& part, bool paused, AcceptWakes wakes);
  void AcceptOnOrRetry(const Part& part, bool paused);
  void AcceptLentOn(const Part& part, bool paused, absl::Duration time);
  void EndAccepting(const Key& key, size_t index, Loop& loop);

  Entries entries_;
  absl::flat_hash_set<ListenerId> paused_;
  std::vector<std::unique_ptr<Accepting>> accepting_;
  uint64_t last_id_ = 0;
};

}  // namespace core_internal
}  // namespace fio

#endif  // FIO_CORE_INTERNAL_LISTEN_SET_H_
