#include "fio/core/reactor.h"

#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_map.h"
#include "absl/log/absl_check.h"
#include "absl/log/absl_log.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "fio/base/check_durations.h"
#include "fio/base/clock.h"
#include "fio/base/concurrency.h"
#include "fio/base/fork_count.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/connector.h"
#include "fio/core/exit_with.h"
#include "fio/core/internal/listen_set.h"
#include "fio/core/internal/loop_group.h"
#include "fio/core/internal/queue_watch.h"
#include "fio/core/internal/signal_scope.h"
#include "fio/core/listener.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/poller.h"
#include "fio/core/process/descriptor_limit.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/process/other_threads.h"
#include "fio/core/process/service_manager.h"
#include "fio/core/process/supervisor.h"
#include "fio/core/process/worker_end.h"
#include "fio/core/reactor_options.h"
#include "fio/core/resolver.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/defer/task.h"
#include "fio/sock/listen_defaults.h"
#include "fio/sock/listen_socket.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"

namespace fio {

using core_internal::ListenSet;
using core_internal::LoopGroup;
using core_internal::QueueWatch;
using core_internal::SignalScope;

namespace {

ReactorOptions WithLinger(ReactorOptions options) {
  options.loop.stop_linger = options.linger_timeout;
  return options;
}

absl::Status Check(const ReactorOptions& options) {
  absl::Status durations = CheckNotNegative(
      "ReactorOptions", {{"drain_time", options.drain_time},
                         {"shutdown_timeout", options.shutdown_timeout},
                         {"linger_timeout", options.linger_timeout},
                         {"respawn_delay", options.respawn_delay},
                         {"max_respawn_delay", options.max_respawn_delay},
                         {"worker_min_lifetime", options.worker_min_lifetime}});
  return durations.ok() ? SignalScope::Check(options.signals) : durations;
}

Concurrency Resolve(const ReactorOptions& options) {
  const int cores = options.cores > 0 ? options.cores : AvailableCores();
  return ResolveConcurrency(options.threads, options.workers, cores);
}

void CallIfAny(const std::function<void()>& callback) {
  if (callback != nullptr) callback();
}

// For callbacks that a loop calls when it drops something: does nothing in a
// child that has inherited the loop.
std::function<void()> OnlyInThisProcess(std::function<void()> on_finish) {
  return [on_finish = std::move(on_finish), forks = ForkCount()] {
    if (forks == ForkCount()) CallIfAny(on_finish);
  };
}

absl::Status NoListener(std::string_view call, ListenerId id) {
  return absl::NotFoundError(absl::StrCat(
      "reactor: ", call, ": no listener has id ", static_cast<uint64_t>(id)));
}

// Set when exit(3) has begun.
std::atomic<bool> g_process_exits{false};

// Keeps an object that exit(3) must not destroy, because threads still use it.
void LeaveForEver(void* object) {
  static std::vector<void*>* const left = new std::vector<void*>;
  left->push_back(object);
}

RootThreads Resolve(RootThreads asked) {
#ifdef NDEBUG
  constexpr RootThreads kDefault = RootThreads::kWarn;
#else
  constexpr RootThreads kDefault = RootThreads::kRefuse;
#endif
  return asked == RootThreads::kDefault ? kDefault : asked;
}

// How long after the cut-off the root waits for a worker, and a single process
// for its loops.
constexpr absl::Duration kKillDelay = absl::Seconds(1);

// How long a stop waits for loops to close their listeners.
constexpr absl::Duration kCloseTime = absl::Seconds(1);

// How long a worker serves a place that is lent to it, and how long until it
// tries again to send a report.
constexpr absl::Duration kLoan = absl::Seconds(5);
constexpr absl::Duration kReportRetry = absl::Milliseconds(10);

// How long until the service manager is told again, and how often at most: for
// 90 s, which is how long systemd waits for READY=1.
constexpr absl::Duration kNoticeRetry = absl::Milliseconds(100);
constexpr int kNoticeTries = 900;

}  // namespace

class Reactor::Impl {
 public:
  explicit Impl(ReactorOptions options)
      : options_(WithLinger(std::move(options))),
        concurrency_(Resolve(options_)),
        is_cluster_(concurrency_.workers > 1 ||
                    options_.supervise_single_worker),
        is_worker_(!is_cluster_),
        status_(CreateLoops()) {
    resolver_ = CreateResolver();
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl();

  absl::Status Run();
  void Stop(absl::Duration grace);
  void Restart();

  absl::StatusOr<ListenerId> Listen(std::string_view url,
                                    ListenOptions options);
  bool CloseListener(ListenerId id);
  absl::StatusOr<ConnectorId> Connect(std::string_view url,
                                      ConnectorOptions options);
  absl::Status CancelConnect(ConnectorId id);
  bool Defer(std::function<void()> task);
  absl::Status RunEvery(Timer timer);
  bool Post(Task task) { return main_.Post(std::move(task)); }

  // Any thread.
  bool is_inside_run() const { return is_inside_run_; }
  const absl::Status& status() const { return status_; }
  const ReactorOptions& options() const { return options_; }
  const Concurrency& concurrency() const { return concurrency_; }
  LoopGroup& loops() { return *loops_; }
  ListenSet& listeners() { return listeners_; }
  Lifecycle& lifecycle() { return lifecycle_; }
  Resolver& resolver() { return *resolver_; }
  bool is_worker() const { return is_worker_; }
  bool is_root() const { return is_root_; }
  pid_t root_pid() const { return root_pid_; }
  int place() const { return place_; }
  int running() const { return running_; }
  size_t capacity() const { return capacity_; }
  absl::Time last_tick() const;
  std::string_view engine() const {
    return PollerKindName(loops_ == nullptr ? options_.loop.poller
                                            : loops_->main().poller_kind());
  }

 private:
  // What Run() is at.
  enum class Phase : uint8_t {
    kIdle,
    kStarting,
    kServing,
    kClosing,   // The listeners, first of all.
    kDraining,  // For ReactorOptions::drain_time.
    kStopping,  // The loops.
  };
  struct PresetConnector {
    ConnectorId id;
    std::string url;
    ConnectorOptions options;
  };
  // What each process runs when it starts.
  struct Preset {
    std::vector<std::function<void()>> tasks;
    std::vector<Timer> timers;
    std::vector<PresetConnector> connectors;
  };

  static constexpr int64_t kNoTick = std::numeric_limits<int64_t>::min();

  bool is_running() const {
    return phase_ != Phase::kIdle && phase_ != Phase::kStarting;
  }
  bool is_root_apart() const { return is_cluster_ && is_root_; }

  absl::Status CreateLoops();
  std::unique_ptr<Resolver> CreateResolver();
  absl::Status CheckPlace(std::string_view call, std::string_view url,
                          bool root_only) const;
  absl::Status RunToEnd();
  absl::Status Begin();
  absl::Status End(absl::Status status);

  // A process that serves: the only one, or a worker.
  absl::Status Serve();
  absl::Status ServeTurns();
  MonotonicTime HangDeadline() const;
  void GoOnWithoutHungLoops();
  void RunPreset();
  void DropPreset();
  // The root of workers.
  absl::Status Supervise();
  absl::Status CreateSupervisor();
  absl::Status MayFork(int place);
  absl::StatusOr<std::unique_ptr<WorkerEnd>> SuperviseTurns();
  void TellWhenAllReady();
  void EnterChild(int place);
  [[noreturn]] void WorkAndExit(std::unique_ptr<WorkerEnd> end);

  absl::Status RunMain(MonotonicTime deadline);
  void HearRequests();
  void HearSignals();
  void HearStopSignal();
  void HearRoot();
  void PollRoot();
  void BeginStop();
  void EndListening();
  void EndClosing();
  void BeginDrain();
  void StopLoops();
  bool drains() const;
  void SendReports();
  void WatchQueues();
  void BeginRestart();
  MonotonicTime Now() const { return options_.loop.clock->Now(); }
  void Tell(std::string_view state);
  void SendNotice();
  void DropNotice();
  absl::Status WatchToWake(absl::Span<const int> fds);
  absl::Status StartConnector(ConnectorId id, const std::string& url,
                              const ConnectorOptions& options);
  void DropConnectors();
  absl::Status TakeInheritedSockets();

  const ReactorOptions options_;
  const Concurrency concurrency_;
  const bool is_cluster_;  // There are workers beside the root.
  bool is_root_ = true;
  bool is_worker_;
  int place_ = 0;
  const int fork_count_ = ForkCount();

  Lifecycle lifecycle_;
  // Declared before the loops: their connections may own connectors, which use
  // it.
  std::unique_ptr<Resolver> resolver_;
  std::unique_ptr<LoopGroup> loops_;
  LoopHandle main_;  // Of the main loop.
  absl::Status status_;

  ListenDefaults listen_defaults_;
  ListenSet listeners_;
  bool took_inherited_sockets_ = false;
  std::vector<ListenSocket> inherited_sockets_;
  absl::flat_hash_map<ConnectorId, std::unique_ptr<Connector>> connectors_;
  uint64_t last_connector_ = 0;
  Preset preset_;
  bool preset_has_run_ = false;  // In this process.

  Phase phase_ = Phase::kIdle;
  std::unique_ptr<SignalScope> signals_;
  bool woken_ = true;  // By a descriptor: there may be signals.
  int stop_signals_ = 0;
  std::unique_ptr<Supervisor> supervisor_;  // The root's.
  std::unique_ptr<WorkerEnd> worker_;       // A worker's.
  std::unique_ptr<QueueWatch> queues_;      // The root's.
  StopLevel root_asked_ = StopLevel::kNone;
  bool root_has_died_ = false;
  bool is_replaced_ = false;  // A worker whose root lives and does not stop.
  bool sends_reports_ = false;
  std::vector<WatchId> wakes_, root_wakes_;
  bool told_ready_ = false;
  std::string notice_;  // Not sent yet to the service manager.
  int notice_tries_ = 0;
  TimerId notice_timer_ = TimerId::kNone;
  bool stop_heard_ = false;
  MonotonicTime close_by_, cut_off_;
  std::optional<MonotonicTime> exit_by_;

  RootThreads root_threads_ = Resolve(options_.root_threads);

  bool notes_exit_ = false;  // A function for atexit(3) is registered.
  std::atomic<bool> is_inside_run_{false};

  // Requests of other threads and signal handlers.
  std::atomic<bool> may_stop_{false};
  std::atomic<bool> stop_asked_{false};
  std::atomic<int64_t> stop_by_ns_;
  std::atomic<bool> restart_asked_{false};

  // State that other threads may read.
  std::atomic<pid_t> root_pid_{getpid()};
  std::atomic<int> running_{0};
  std::atomic<size_t> capacity_{0};
  std::atomic<int64_t> last_tick_ns_{kNoTick};
};

// --- Setting up ---

// Calls on_finish of what was set up and never ran, but not in a child of
// fork(2): the parent does that.
Reactor::Impl::~Impl() {
  if (fork_count_ != ForkCount()) return;
  resolver_->CancelAll();  // While its loop lives.
  DropPreset();
  listeners_.Drop();
}

absl::Status Reactor::Impl::CreateLoops() {
  absl::Status checked = Check(options_);
  if (!checked.ok()) return checked;
  absl::StatusOr<std::unique_ptr<LoopGroup>> loops = LoopGroup::Create(
      options_.loop, {.wants_idle =
                          [this] {
                            return lifecycle_.Has(LifecycleEvent::kOnIdle) &&
                                   running_ > 0;
                          },
                      .on_idle =
                          [this] {
                            if (running_ == 0) return;
                            lifecycle_.Force(LifecycleEvent::kOnIdle);
                          }});
  if (!loops.ok()) return loops.status();
  loops_ = *std::move(loops);
  main_ = loops_->main().handle();
  return absl::OkStatus();
}

// A root with workers must not have threads.
std::unique_ptr<Resolver> Reactor::Impl::CreateResolver() {
  return status_.ok() && is_root_apart() ? Resolver::InProcesses(loops_->main())
                                         : std::make_unique<Resolver>();
}

// Whether this process may listen or connect now, with or without `root_only`.
absl::Status Reactor::Impl::CheckPlace(std::string_view call,
                                       std::string_view url,
                                       bool root_only) const {
  const bool fits = is_root_ ? root_only || !is_running() : !root_only;
  if (!is_cluster_ || fits) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      call, " ", url,
      is_root_ ? ": the workers run already; call it before Run(), or make "
                 "it root_only"
               : ": it is root_only, and this is a worker"));
}

