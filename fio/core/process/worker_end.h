// A WorkerEnd is what a worker process has of its Supervisor: it tells the root
// that it is ready, and hears what the root asks for and that it has died.
//
// It needs no signal: the root asks through a socket of its own for each
// worker, and its death is that socket's end, or a pidfd's news where another
// process that the root forked keeps the socket open. Kernels without
// pidfd_open(2), before Linux 5.3, have the socket alone; there Next() compares
// getppid(2) as well, each time that it is called.
//
// Thread safety: none.

#ifndef FIO_CORE_PROCESS_WORKER_END_H_
#define FIO_CORE_PROCESS_WORKER_END_H_

#include <sys/types.h>

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "fio/base/unique_fd.h"

namespace fio {

// How a worker is to stop, in this order.
enum class StopLevel : uint8_t {
  kNone,
  kGraceful,  // Its connections may end as they like.
  kCutOff,    // They are cut off.
  kKill,      // SIGKILL; no worker hears of it.
};

class WorkerEnd {
 public:
  struct Request {
    StopLevel stop = StopLevel::kNone;  // The highest that was asked for.
    bool root_died = false;             // True once.
  };

  WorkerEnd(const WorkerEnd&) = delete;
  WorkerEnd& operator=(const WorkerEnd&) = delete;
  ~WorkerEnd() = default;

  // Which of the workers this is: from 0, and the same for whoever replaces it.
  int place() const { return place_; }

  // The process that forked this one.
  pid_t root() const { return root_; }

  // The worker serves: an older one of its place may go. The first call tells
  // the root, later ones do nothing.
  void TellReady();

  // Readable while Next() may have something new to tell; the same ones all the
  // time. Call Next() once before the first wait: the root may have died while
  // it forked. Once it has told that the root died they stay readable, and
  // there is nothing more to hear.
  absl::Span<const int> fds() const { return fds_; }

  Request Next();

 private:
  friend class Supervisor;

  // In the child. `channel` is its end of the root's socket; `id` is told to
  // the root through `reports`.
  WorkerEnd(int place, pid_t root, uint64_t id, UniqueFd channel,
            UniqueFd reports);

  // Reads all of the channel; false at its end.
  bool ReadChannel();
  bool RootHasDied();

  const int place_;
  const pid_t root_;
  const uint64_t id_;
  const UniqueFd channel_;
  UniqueFd reports_;     // None once it is ready.
  UniqueFd root_pidfd_;  // None where the kernel has none.
  std::vector<int> fds_;
  StopLevel stop_ = StopLevel::kNone;
  bool told_death_ = false;
};

}  // namespace fio

#endif  // FIO_CORE_PROCESS_WORKER_END_H_
