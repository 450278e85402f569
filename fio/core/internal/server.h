// A Server is what serves in one process: its loops, and what accepts, connects
// and resolves names on them. It is made with the Reactor, and anew in each
// worker; the worker destroys its copy of the root's. It lives across several
// Run() of the process.
//
// Thread safety: any thread may call the methods marked "Any thread". Call the
// rest on the thread of the main loop.

#ifndef FIO_CORE_INTERNAL_SERVER_H_
#define FIO_CORE_INTERNAL_SERVER_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/connector.h"
#include "fio/core/internal/acceptors.h"
#include "fio/core/internal/connector_set.h"
#include "fio/core/internal/listen_entry.h"
#include "fio/core/internal/loop_group.h"
#include "fio/core/internal/preset.h"
#include "fio/core/internal/queue_watch.h"
#include "fio/core/internal/reactor_setup.h"
#include "fio/core/internal/shared_supervisor_stats.h"
#include "fio/core/loop/loop.h"
#include "fio/core/resolver.h"
#include "fio/defer/task.h"

namespace fio::core_internal {

// Which process of a reactor this is.
struct Role {
  enum class Kind : uint8_t {
    kSingle,  // The only process.
    kRoot,    // Of workers.
    kWorker,
  };
  Kind kind = Kind::kSingle;
  int place = 0;  // Of a worker.

  bool is_single() const { return kind == Kind::kSingle; }
  bool is_root() const { return kind == Kind::kRoot; }
  bool is_worker() const { return kind == Kind::kWorker; }
};

class Server {
 public:
  // `setup` must outlive it.
  Server(Role role, ReactorSetup& setup);
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  // Closes everything at once. A worker's copy of the root's Server sends
  // nothing and calls no on_finish.
  ~Server();

  // The errors of ReactorSetup::Check() and Loop::Create(). Then only status(),
  // role(), resolver(), engine() and running() may be called.
  const absl::Status& status() const { return status_; }

  // Any thread.
  const Role& role() const { return role_; }
  LoopGroup& loops() { return *loops_; }
  Loop& main() { return loops_->main(); }
  Resolver& resolver() { return *resolver_; }
  bool Post(Task task) { return main().Post(std::move(task)); }
  // See Reactor::ForEachLoop(). REQUIRES: `task` is not null.
  void ForEachLoop(std::function<void(Loop&)> task, std::function<void()> done);
  // The name of the poller: "epoll" or another. Also after an error.
  std::string_view engine() const;
  // See Reactor::last_tick().
  absl::Time last_tick() const;
  // How many processes serve.
  int running() const { return running_; }
  void set_running(int running) { running_ = running; }
  // Of the root's supervisor.
  SharedSupervisorStats& supervisor_stats() { return supervisor_stats_; }

  // One turn of the main loop. Errors: those of LoopGroup::RunMain().
  absl::Status RunTurn(MonotonicTime deadline);

  // --- Listeners ---

  // Accepts on all listeners of this process, or on one; see Acceptors.
  absl::Status Accept() { return acceptors_->Accept(); }
  absl::Status Accept(ListenerId id) { return acceptors_->Accept(id); }
  void AcceptLent(int place, absl::Duration time);

  // False if no listener has this id.
  bool SetPaused(ListenerId id, bool paused);
  // See Reactor::GetListenerStats(). False if no listener has this id.
  bool GetStats(ListenerId id, std::function<void(const ListenerStats&)> done);
  // See Reactor::CloseListener().
  bool CloseListener(ListenerId id);

  // In a root: calls `on_stuck` as QueueWatch does for the sockets of all
  // workers, until CloseListeners().
  void WatchQueues(QueueWatch::OnStuck on_stuck);

  // Closes all, and then calls `done` in a task of the main loop.
  void CloseListeners(std::function<void()> done);

  // --- Connectors and timers ---

  // See ConnectorSet.
  absl::Status Connect(ConnectorId id, std::string_view url,
                       ConnectorOptions options);
  bool CancelConnect(ConnectorId id) { return connectors_->Cancel(id); }
  void DropConnectors() { connectors_->Drop(); }

  void RunEvery(Preset::Timer timer);

  // --- The end of a Run() ---

  // Cancels connectors, closes listeners, joins the threads, runs the tasks
  // that wait and cancels all timers. REQUIRES: LoopGroup::stopped().
  void Finish();
  // Leaves what a next Run() begins with: the main loop.
  void Shrink();

 private:
  absl::Status CreateLoops();

  const Role role_;
  ReactorSetup& setup_;

  // Declared before the loops: their connections may own connectors, which use
  // it.
  std::unique_ptr<Resolver> resolver_;
  std::unique_ptr<LoopGroup> loops_;
  absl::Status status_;
  std::optional<Acceptors> acceptors_;
  std::unique_ptr<QueueWatch> queues_;
  QueueWatch::OnStuck on_stuck_;  // Of `queues_`.
  std::optional<ConnectorSet> connectors_;

  // Written by the main loop's thread.
  std::atomic<int> running_{0};
  std::atomic<int64_t> last_tick_ns_;
  SharedSupervisorStats supervisor_stats_;
};

}  // namespace fio::core_internal

#endif  // FIO_CORE_INTERNAL_SERVER_H_