absl::Status Reactor::Impl::TakeInheritedSockets() {
  if (!options_.socket_activation || took_inherited_sockets_) {
    return absl::OkStatus();
  }
  absl::StatusOr<std::vector<ListenFd>> inherited = TakeListenFds();
  if (!inherited.ok()) return inherited.status();
  for (ListenFd& one : *inherited) {
    absl::StatusOr<ListenSocket> socket =
        ListenSocket::FromFd(std::move(one.fd));
    if (!socket.ok()) return socket.status();
    inherited_sockets_.push_back(*std::move(socket));
  }
  took_inherited_sockets_ = true;
  return absl::OkStatus();
}

absl::StatusOr<ListenerId> Reactor::Impl::Listen(std::string_view url,
                                                 ListenOptions options) {
  const auto fail = [&options](absl::Status status) {
    CallIfAny(options.on_finish);
    return status;
  };
  if (!status_.ok()) return fail(status_);
  absl::Status here = CheckPlace("listen", url, options.root_only);
  if (!here.ok()) return fail(here);
  absl::Status inherited = TakeInheritedSockets();
  if (!inherited.ok()) return fail(inherited);
  const absl::StatusOr<Url> complete = listen_defaults_.Complete(url);
  if (!complete.ok()) {
    return fail(
        absl::Status(complete.status().code(),
                     absl::StrCat("listen: ", complete.status().message())));
  }
  const bool for_all = !is_running() && is_root_apart();
  const ListenSet::Servers servers = {
      .workers = for_all ? static_cast<size_t>(concurrency_.workers) : 1,
      .loops = static_cast<size_t>(concurrency_.threads),
      .root_is_apart = is_root_apart()};
  absl::StatusOr<ListenerId> id =
      listeners_.Open(*complete, options, servers, inherited_sockets_);
  if (!id.ok()) return fail(id.status());
  if (phase_ == Phase::kServing) {
    absl::Status accepts =
        listeners_.Accept(*id, *loops_, is_root_apart() ? ListenSet::kRoot : 0);
    if (!accepts.ok()) {
      listeners_.Close(*id, *loops_);
      return accepts;
    }
  }
  return id;
}

