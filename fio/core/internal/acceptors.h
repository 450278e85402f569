// The Listeners of one process: which of its loops accept on which sockets of a
// ListenSet.
//
// Each socket of the process has a Listener, or gets one soon: a loop that
// cannot watch its socket makes the start fail, or tries again.
//
// Thread safety: none; all calls are made on the thread of the main loop. The
// Listeners of a loop are used on its thread only.

#ifndef FIO_CORE_INTERNAL_ACCEPTORS_H_
#define FIO_CORE_INTERNAL_ACCEPTORS_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "fio/core/internal/listen_entry.h"
#include "fio/core/internal/listen_set.h"
#include "fio/core/internal/loop_group.h"
#include "fio/core/listener.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/core/timer/timer_wheel.h"

namespace fio::core_internal {

class Acceptors {
 public:
  // For the loops of worker `worker`, or of the root: kRoot. Both references
  // must outlive it.
  Acceptors(LoopGroup& group, const ListenSet& listeners, size_t worker)
      : group_(group), listeners_(listeners), worker_(worker) {}
  Acceptors(const Acceptors&) = delete;
  Acceptors& operator=(const Acceptors&) = delete;
  // REQUIRES: no thread runs a loop of the group.
  ~Acceptors() = default;

  // Makes the loops accept on all listeners that are meant for this process.
  // Errors: those of Listener::Create(), of any loop. A failure on a loop that
  // another thread runs already is logged. If the kernel has no memory, the
  // Listener tries again.
  absl::Status Accept();
  // The same for one. REQUIRES: it is in the set.
  absl::Status Accept(ListenerId id);

  // Makes the loops accept also on the sockets of worker `lent`, for `time`;
  // each call starts the time again. Sharing does no harm: the kernel gives
  // each connection to one process. If `lent` is another worker, each loop
  // takes the sockets of the loop with the same index; if it is this worker
  // itself, each loop takes those of all other loops. A socket that a loop
  // serves already is checked once, in case a wake-up was lost. Listeners of
  // the root are not included. Failures are logged.
  void AcceptLent(size_t lent, absl::Duration time);

  // Pauses or resumes the Listeners, as the set says.
  void UpdatePaused(ListenerId id);

  // Adds up what the Listeners of `id` have done, and calls `done` with it on
  // the main loop.
  void GetStats(ListenerId id, std::function<void(const ListenerStats&)> done);

  // Whether there has been no Accept() since Clear().
  bool are_none() const { return accepting_.empty(); }

  // Closes the Listeners of `entries`, which were taken from the set, and then,
  // as a task of the main loop, calls each on_finish and `done`, which may be
  // null. With `stops_listening` the sockets stop listening in every process,
  // if this process opened them: each when the first Listener on it has closed.
  // If a loop hangs in a callback, on_finish waits for it, but the sockets stop
  // listening after kPatience.
  void End(ListenEntries entries, bool stops_listening,
           std::function<void()> done);

  // Destroys the Listeners that are left. REQUIRES: as the destructor.
  void Clear() { accepting_.clear(); }

 private:
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
    std::shared_ptr<const ListenEntry> entry;
    size_t index;  // Of the loop.
    Loop& loop;
    std::vector<LoopHandle> targets;
  };
  // Each one is used only on its loop's thread.
  using Accepting = absl::flat_hash_map<Key, Acceptor>;

  // How long a socket may listen after the request to close it.
  static constexpr absl::Duration kPatience = absl::Milliseconds(100);

  Accepting& accepting(size_t loop) { return *accepting_[loop]; }
  void Reserve(size_t loops);
  std::vector<Key> KeysOf(ListenerId id, size_t loop) const;
  // The parts of Accept() and AcceptLent() that run on a loop's own thread.
  absl::Status AcceptOn(const Part& part, bool paused, AcceptWakes wakes);
  void AcceptOnOrRetry(const Part& part, bool paused);
  void AcceptLentOn(const Part& part, bool paused, absl::Duration time);
  void EndOn(const Key& key, size_t index, Loop& loop);

  LoopGroup& group_;
  const ListenSet& listeners_;
  const size_t worker_;
  std::vector<std::unique_ptr<Accepting>> accepting_;
};

}  // namespace fio::core_internal

#endif  // FIO_CORE_INTERNAL_ACCEPTORS_H_
