#include "fio/core/reactor.h"

#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/log/absl_log.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/base/clock.h"
#include "fio/base/concurrency.h"
#include "fio/base/fork_count.h"
#include "fio/core/connector.h"
#include "fio/core/exit_with.h"
#include "fio/core/internal/listen_entry.h"
#include "fio/core/internal/on_finish.h"
#include "fio/core/internal/preset.h"
#include "fio/core/internal/reactor_setup.h"
#include "fio/core/internal/root.h"
#include "fio/core/internal/root_thread_check.h"
#include "fio/core/internal/run_guard.h"
#include "fio/core/internal/server.h"
#include "fio/core/internal/server_run.h"
#include "fio/core/internal/signal_scope.h"
#include "fio/core/internal/stop_request.h"
#include "fio/core/listener.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/core/process/descriptor_limit.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/process/supervisor_stats.h"
#include "fio/core/process/worker_end.h"
#include "fio/core/reactor_options.h"
#include "fio/core/resolver.h"
#include "fio/defer/task.h"
#include "fio/sock/socket_address.h"

namespace fio {

using core_internal::CallIfAny;
using core_internal::Preset;
using core_internal::ReactorSetup;
using core_internal::Role;
using core_internal::Root;
using core_internal::RootThreadCheck;
using core_internal::RunGuard;
using core_internal::Server;
using core_internal::ServerRun;
using core_internal::Servers;
using core_internal::SignalScope;
using core_internal::StopRequest;

namespace {

absl::Status NoListener(std::string_view call, ListenerId id) {
  return absl::NotFoundError(absl::StrCat(
      "reactor: ", call, ": no listener has id ", static_cast<uint64_t>(id)));
}

}  // namespace

class Reactor::Impl {
 public:
  explicit Impl(ReactorOptions options)
      : setup_(std::move(options)),
        thread_check_(setup_.options.root_threads),
        server_(MakeServer(setup_.is_cluster() ? Role::Kind::kRoot
                                               : Role::Kind::kSingle)) {}
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl();

  absl::Status Run();
  void Stop(absl::Duration grace);
  void Restart();
  void Reload();

  absl::StatusOr<ListenerId> Listen(std::string_view url,
                                    ListenOptions options);
  absl::StatusOr<ConnectorId> Connect(std::string_view url,
                                      ConnectorOptions options);
  absl::Status CancelConnect(ConnectorId id);
  bool Defer(std::function<void()> task);
  absl::Status RunEvery(Preset::Timer timer);

  // Any thread.
  const absl::Status& status() const { return server_->status(); }
  bool is_inside_run() const { return guard_.is_inside(); }
  ReactorSetup& setup() { return setup_; }
  Server& server() { return *server_; }
  pid_t root_pid() const { return root_pid_; }
  size_t capacity() const { return capacity_; }
  absl::Time last_tick() const;

 private:
  std::unique_ptr<Server> MakeServer(Role::Kind kind, int place = 0) {
    return std::make_unique<Server>(Role{kind, place}, setup_);
  }
  bool is_running() const {
    return run_ != nullptr && run_->phases().is_running();
  }
  absl::Status CheckPlace(std::string_view call, std::string_view url,
                          bool root_only) const;

  absl::Status Begin();
  absl::Status RunToEnd();
  absl::Status Supervise();
  absl::Status End(absl::Status status);
  void EnterChild(int place);

  const int fork_count_ = ForkCount();
  ReactorSetup setup_;
  RootThreadCheck thread_check_;
  RunGuard guard_;
  StopRequest request_;
  std::unique_ptr<Server> server_;  // Of this process.
  std::unique_ptr<ServerRun> run_;  // While Run() is running.
  uint64_t last_connector_ = 0;