bool Reactor::Impl::CloseListener(ListenerId id) {
  if (!listeners_.Close(id, *loops_)) return false;
  if (queues_ != nullptr) WatchQueues();
  return true;
}

absl::StatusOr<ConnectorId> Reactor::Impl::Connect(std::string_view url,
                                                   ConnectorOptions options) {
  const auto fail = [&options](absl::Status status) {
    CallIfAny(options.on_finish);
    return status;
  };
  if (!status_.ok()) return fail(status_);
  absl::Status here = CheckPlace("connect", url, options.root_only);
  if (!here.ok()) return fail(here);
  const auto id = static_cast<ConnectorId>(++last_connector_);
  if (is_running()) {
    absl::Status started = StartConnector(id, std::string(url), options);
    if (!started.ok()) return started;
    return id;
  }
  absl::Status checked = Connector::Check(url, options);
  if (!checked.ok()) return fail(checked);
  preset_.connectors.push_back({id, std::string(url), std::move(options)});
  return id;
}

absl::Status Reactor::Impl::StartConnector(ConnectorId id,
                                           const std::string& url,
                                           const ConnectorOptions& options) {
  ConnectorOptions own = options;
  own.on_finish = OnlyInThisProcess([this, id, on_finish = options.on_finish] {
    main_.Post([this, id] { connectors_.erase(id); });
    CallIfAny(on_finish);
  });
  absl::StatusOr<std::unique_ptr<Connector>> connector =
      Connector::Create(loops_->main(), *resolver_, url, std::move(own));
  if (!connector.ok()) return connector.status();
  connectors_[id] = *std::move(connector);
  return absl::OkStatus();
}

// Exchanged first, because on_finish may use the map.
void Reactor::Impl::DropConnectors() { std::exchange(connectors_, {}).clear(); }

