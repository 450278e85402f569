// A WorkerEvent says which worker a lifecycle event is about. It also carries
// descriptors from kBeforeFork to the one process that is to have them, for
// example the ends of a socket pair:
//
//   lifecycle.Add(LifecycleEvent::kBeforeFork, [](WorkerEvent& worker) {
//     ...  // socketpair(2)
//     worker.KeepInRoot("audit", std::move(root_end));
//     worker.GiveToWorker("audit", std::move(worker_end));
//   });
//   lifecycle.Add(LifecycleEvent::kInRoot, [&](WorkerEvent& worker) {
//     ends[worker.pid()] = worker.Take("audit");
//   });
//   lifecycle.Add(LifecycleEvent::kInChild, [&](WorkerEvent& worker) {
//     ends.clear();  // This process's copies of the root's ends.
//     end = worker.Take("audit");
//   });
//
// Right after fork(2), before any callback, the root closes its copies of what
// it gives to the worker, and the worker its copies of what the root keeps. So
// no other worker ever has a descriptor that was given to this one. What the
// root has taken is its own again: workers that are forked later inherit it,
// unless the root's loop owns it (Loop::Adopt()).
//
// Thread safety: none. Use it inside of the callback.

#ifndef FIO_CORE_PROCESS_WORKER_EVENT_H_
#define FIO_CORE_PROCESS_WORKER_EVENT_H_

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fio/base/unique_fd.h"

namespace fio {

class WorkerEvent {
 public:
  // About no worker.
  WorkerEvent() = default;
  // `pid` is 0 if the worker has not been forked.
  WorkerEvent(int place, uint64_t generation, pid_t pid)
      : place_(place), generation_(generation), pid_(pid) {}

  WorkerEvent(WorkerEvent&&) = default;
  WorkerEvent& operator=(WorkerEvent&&) = default;
  // Closes the descriptors that were not taken.
  ~WorkerEvent() = default;

  // The worker's place, from 0; its replacement has the same.
  int place() const { return place_; }
  // How many workers of that place have been forked, this one included. With
  // place() it identifies a worker of a Run(). 0 if the event is about no
  // worker, or about a single process.
  uint64_t generation() const { return generation_; }
  // The worker's process. 0 in kBeforeFork, in kAfterFork if the fork failed,
  // and if the event is about no worker.
  pid_t pid() const { return pid_; }

  // In kBeforeFork: the worker gets `fd`, by Take() in its kAfterFork or
  // kInChild. `name` identifies it for Take(); a second descriptor with the
  // same name replaces the first one, which is closed. If the worker is not
  // forked, `fd` is closed before kAfterFork.
  void GiveToWorker(std::string_view name, UniqueFd fd) {
    Pass(Side::kWorker, name, std::move(fd));
  }
  // The same for the root: Take() in its kAfterFork or kInRoot.
  void KeepInRoot(std::string_view name, UniqueFd fd) {
    Pass(Side::kRoot, name, std::move(fd));
  }

  // Takes what this process was to have. No descriptor if there is none with
  // that name, or it has been taken.
  UniqueFd Take(std::string_view name);

  // Called by the Supervisor right after fork(2): closes what the other process
  // is to have. All, if `pid` is 0: there is no worker.
  void EnterRoot(pid_t pid) { Enter(Side::kRoot, pid); }
  void EnterWorker(pid_t pid) { Enter(Side::kWorker, pid); }

 private:
  enum class Side : uint8_t { kNone, kRoot, kWorker };
  struct Passed {
    Side to;
    std::string name;
    UniqueFd fd;
  };

  void Pass(Side to, std::string_view name, UniqueFd fd);
  void Enter(Side side, pid_t pid);

  int place_ = 0;
  uint64_t generation_ = 0;
  pid_t pid_ = 0;
  Side side_ = Side::kNone;  // kNone before the fork.
  std::vector<Passed> passed_;
};

}  // namespace fio

#endif  // FIO_CORE_PROCESS_WORKER_EVENT_H_