  // State that other threads may read.
  std::atomic<pid_t> root_pid_{getpid()};
  std::atomic<size_t> capacity_{0};
};

// --- Setting up ---

// Calls on_finish of what was set up and never ran, but not in a child of
// fork(2): the parent does that.
Reactor::Impl::~Impl() {
  if (fork_count_ != ForkCount()) return;
  setup_.preset.Drop();
  setup_.listeners.Drop();
}

// Whether this process may listen or connect now, with or without `root_only`.
absl::Status Reactor::Impl::CheckPlace(std::string_view call,
                                       std::string_view url,
                                       bool root_only) const {
  const Role& role = server_->role();
  const bool fits = role.is_worker() ? !root_only : root_only || !is_running();
  if (role.is_single() || fits) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      call, " ", url,
      role.is_root()
          ? ": the workers run already; call it before Run(), or make "
            "it root_only"
          : ": it is root_only, and this is a worker"));
}

absl::StatusOr<ListenerId> Reactor::Impl::Listen(std::string_view url,
                                                 ListenOptions options) {
  const auto fail = [&options](absl::Status status) {
    CallIfAny(options.on_finish);
    return status;
  };
  if (!status().ok()) return fail(status());
  absl::Status here = CheckPlace("listen", url, options.root_only);
  if (!here.ok()) return fail(here);
  const bool is_root = server_->role().is_root();
  const auto workers = static_cast<size_t>(setup_.concurrency.workers);
  const Servers servers = {
      .workers = is_root && !is_running() ? workers : 1,
      .loops = static_cast<size_t>(setup_.concurrency.threads),
      .root_is_apart = is_root};
  absl::StatusOr<ListenerId> id = setup_.listeners.Open(url, options, servers);
  if (!id.ok()) return fail(id.status());
  if (run_ != nullptr && run_->phases().serves()) {
    absl::Status accepts = server_->Accept(*id);
    if (!accepts.ok()) {
      server_->CloseListener(*id);
      return accepts;
    }
  }
  return id;
}

absl::StatusOr<ConnectorId> Reactor::Impl::Connect(std::string_view url,
                                                   ConnectorOptions options) {
  const auto fail = [&options](absl::Status status) {
    CallIfAny(options.on_finish);
    return status;
  };
  if (!status().ok()) return fail(status());
  absl::Status here = CheckPlace("connect", url, options.root_only);
  if (!here.ok()) return fail(here);
  const auto id = static_cast<ConnectorId>(++last_connector_);
  if (is_running()) {
    absl::Status started = server_->Connect(id, url, std::move(options));
    if (!started.ok()) return started;
    return id;
  }
  absl::Status checked = Connector::Prepare(url, options);
  if (!checked.ok()) return fail(checked);
  setup_.preset.Add(
      Preset::Connector{id, std::string(url), std::move(options)});
  return id;
}

absl::Status Reactor::Impl::CancelConnect(ConnectorId id) {
  if (status().ok() &&
      (server_->CancelConnect(id) || setup_.preset.Cancel(id))) {
    return absl::OkStatus();
  }
  return absl::NotFoundError(
      absl::StrCat("reactor: CancelConnect: no connector has id ",
                   static_cast<uint64_t>(id)));
}

bool Reactor::Impl::Defer(std::function<void()> task) {
  if (task == nullptr) return false;
  if (is_running()) {
    server_->Post(std::move(task));
  } else {
    setup_.preset.Add(std::move(task));
  }
  return true;
}

absl::Status Reactor::Impl::RunEvery(Preset::Timer timer) {
  if (timer.callback == nullptr || timer.interval <= absl::ZeroDuration()) {
    CallIfAny(timer.on_finish);
    return absl::InvalidArgumentError(
        timer.callback == nullptr
            ? "reactor: RunEvery: the callback is missing"
            : absl::StrCat("reactor: RunEvery: the interval is not positive: ",
                           absl::FormatDuration(timer.interval)));
  }
  if (is_running()) {
    server_->RunEvery(std::move(timer));
  } else {
    setup_.preset.Add(std::move(timer));
  }
  return absl::OkStatus();
}

// --- Running ---

absl::Status Reactor::Impl::Run() {
  if (!status().ok()) return status();
  if (guard_.is_inside()) {
    return absl::FailedPreconditionError("reactor: Run() is running already");
  }
  guard_.Enter();
  absl::Status status = RunToEnd();
  guard_.Leave();
  return status;
}