absl::Status Reactor::Impl::CancelConnect(ConnectorId id) {
  const auto found = connectors_.find(id);
  if (found != connectors_.end() &&
      found->second->state() != Connector::State::kFinished) {
    const std::unique_ptr<Connector> connector = std::move(found->second);
    connectors_.erase(found);
    return absl::OkStatus();
  }
  const auto preset = absl::c_find_if(
      preset_.connectors,
      [id](const PresetConnector& connector) { return connector.id == id; });
  if (preset_has_run_ || preset == preset_.connectors.end()) {
    return absl::NotFoundError(
        absl::StrCat("reactor: CancelConnect: no connector has id ",
                     static_cast<uint64_t>(id)));
  }
  const std::function<void()> on_finish = std::move(preset->options.on_finish);
  preset_.connectors.erase(preset);
  CallIfAny(on_finish);
  return absl::OkStatus();
}

bool Reactor::Impl::Defer(std::function<void()> task) {
  if (task == nullptr) return false;
  if (is_running()) {
    main_.Post(std::move(task));
  } else {
    preset_.tasks.push_back(std::move(task));
  }
  return true;
}

absl::Status Reactor::Impl::RunEvery(Timer timer) {
  if (timer.callback == nullptr || timer.interval <= absl::ZeroDuration()) {
    CallIfAny(timer.on_finish);
    return absl::InvalidArgumentError(
        timer.callback == nullptr
            ? "reactor: RunEvery: the callback is missing"
            : absl::StrCat("reactor: RunEvery: the interval is not positive: ",
                           absl::FormatDuration(timer.interval)));
  }
  if (is_running()) {
    loops_->main().RunEvery(
        {.callback = std::move(timer.callback),
         .interval = timer.interval,
         .repetitions = timer.repetitions,
         .on_finish = OnlyInThisProcess(std::move(timer.on_finish))});
  } else {
    preset_.timers.push_back(std::move(timer));
  }
  return absl::OkStatus();
}

// --- Running ---

absl::Status Reactor::Impl::Run() {
  if (!status_.ok()) return status_;
  if (phase_ != Phase::kIdle) {
    return absl::FailedPreconditionError("reactor: Run() is running already");
  }
  // Registered after the constructor, so that exit(3) runs it before the
  // destructor of a static Reactor.
  if (!std::exchange(notes_exit_, true)) {
    static_cast<void>(std::atexit([] { g_process_exits = true; }));
  }
  is_inside_run_ = true;
  absl::Status status = RunToEnd();
  is_inside_run_ = false;
  return status;
}

absl::Status Reactor::Impl::RunToEnd() {
  phase_ = Phase::kStarting;
  absl::Status began = Begin();
  if (!began.ok()) return End(std::move(began));
  lifecycle_.Initialize();
  lifecycle_.Force(LifecycleEvent::kPreStart);
  HearRequests();
  if (stop_heard_) return End(absl::OkStatus());
  return End(is_cluster_ ? Supervise() : Serve());
}

absl::Status Reactor::Impl::Begin() {
  const absl::StatusOr<size_t> limit =
      RaiseDescriptorLimit(options_.max_descriptors);
  if (!limit.ok()) ABSL_LOG(WARNING) << limit.status();
  capacity_ = limit.value_or(0);
  root_pid_ = getpid();
  cut_off_ = MonotonicTime::InfiniteFuture();
  stop_by_ns_ = cut_off_.nanoseconds();
  stop_asked_ = restart_asked_ = told_ready_ = stop_heard_ = false;
  exit_by_.reset();
  stop_signals_ = 0;
  woken_ = true;
  may_stop_ = true;
  absl::StatusOr<std::unique_ptr<SignalScope>> signals =
      SignalScope::Create(options_.signals);
  if (!signals.ok()) return signals.status();
  signals_ = *std::move(signals);
  return WatchToWake(signals_->fds());
}

// Undoes Begin() and what followed it, in reverse order.
absl::Status Reactor::Impl::End(absl::Status status) {
  may_stop_ = false;
  running_ = 0;
  if (is_running()) phase_ = Phase::kStopping;
  DropNotice();
  supervisor_ = nullptr;
  queues_ = nullptr;
  DropConnectors();
  listeners_.CloseAll(*loops_, [] {});
  loops_->Finish();
  listeners_.ForgetAccepting();
  DropPreset();
  phase_ = Phase::kStarting;  // What kOnFinish sets up is for the next run.
  lifecycle_.Force(LifecycleEvent::kOnFinish);
  for (const WatchId watch : std::exchange(wakes_, {})) {
    loops_->main().Unwatch(watch);
  }
  loops_->Resize(1).IgnoreError();
  resolver_->CancelAll();
  // A worker ends in Run(): its signals stay handled, SIGPIPE above all, while
  // callbacks for kAtExit run and streams are flushed.
  if (worker_ == nullptr) signals_ = nullptr;
  capacity_ = 0;
  phase_ = Phase::kIdle;
  return status;
}

// Wakes the main loop when one of `fds` is readable. They are read after each
// turn.
absl::Status Reactor::Impl::WatchToWake(absl::Span<const int> fds) {
  for (const int fd : fds) {
    absl::StatusOr<WatchId> watch =
        loops_->main().Watch(fd, Interest::kReadable, Trigger::kLevel,
                             [this](Readiness) { woken_ = true; });
    if (!watch.ok()) return watch.status();
    wakes_.push_back(*watch);
  }
  return absl::OkStatus();
}

