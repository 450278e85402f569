// The listeners of a reactor: their sockets, which the root opens, and the
// Listeners that accept on them in this process.
//
// Each listening socket has a Listener, or gets one soon: a loop that cannot
// watch its socket makes the start fail, or tries again.
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
    bool root_is_apart = false;  // The root is not a worker.
  };

  // Opens as many listening sockets as `servers` need. If a socket of
  // `inherited` has the address, it is used instead, and removed from there.
  // Errors: those of Listener::Check(), Resolve() and ListenSocket::Listen().
  // All begin with "listen" and the url.
  absl::StatusOr<ListenerId> Open(const Url& url, ListenOptions options,
                                  const Servers& servers,
                                  std::vector<ListenSocket>& inherited);

  // Used instead of a worker's index for a root that is not a worker.
  static constexpr size_t kRoot = static_cast<size_t>(-1);
  // Makes the loops of `group`, which are those of `worker`, accept on all
  // listeners that are meant for it. Errors: those of Listener::Create(), of
  // any loop. A failure on a loop that another thread runs already is logged.
  // If the kernel has no memory, the Listener tries again.
  absl::Status Accept(LoopGroup& group, size_t worker);
  absl::Status Accept(ListenerId id, LoopGroup& group, size_t worker);

  // Makes the loops of `worker` accept also on the sockets of worker `lent`,
  // for `time`; each call starts the time again. Sharing does no harm: the
  // kernel gives each connection to one process. If `lent` is another worker,
  // each loop takes the sockets of the loop with the same index; if it is
  // `worker` itself, each loop takes those of all other loops. A socket that a
  // loop serves already is checked once, in case a wake-up was lost. Listeners
  // of the root are not included. Failures are logged.
  void AcceptLent(LoopGroup& group, size_t worker, size_t lent,
                  absl::Duration time);

  // The sockets of the listeners that workers serve, and the worker of each; 0
  // for sockets that all workers share.
  struct Shared {
    size_t worker;
    std::shared_ptr<const ListenSocket> socket;
  };
  std::vector<Shared> SharedSockets() const;

  // Returns what ends listening on all sockets of the set, in every process,
  // for a worker whose root has died. It may be called at any time, on any
  // thread, also when this set has gone; it takes no lock and allocates
  // nothing. A socket that this process has closed is left alone, and so is one
  // that is added later.
  std::function<void()> StopForRoot() const;

  // Null if no listener has this id.
  const SocketAddress* FindAddress(ListenerId id) const;

  // May be called before anything accepts. False if no listener has this id.
  bool SetPaused(ListenerId id, bool paused, LoopGroup& group);
  // Closes the Listeners of this process, and then, as a task of the main loop,
  // calls on_finish; at once if nothing accepts. The sockets stop listening in
  // every process, unless workers that may go on share them: each when the
  // first Listener on it has closed. If a loop hangs in a callback, on_finish
  // waits for it, but the sockets stop listening after kPatience. False if no
  // listener has this id.
  bool Close(ListenerId id, LoopGroup& group);
  // Closes all listeners: the sockets stop listening in every process, if this
  // process opened them. Then calls `done`, in the same task. If a loop hangs,
  // as Close().
  void CloseAll(LoopGroup& group, std::function<void()> done);
  // Like CloseAll(), when nothing accepts yet. Calls each on_finish before it
  // returns.
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

    // Workers accept on it; they may continue when the root closes it.
    bool is_of_workers() const {
      return servers.root_is_apart && !options->root_only;
    }
    bool is_of_root() const {
      return servers.root_is_apart && options->root_only;
    }
  };
  // Identifies a socket: the listener and the index of the socket.
  using Key = std::pair<ListenerId, size_t>;
  struct Acceptor {
    std::unique_ptr<Listener> listener;  // Null until the next attempt.
    bool lent = false;
    bool paused = false;             // For the next attempt.
    TimerId timer = TimerId::kNone;  // End of the lending, or next attempt.
  };
  // One loop that is to accept on one socket.
  struct Part {
    Key key;
    std::shared_ptr<const Entry> entry;
    size_t index;  // Of the loop.
    Loop& loop;
    std::vector<LoopHandle> targets;
  };
  // Each one is used only on its loop's thread.
  using Accepting = absl::flat_hash_map<Key, Acceptor>;

  using Entries = absl::flat_hash_map<ListenerId, std::shared_ptr<const Entry>>;

  // How long a socket may listen after the request to close it.
  static constexpr absl::Duration kPatience = absl::Milliseconds(100);

  static void StopListening(const Entries& entries);
  static void CallOnFinish(const Entries& entries);
  static void Finish(const Entries& entries);
  void End(Entries entries, bool stops_listening, LoopGroup& group,
           std::function<void()> done);
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