absl::Status Reactor::Impl::RunToEnd() {
  absl::Status began = Begin();
  if (!began.ok()) return End(std::move(began));
  setup_.lifecycle.Initialize();
  setup_.lifecycle.Force(LifecycleEvent::kPreStart);
  run_->Hear();
  if (run_->phases().is_stop_asked()) return End(absl::OkStatus());
  return End(setup_.is_cluster() ? Supervise() : run_->Serve());
}

absl::Status Reactor::Impl::Begin() {
  const absl::StatusOr<size_t> limit =
      RaiseDescriptorLimit(setup_.options.max_descriptors);
  if (!limit.ok()) ABSL_LOG(WARNING) << limit.status();
  capacity_ = limit.value_or(0);
  root_pid_ = getpid();
  request_.Open();
  setup_.hears_reload = setup_.lifecycle.Has(LifecycleEvent::kOnReload);
  run_ = std::make_unique<ServerRun>(*server_, setup_, request_);
  return run_->Begin();
}

absl::Status Reactor::Impl::End(absl::Status status) {
  request_.Close();
  run_->End();
  server_->Shrink();
  // A worker ends in Run(): its signals stay handled, SIGPIPE above all, while
  // callbacks for kAtExit run and streams are flushed.
  if (!server_->role().is_worker()) run_ = nullptr;
  capacity_ = 0;
  return status;
}

absl::Status Reactor::Impl::Supervise() {
  absl::StatusOr<std::unique_ptr<Root>> root =
      Root::Create({.setup = setup_,
                    .request = request_,
                    .thread_check = thread_check_,
                    .server = *server_,
                    .run = *run_,
                    .enter_child = [this](int place) { EnterChild(place); }});
  if (!root.ok()) return root.status();
  absl::StatusOr<std::unique_ptr<WorkerEnd>> child = (*root)->Run();
  if (!child.ok()) return child.status();
  if (*child == nullptr) return (*root)->crash();
  *root = nullptr;  // The worker's copy.
  std::exit(ExitWith(End(run_->ServeAsWorker(*std::move(child)))));
}

// Called right after fork(2). Destroys the child's copies of the root's loop;
// nothing of them is sent. The signals are blocked until the end, when the
// child's own SignalScope takes what has arrived meanwhile.
void Reactor::Impl::EnterChild(int place) {
  const std::unique_ptr<SignalScope> signals_of_root = run_->ReleaseSignals();
  std::unique_ptr<Server> inherited =
      std::exchange(server_, MakeServer(Role::Kind::kWorker, place));
  if (!status().ok()) {
    // Nothing can run without a loop. The root tries again.
    ABSL_LOG(ERROR) << "worker " << place << ": " << status();
    _exit(EXIT_FAILURE);
  }
  request_.Open();
  run_ = std::make_unique<ServerRun>(*server_, setup_, request_);
  inherited = nullptr;
  run_->Begin().IgnoreError();  // ServeAsWorker() returns it.
}

// --- Requests ---

void Reactor::Impl::Stop(absl::Duration grace) {
  if (!status().ok()) return;  // There may be no clock.
  if (request_.Stop(setup_.Now() + grace)) server_->main().Wake();
}

void Reactor::Impl::Restart() {
  if (request_.Restart()) server_->main().Wake();
}

void Reactor::Impl::Reload() {
  if (request_.Reload()) server_->main().Wake();
}

absl::Time Reactor::Impl::last_tick() const {
  if (!status().ok()) return Clock::System().WallNow();  // Which may lack one.
  return server_->last_tick();
}

// --- The public class ---

Reactor::Reactor(ReactorOptions options)
    : impl_(std::make_unique<Impl>(std::move(options))) {}

Reactor::~Reactor() {
  if (!impl_->is_inside_run()) return;
  ABSL_CHECK(RunGuard::ProcessExits())
      << "Reactor destroyed inside its own Run()";
  // A static Reactor, and exit(3) was called in Run(): the caller and other
  // threads still use the Impl.
  RunGuard::LeaveForEver(impl_.release());
}