absl::Status Reactor::Impl::RunMain(MonotonicTime deadline) {
  absl::Status turn = loops_->RunMain(deadline);
  last_tick_ns_.store(loops_->main().now().nanoseconds(),
                      std::memory_order_relaxed);
  HearRequests();
  return turn;
}

// --- Serving ---

absl::Status Reactor::Impl::Serve() {
  absl::Status status =
      loops_->Resize(static_cast<size_t>(concurrency_.threads));
  if (!status.ok()) return status;
  phase_ = Phase::kServing;
  running_ = concurrency_.workers;
  RunPreset();
  lifecycle_.Force(LifecycleEvent::kOnStart);
  status = listeners_.Accept(*loops_, static_cast<size_t>(place_));
  if (!status.ok()) return status;
  status = loops_->StartThreads();
  if (status.ok()) {
    if (worker_ != nullptr) {
      worker_->TellReady();
      SendReports();
    }
    Tell("READY=1");
    status = ServeTurns();
  }
  if (!status.ok()) loops_->Stop(absl::ZeroDuration());
  return status;
}

absl::Status Reactor::Impl::ServeTurns() {
  while (phase_ != Phase::kStopping || !loops_->stopped()) {
    absl::Status turn = RunMain(HangDeadline());
    if (!turn.ok()) return turn;
    if (Now() >= HangDeadline()) GoOnWithoutHungLoops();
    if (phase_ == Phase::kDraining && loops_->drained()) StopLoops();
  }
  return absl::OkStatus();
}

// When a stop goes on without loops that hang in a callback. The root kills a
// worker that hangs; if the root has died, the watchdog does.
MonotonicTime Reactor::Impl::HangDeadline() const {
  if (phase_ == Phase::kClosing) return std::min(close_by_, cut_off_);
  const bool only_others_run = phase_ == Phase::kStopping &&
                               loops_->main().stopped() && !loops_->stopped();
  return only_others_run && worker_ == nullptr
             ? exit_by_.value_or(cut_off_)
             : MonotonicTime::InfiniteFuture();
}

// Run() must not return while another thread is in a callback: the callback
// uses what the caller owns. For the same reason no destructors run.
void Reactor::Impl::GoOnWithoutHungLoops() {
  if (phase_ == Phase::kClosing) {
    EndClosing();
  } else if (!exit_by_.has_value()) {
    // Counted from here: the whole process may have been stopped before.
    exit_by_ = Now() + kKillDelay;
  } else {
    ABSL_LOG(ERROR) << "reactor: a loop hangs in a callback; the process exits";
    _exit(EXIT_FAILURE);
  }
}

// The originals are kept for workers that are forked later.
void Reactor::Impl::RunPreset() {
  preset_has_run_ = true;
  for (const std::function<void()>& task : preset_.tasks) main_.Post(task);
  const std::vector<Timer> timers = preset_.timers;
  for (const Timer& timer : timers) RunEvery(timer).IgnoreError();
  for (const PresetConnector& connector : preset_.connectors) {
    const bool is_roots = connector.options.root_only && is_cluster_;
    if (is_roots != is_root_apart()) continue;
    const absl::Status started =
        StartConnector(connector.id, connector.url, connector.options);
    if (!started.ok()) ABSL_LOG(ERROR) << started;
  }
}

// Calls on_finish of timers and connectors that never ran in this process.
void Reactor::Impl::DropPreset() {
  const Preset dropped = std::exchange(preset_, {});
  if (std::exchange(preset_has_run_, false)) return;
  for (const Timer& timer : dropped.timers) CallIfAny(timer.on_finish);
  for (const PresetConnector& connector : dropped.connectors) {
    CallIfAny(connector.options.on_finish);
  }
}

// --- The root of workers ---

absl::Status Reactor::Impl::Supervise() {
  absl::Status status = CreateSupervisor();
  if (!status.ok()) return status;
  phase_ = Phase::kServing;
  running_ = concurrency_.workers;
  status = listeners_.Accept(*loops_, ListenSet::kRoot);
  if (!status.ok()) return status;
  WatchQueues();
  RunPreset();
  absl::StatusOr<std::unique_ptr<WorkerEnd>> child = SuperviseTurns();
  if (!child.ok()) return child.status();
  if (*child != nullptr) WorkAndExit(*std::move(child));
  return supervisor_->crash();
}

absl::Status Reactor::Impl::CreateSupervisor() {
  SupervisorOptions options = {
      .workers = concurrency_.workers,
      .first_delay = options_.respawn_delay,
      .max_delay = options_.max_respawn_delay,
      .min_lifetime = options_.worker_min_lifetime,
      .stop_timeout = options_.shutdown_timeout + kKillDelay,
      .drain_time = options_.drain_time,
      .cut_off_timeout = kKillDelay,
      .respawn = options_.respawn,
      .may_fork = [this](int place) { return MayFork(place); },
      .prepare_fork =
          [this] {
            signals_->BeforeFork();
            loops_->BeforeFork();
          },
      .forked_in_root =
          [this] {
            loops_->AfterFork();
            signals_->AfterFork();
          },
      .entered_child = [this](int place) { EnterChild(place); }};
  absl::StatusOr<std::unique_ptr<Supervisor>> supervisor =
      Supervisor::Create(std::move(options), lifecycle_);
  if (!supervisor.ok()) return supervisor.status();
  supervisor_ = *std::move(supervisor);
  return WatchToWake(supervisor_->fds());
}

