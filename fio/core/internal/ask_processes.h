// Runners of a NameTable that are child processes, one for each name. For a
// process that must not have threads, because it forks workers.
//
// A child has no descriptors of its parent except the socket for its answer;
// its 0, 1 and 2 are /dev/null. All signals are blocked in it. It ends by
// _exit(2): nothing is flushed and no exit handler runs. It is killed when its
// parent ends. Children are reaped by pid, so other children of the process are
// not reaped here.
//
// Thread safety: any thread may call RunLater() and Stop(). Call the rest on
// the thread of the loop.

#ifndef FIO_CORE_INTERNAL_ASK_PROCESSES_H_
#define FIO_CORE_INTERNAL_ASK_PROCESSES_H_

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "fio/base/unique_fd.h"
#include "fio/core/internal/name_table.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/core/poller/child_watch.h"

namespace fio::core_internal {

class AskProcesses : public std::enable_shared_from_this<AskProcesses> {
 public:
  // `loop` outlives this object.
  AskProcesses(Loop& loop, std::shared_ptr<NameTable> names);
  AskProcesses(const AskProcesses&) = delete;
  AskProcesses& operator=(const AskProcesses&) = delete;
  // As StopAll(). In a forked child it only closes the copies of the
  // descriptors, because the processes are not its children.
  ~AskProcesses();

  // Starts a runner, in a task of the loop.
  void RunLater();
  // Kills the child that resolves the name with that id, in a task of the loop.
  void Stop(uint64_t name);
  // Kills all children, and waits until they have ended. REQUIRES: the table
  // was cleared.
  void StopAll();

 private:
  struct Child {
    NameTable::Name name;
    pid_t pid;
    UniqueFd answer;
  };

  void RunNext();
  // Starts a child. If that fails, returns the answer for `name`.
  std::optional<NameTable::Addresses> Start(const NameTable::Name& name);
  absl::Status StartWatching();
  void StopWatchingIfIdle();
  void OnChildEvents();
  void OnEnd(const ChildExit& exit);
  bool is_inherited() const;

  Loop& loop_;
  const LoopHandle handle_;
  const std::shared_ptr<NameTable> names_;
  const int fork_count_;
  std::vector<Child> children_;
  std::unique_ptr<ChildWatch> ends_;  // Null while there are no children.
  WatchId watch_ = WatchId::kNone;
};

}  // namespace fio::core_internal

#endif  // FIO_CORE_INTERNAL_ASK_PROCESSES_H_