absl::Status Reactor::Run() { return impl_->Run(); }
void Reactor::Stop(absl::Duration grace) { impl_->Stop(grace); }
void Reactor::Restart() { impl_->Restart(); }
void Reactor::Reload() { impl_->Reload(); }
Lifecycle& Reactor::lifecycle() { return impl_->setup().lifecycle; }

absl::StatusOr<ListenerId> Reactor::Listen(std::string_view url,
                                           ListenOptions options) {
  return impl_->Listen(url, std::move(options));
}

absl::StatusOr<SocketAddress> Reactor::ListenAddress(ListenerId id) const {
  const SocketAddress* const address = impl_->setup().listeners.FindAddress(id);
  if (address == nullptr) return NoListener("ListenAddress", id);
  return *address;
}

absl::Status Reactor::GetListenerStats(
    ListenerId id, std::function<void(const ListenerStats&)> done) {
  if (done == nullptr) {
    return absl::InvalidArgumentError(
        "reactor: GetListenerStats: done is null");
  }
  return impl_->status().ok() && impl_->server().GetStats(id, std::move(done))
             ? absl::OkStatus()
             : NoListener("GetListenerStats", id);
}

absl::Status Reactor::PauseListener(ListenerId id) {
  return impl_->status().ok() && impl_->server().SetPaused(id, true)
             ? absl::OkStatus()
             : NoListener("PauseListener", id);
}

absl::Status Reactor::ResumeListener(ListenerId id) {
  return impl_->status().ok() && impl_->server().SetPaused(id, false)
             ? absl::OkStatus()
             : NoListener("ResumeListener", id);
}

absl::Status Reactor::CloseListener(ListenerId id) {
  return impl_->status().ok() && impl_->server().CloseListener(id)
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
  return Connector::Create(loop, impl_->server().resolver(), url,
                           std::move(options));
}

absl::Status Reactor::CancelConnect(ConnectorId id) {
  return impl_->CancelConnect(id);
}

Resolver& Reactor::resolver() { return impl_->server().resolver(); }

bool Reactor::Defer(std::function<void()> task) {
  return impl_->Defer(std::move(task));
}

absl::Status Reactor::RunEvery(Timer timer) {
  return impl_->RunEvery({.callback = std::move(timer.callback),
                          .interval = timer.interval,
                          .repetitions = timer.repetitions,
                          .on_finish = std::move(timer.on_finish)});
}

bool Reactor::Post(Task task) {
  return impl_->status().ok() && impl_->server().Post(std::move(task));
}

bool Reactor::ForEachLoop(std::function<void(Loop&)> task,
                          std::function<void()> done) {
  if (task == nullptr || !impl_->status().ok()) return false;
  impl_->server().ForEachLoop(std::move(task), std::move(done));
  return true;
}

bool Reactor::Post(ConnectionId id, ConnectionTask task) {
  return HandleOf(id).Post(id, std::move(task));
}

LoopHandle Reactor::HandleOf(ConnectionId id) const {
  if (!impl_->status().ok()) return {};
  return impl_->server().loops().HandleOf(id);
}

std::vector<LoopHandle> Reactor::handles() const {
  if (!impl_->status().ok()) return {};
  return impl_->server().loops().handles();
}

Loop& Reactor::loop() {
  ABSL_CHECK(impl_->status().ok()) << "Reactor: " << impl_->status();
  return impl_->server().main();
}

int Reactor::running_workers() const { return impl_->server().running(); }
bool Reactor::is_worker() const { return !impl_->server().role().is_root(); }
bool Reactor::is_root() const { return !impl_->server().role().is_worker(); }
pid_t Reactor::root_pid() const { return impl_->root_pid(); }
int Reactor::worker_place() const { return impl_->server().role().place; }
SupervisorStats Reactor::supervisor_stats() const {
  return impl_->server().supervisor_stats().Get();
}
const Concurrency& Reactor::concurrency() const {
  return impl_->setup().concurrency;
}
absl::Time Reactor::last_tick() const { return impl_->last_tick(); }
size_t Reactor::capacity() const { return impl_->capacity(); }

std::string_view Reactor::engine() const { return impl_->server().engine(); }

}  // namespace fio