absl::Status Reactor::Impl::MayFork(int place) {
  if (root_threads_ == RootThreads::kAllow) return absl::OkStatus();
  const std::vector<std::string> others = FindOtherThreads();
  if (others.empty()) return absl::OkStatus();
  const std::string what =
      absl::StrCat("fork worker ", place, ": the root has ", others.size(),
                   others.size() == 1 ? " other thread (" : " other threads (",
                   absl::StrJoin(others, ", "),
                   "); start threads in kOnStart, which runs in the workers");
  if (root_threads_ == RootThreads::kRefuse) {
    return absl::FailedPreconditionError(what);
  }
  ABSL_LOG(WARNING) << what;
  root_threads_ = RootThreads::kAllow;  // It is said once.
  return absl::OkStatus();
}

// Lends the place of a stuck queue to other workers. To one at first, because a
// client in the queue may have crashed or blocked the place's worker; then to
// twice as many at each check.
void Reactor::Impl::WatchQueues() {
  std::vector<QueueWatch::Queue> queues;
  for (const ListenSet::Shared& shared : listeners_.SharedSockets()) {
    queues.push_back({static_cast<int>(shared.worker), shared.socket});
  }
  queues_ = nullptr;
  queues_ = std::make_unique<QueueWatch>(
      loops_->main(), std::move(queues), [this](int place, int times) {
        if (supervisor_ == nullptr) return;
        supervisor_->Lend(place, 1 << std::min(times - 1, 16));
      });
}

// Between two turns the supervisor forks, so that a child leaves from here with
// no callback on its stack.
absl::StatusOr<std::unique_ptr<WorkerEnd>> Reactor::Impl::SuperviseTurns() {
  for (;;) {
    HearRequests();
    if (Now() >= cut_off_) supervisor_->Stop(StopLevel::kCutOff);
    absl::StatusOr<std::unique_ptr<WorkerEnd>> child =
        supervisor_->Advance(Now());
    if (!child.ok() || *child != nullptr) return child;
    TellWhenAllReady();
    if (!options_.respawn && supervisor_->stats().crashed > 0 &&
        phase_ == Phase::kServing) {
      Stop(absl::InfiniteDuration());
      HearRequests();
    }
    if (supervisor_->finished() && phase_ == Phase::kStopping &&
        loops_->stopped()) {
      return nullptr;
    }
    const bool cut_off_is_due = phase_ != Phase::kServing && Now() < cut_off_;
    absl::Status turn = RunMain(
        std::min(supervisor_->next_deadline(),
                 cut_off_is_due ? cut_off_ : MonotonicTime::InfiniteFuture()));
    if (!turn.ok()) return turn;
  }
}

void Reactor::Impl::TellWhenAllReady() {
  if (told_ready_ || !supervisor_->all_ready()) return;
  told_ready_ = true;
  Tell("READY=1");
}

// Called right after fork(2). Destroys the child's copies of the root's loop;
// nothing of them is sent. The signals are blocked until the end, when the
// child's own SignalScope takes what has arrived meanwhile.
void Reactor::Impl::EnterChild(int place) {
  loops_->AfterFork();
  is_root_ = false;
  is_worker_ = true;
  place_ = place;
  phase_ = Phase::kStarting;
  preset_has_run_ = false;
  running_ = 0;
  stop_asked_ = restart_asked_ = false;
  stop_signals_ = 0;
  cut_off_ = MonotonicTime::InfiniteFuture();
  stop_by_ns_ = cut_off_.nanoseconds();
  woken_ = true;
  wakes_.clear();
  queues_ = nullptr;
  notice_.clear();  // It is the root's.
  notice_timer_ = TimerId::kNone;
  std::unique_ptr<LoopGroup> inherited = std::move(loops_);
  status_ = CreateLoops();
  if (!status_.ok()) {
    // Nothing can run without a loop. The root tries again.
    ABSL_LOG(ERROR) << "worker " << place << ": " << status_;
    _exit(EXIT_FAILURE);
  }
  DropConnectors();
  listeners_.ForgetAccepting();
  inherited = nullptr;
  resolver_ = CreateResolver();
  absl::StatusOr<std::unique_ptr<SignalScope>> signals =
      SignalScope::Create(options_.signals);
  if (!signals.ok()) {
    status_ = signals.status();
    return;
  }
  signals_ = *std::move(signals);
  status_ = WatchToWake(signals_->fds());
}

void Reactor::Impl::WorkAndExit(std::unique_ptr<WorkerEnd> end) {
  supervisor_ = nullptr;
  worker_ = std::move(end);
  is_replaced_ = true;
  if (status_.ok()) {
    root_wakes_ = std::exchange(wakes_, {});
    status_ = WatchToWake(worker_->fds());
    std::swap(root_wakes_, wakes_);
    if (worker_->must_poll()) PollRoot();
  }
  if (status_.ok()) {
    // Not fatal: only a worker that hangs would then outlive a root that is
    // killed.
    const absl::Status guarded = worker_->StartWatchdog(
        options_.shutdown_timeout + kKillDelay, listeners_.StopForRoot());
    if (!guarded.ok()) {
      ABSL_LOG(ERROR) << "worker " << place_ << ": " << guarded;
    }
  }
  std::exit(ExitWith(End(status_.ok() ? Serve() : status_)));
}

// --- Requests ---

void Reactor::Impl::Stop(absl::Duration grace) {
  if (!may_stop_) return;
  const int64_t by = (Now() + grace).nanoseconds();
  int64_t before = stop_by_ns_;
  while (by < before && !stop_by_ns_.compare_exchange_weak(before, by)) {
  }
  stop_asked_ = true;
  main_.Wake();
}

