// A WorkerEnd is a worker's connection to its Supervisor. It reports to the
// root that the worker is ready or drains, and receives the root's requests. It
// also detects that the root has died.
//
// It uses no signal. Each worker has its own socket to the root. When the root
// dies, the socket ends. Another process that the root forked may hold a copy
// of the socket; so a pidfd detects the death, too. Kernels before Linux 5.3
// have no pidfd_open(2), and a sandbox may refuse it: then Next() compares
// getppid(2), and has to be called now and then; see must_poll().
//
// Thread safety: none.

#ifndef FIO_CORE_PROCESS_WORKER_END_H_
#define FIO_CORE_PROCESS_WORKER_END_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/unique_fd.h"

namespace fio {

// How a worker is to stop, in this order.
enum class StopLevel : uint8_t {
  kNone,
  kDrain,     // Another worker has its place: serve for a while.
  kGraceful,  // Its protocols decide how connections end.
  kCutOff,    // Its connections are aborted.
  kKill,      // SIGKILL; never sent to a worker as a request.
};

namespace process_internal {

// The records on the sockets between a root and its workers. Each is sent by
// one send(2) on a Unix stream, which takes all of it or nothing.
struct Order {  // To a worker.
  enum class Kind : uint8_t { kStop, kLend, kReload };
  Kind kind;
  StopLevel level = StopLevel::kNone;  // Of kStop.
  uint16_t reserved = 0;
  int32_t place = 0;  // Of kLend.
};
struct Report {  // To the root.
  enum class Kind : uint64_t { kReady, kDrains };
  uint64_t worker;
  Kind kind;
};

}  // namespace process_internal

class WorkerEnd {
 public:
  struct Request {
    StopLevel stop = StopLevel::kNone;  // The highest that was asked for.
    bool root_died = false;             // True once.
    bool reload =
        false;  // Supervisor::Reload() was called since the last call.
    // Places on whose sockets this worker should also accept, for a while; see
    // Supervisor::Lend(). Only those since the last call.
    std::vector<int> lent;
  };

  WorkerEnd(const WorkerEnd&) = delete;
  WorkerEnd& operator=(const WorkerEnd&) = delete;
  ~WorkerEnd() = default;

  // The place of this worker, from 0; its replacement has the same place.
  int place() const { return place_; }
  // See WorkerEvent.
  uint64_t generation() const { return generation_; }

  // The process that forked this one.
  pid_t root() const { return root_; }

  // Reports that the worker serves: the root may stop an older worker of its
  // place. Later calls do nothing.
  void TellReady();

  // Reports that the worker stops by itself and no longer accepts: the root
  // then replaces it. Later calls do nothing.
  void TellDrains();

  // Sends reports that could not be sent before, because the root does not read
  // or the kernel has no memory. Returns true if nothing is left to send. If it
  // returns false, call it again after some milliseconds: there is no event to
  // wait for.
  bool SendReports();

  // Readable while Next() may have something new; level-triggered. They never
  // change. Call Next() once before the first wait: the root may have died
  // while it forked. After Next() has reported the root's death they stay
  // readable, but Next() returns nothing new.
  absl::Span<const int> fds() const { return fds_; }

  // Whether the root may die without a descriptor that becomes readable,
  // because there is no pidfd. Then call Next() every kPollInterval as well.
  bool must_poll() const { return !root_pidfd_; }
  static constexpr absl::Duration kPollInterval = absl::Seconds(1);

  // Reads what the root has sent. An error of recv(2) or poll(2) does not count
  // as the root's death: the descriptors stay readable, and a later call reads.
  Request Next();

  // Starts a thread that calls `on_root_death` when the root dies, and ends
  // this process by SIGKILL when the root has been dead for `grace`, even if
  // other threads hang: otherwise a worker that hangs in a callback would never
  // end. The thread sleeps in poll(2), or wakes every kPollInterval if
  // must_poll(), blocks all signals, takes no lock and allocates nothing;
  // `on_root_death` must not either. `grace` is limited to 24 days. Errors:
  // those of pthread_create(3) and fcntl(2). Call it once.
  //
  // PR_SET_PDEATHSIG is no substitute: it is sent when the *thread* that forked
  // ends, its signal may be handled or ignored, and it leaves no time for a
  // graceful end.
  absl::Status StartWatchdog(absl::Duration grace,
                             std::function<void()> on_root_death) const;

 private:
  friend class Supervisor;

  // Called in the child. `channel` is its end of the root's socket; `id` is
  // sent in each report on `reports`.
  WorkerEnd(int place, uint64_t generation, pid_t root, uint64_t id,
            UniqueFd channel, UniqueFd reports);

  // Reads everything in the channel; false at its end.
  bool ReadChannel(Request& request);
  bool RootHasDied();

  const int place_;
  const uint64_t generation_;
  const pid_t root_;
  const uint64_t id_;
  const UniqueFd channel_;
  const UniqueFd reports_;
  UniqueFd root_pidfd_;  // None if the kernel has no pidfd.
  std::vector<int> fds_;
  StopLevel stop_ = StopLevel::kNone;
  bool told_death_ = false;
  bool told_ready_ = false, told_drains_ = false;
  std::vector<process_internal::Report> unsent_;
};

}  // namespace fio

#endif  // FIO_CORE_PROCESS_WORKER_END_H_