void Reactor::Impl::Restart() {
  if (!may_stop_) return;
  restart_asked_ = true;
  main_.Wake();
}

// Makes system calls only if something may have arrived. The root always does,
// so that it does not fork after a signal to stop.
void Reactor::Impl::HearRequests() {
  if (std::exchange(woken_, false) || supervisor_ != nullptr) {
    HearSignals();
    if (worker_ != nullptr) HearRoot();
  }
  if (restart_asked_ && restart_asked_.exchange(false)) BeginRestart();
  if (stop_asked_ && stop_asked_.exchange(false)) BeginStop();
}

void Reactor::Impl::HearSignals() {
  for (;;) {
    const SignalScope::Meaning meaning = signals_->Next();
    if (meaning == SignalScope::Meaning::kNone) return;
    if (meaning == SignalScope::Meaning::kRestart) {
      restart_asked_ = true;
    } else {
      HearStopSignal();
    }
  }
}

void Reactor::Impl::HearStopSignal() {
  ++stop_signals_;
  Stop(stop_signals_ == 1 ? absl::InfiniteDuration() : absl::ZeroDuration());
  if (stop_signals_ > 2 && supervisor_ != nullptr) {
    supervisor_->Stop(StopLevel::kKill);
  }
}

void Reactor::Impl::HearRoot() {
  const WorkerEnd::Request request = worker_->Next();
  if (phase_ == Phase::kServing) {
    for (const int place : request.lent) {
      listeners_.AcceptLent(*loops_, static_cast<size_t>(place_),
                            static_cast<size_t>(place), kLoan);
    }
  }
  if (request.root_died) {
    root_has_died_ = true;
    // Other workers may hang, or other processes have copies.
    listeners_.StopForRoot()();
    // Its descriptors stay readable from now on.
    for (const WatchId watch : std::exchange(root_wakes_, {})) {
      loops_->main().Unwatch(watch);
    }
    is_replaced_ = false;
    lifecycle_.Force(LifecycleEvent::kOnParentCrash);
    Stop(absl::InfiniteDuration());
  }
  if (request.stop == root_asked_) return;
  root_asked_ = request.stop;
  if (request.stop > StopLevel::kDrain) is_replaced_ = false;
  Stop(request.stop <= StopLevel::kGraceful ? absl::InfiniteDuration()
                                            : absl::ZeroDuration());
}

// Without a pidfd, another process may hide the root's death.
void Reactor::Impl::PollRoot() {
  loops_->main().RunAfter(WorkerEnd::kPollInterval, [this] {
    woken_ = true;
    if (!root_has_died_) PollRoot();
  });
}

// Sends reports; tries again after a delay if that fails, because no event says
// when it is possible.
void Reactor::Impl::SendReports() {
  if (worker_->SendReports() || std::exchange(sends_reports_, true)) return;
  loops_->main().RunAfter(kReportRetry, [this] {
    sends_reports_ = false;
    SendReports();
  });
}

void Reactor::Impl::BeginRestart() {
  if (supervisor_ != nullptr) {
    supervisor_->Restart();
  } else if (worker_ != nullptr) {
    Stop(absl::InfiniteDuration());
  } else if (!is_cluster_) {
    ABSL_LOG(WARNING) << "reactor: a single process has no workers to restart";
  }
}

// Whether a requested stop leaves time to drain.
bool Reactor::Impl::drains() const {
  return is_replaced_ && options_.drain_time > absl::ZeroDuration() &&
         Now() < cut_off_;
}

// Begins a stop, or makes one that has begun end sooner.
void Reactor::Impl::BeginStop() {
  const MonotonicTime now = Now();
  stop_heard_ = true;
  const absl::Duration longest =
      options_.shutdown_timeout +
      (is_replaced_ ? options_.drain_time : absl::ZeroDuration());
  cut_off_ = std::min(
      {cut_off_, now + longest, MonotonicTime::FromNanoseconds(stop_by_ns_)});
  if (supervisor_ != nullptr) {
    supervisor_->Stop(cut_off_ <= now ? StopLevel::kCutOff
                                      : StopLevel::kGraceful);
  }
  if (phase_ == Phase::kStopping) loops_->Stop(cut_off_ - now);
  if (phase_ == Phase::kDraining && !drains()) StopLoops();
  if (phase_ != Phase::kServing) return;
  phase_ = Phase::kClosing;
  running_ = 0;
  if (is_replaced_) {
    // Before this worker stops accepting.
    worker_->TellDrains();
    SendReports();
  }
  lifecycle_.Force(LifecycleEvent::kOnShutdown);
  Tell("STOPPING=1");
  DropConnectors();
  EndListening();
}

void Reactor::Impl::EndListening() {
  queues_ = nullptr;
  close_by_ = Now() + kCloseTime;
  listeners_.CloseAll(*loops_, [this] {
    // Otherwise it took too long, or Run() ends because of an error.
    if (phase_ == Phase::kClosing) EndClosing();
  });
}

void Reactor::Impl::EndClosing() { drains() ? BeginDrain() : StopLoops(); }

void Reactor::Impl::BeginDrain() {
  phase_ = Phase::kDraining;
  loops_->Drain();
  loops_->main().RunAfter(options_.drain_time, [this] {
    if (phase_ == Phase::kDraining) StopLoops();
  });
}

void Reactor::Impl::StopLoops() {
  phase_ = Phase::kStopping;
  loops_->Stop(cut_off_ - Now());
}

// Does not wait for a service manager that does not read.
void Reactor::Impl::Tell(std::string_view state) {
  if (!options_.notify_service_manager || !is_root_) return;
  loops_->main().Cancel(notice_timer_);
  notice_ = state;
  notice_tries_ = 0;
  SendNotice();
}

void Reactor::Impl::SendNotice() {
  const absl::Status told = NotifyServiceManager(notice_);
  const bool may_pass =
      absl::IsUnavailable(told) || absl::IsResourceExhausted(told);
  if (may_pass && ++notice_tries_ < kNoticeTries) {
    notice_timer_ =
        loops_->main().RunAfter(kNoticeRetry, [this] { SendNotice(); });
    return;
  }
  if (!told.ok()) {
    ABSL_LOG(WARNING) << told << "; the service manager is not told "
                      << notice_;
  }
  notice_.clear();
}

// At the end of Run(): tries once more.
void Reactor::Impl::DropNotice() {
  if (notice_.empty()) return;
  loops_->main().Cancel(notice_timer_);
  notice_tries_ = kNoticeTries;
  SendNotice();
}

absl::Time Reactor::Impl::last_tick() const {
  if (!status_.ok()) return Clock::System().WallNow();  // Which may lack one.
  const Clock& clock = *options_.loop.clock;
  const int64_t tick = last_tick_ns_.load(std::memory_order_relaxed);
  return clock.WallNow() -
         (tick == kNoTick ? absl::ZeroDuration()
                          : clock.Now() - MonotonicTime::FromNanoseconds(tick));
}

// --- The public class ---

Reactor::Reactor(ReactorOptions options)
    : impl_(std::make_unique<Impl>(std::move(options))) {}

Reactor::~Reactor() {
  if (!impl_->is_inside_run()) return;
  ABSL_CHECK(g_process_exits) << "Reactor destroyed inside its own Run()";
  // A static Reactor, and exit(3) was called in Run(): the caller and other
  // threads still use the Impl.
  LeaveForEver(impl_.release());
}

absl::Status Reactor::Run() { return impl_->Run(); }
void Reactor::Stop(absl::Duration grace) { impl_->Stop(grace); }
void Reactor::Restart() { impl_->Restart(); }
Lifecycle& Reactor::lifecycle() { return impl_->lifecycle(); }

absl::StatusOr<ListenerId> Reactor::Listen(std::string_view url,
                                           ListenOptions options) {
  return impl_->Listen(url, std::move(options));
}

absl::StatusOr<SocketAddress> Reactor::ListenAddress(ListenerId id) const {
  const SocketAddress* const address = impl_->listeners().FindAddress(id);
  if (address == nullptr) return NoListener("ListenAddress", id);
  return *address;
}

absl::Status Reactor::PauseListener(ListenerId id) {
  return impl_->status().ok() &&
                 impl_->listeners().SetPaused(id, true, impl_->loops())
             ? absl::OkStatus()
             : NoListener("PauseListener", id);
}

absl::Status Reactor::ResumeListener(ListenerId id) {
  return impl_->status().ok() &&
                 impl_->listeners().SetPaused(id, false, impl_->loops())
             ? absl::OkStatus()
             : NoListener("ResumeListener", id);
}

absl::Status Reactor::CloseListener(ListenerId id) {
  return impl_->status().ok() && impl_->CloseListener(id)
             ? absl::OkStatus()
             : NoListener("CloseListener", id);
}

absl::StatusOr<ConnectorId> Reactor::Connect(std::string_view url,
                                             ConnectorOptions options) {
  return impl_->Connect(url, std::move(options));
}

absl::StatusOr<std::unique_ptr<Connector>> Reactor::ConnectOn(
    Loop& loop, std::string_view url, ConnectorOptions options) {
  if (!impl_->status().ok()) {
    CallIfAny(options.on_finish);
    return impl_->status();
  }
  return Connector::Create(loop, impl_->resolver(), url, std::move(options));
}

absl::Status Reactor::CancelConnect(ConnectorId id) {
  return impl_->CancelConnect(id);
}

Resolver& Reactor::resolver() { return impl_->resolver(); }

bool Reactor::Defer(std::function<void()> task) {
  return impl_->Defer(std::move(task));
}

absl::Status Reactor::RunEvery(Timer timer) {
  return impl_->RunEvery(std::move(timer));
}

bool Reactor::Post(Task task) { return impl_->Post(std::move(task)); }

bool Reactor::Post(ConnectionId id, ConnectionTask task) {
  return HandleOf(id).Post(id, std::move(task));
}

LoopHandle Reactor::HandleOf(ConnectionId id) const {
  if (!impl_->status().ok()) return {};
  return impl_->loops().HandleOf(id);
}

std::vector<LoopHandle> Reactor::handles() const {
  if (!impl_->status().ok()) return {};
  return impl_->loops().handles();
}

Loop& Reactor::loop() {
  ABSL_CHECK(impl_->status().ok()) << "Reactor: " << impl_->status();
  return impl_->loops().main();
}

int Reactor::running_workers() const { return impl_->running(); }
bool Reactor::is_worker() const { return impl_->is_worker(); }
bool Reactor::is_root() const { return impl_->is_root(); }
pid_t Reactor::root_pid() const { return impl_->root_pid(); }
int Reactor::worker_place() const { return impl_->place(); }
const Concurrency& Reactor::concurrency() const { return impl_->concurrency(); }
absl::Time Reactor::last_tick() const { return impl_->last_tick(); }
size_t Reactor::capacity() const { return impl_->capacity(); }

std::string_view Reactor::engine() const { return impl_->engine(); }

}  // namespace fio
