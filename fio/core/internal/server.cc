#include "fio/core/internal/server.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "fio/base/clock.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/connector.h"
#include "fio/core/internal/listen_entry.h"
#include "fio/core/internal/listen_set.h"
#include "fio/core/internal/loop_group.h"
#include "fio/core/internal/on_finish.h"
#include "fio/core/internal/preset.h"
#include "fio/core/internal/queue_watch.h"
#include "fio/core/internal/reactor_setup.h"
#include "fio/core/poller/poller.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/resolver.h"

namespace fio::core_internal {
namespace {

constexpr int64_t kNoTick = std::numeric_limits<int64_t>::min();

}  // namespace

Server::Server(Role role, ReactorSetup& setup)
    : role_(role),
      setup_(setup),
      status_(CreateLoops()),
      last_tick_ns_(kNoTick) {
  if (!status_.ok()) {
    resolver_ = std::make_unique<Resolver>();
    return;
  }
  // A root with workers must not have threads.
  resolver_ = role_.is_root() ? Resolver::InProcesses(main())
                              : std::make_unique<Resolver>();
  acceptors_.emplace(
      *loops_, setup_.listeners,
      role_.is_root() ? kRoot : static_cast<size_t>(role_.place));
  connectors_.emplace(main(), *resolver_);
}

Server::~Server() {
  if (loops_ == nullptr || main().is_inherited()) return;
  resolver_->CancelAll();  // While its loop lives.
}

absl::Status Server::CreateLoops() {
  absl::Status checked = setup_.Check();
  if (!checked.ok()) return checked;
  Lifecycle& lifecycle = setup_.lifecycle;
  absl::StatusOr<std::unique_ptr<LoopGroup>> loops = LoopGroup::Create(
      setup_.options.loop,
      {.wants_idle =
           [this, &lifecycle] {
             return lifecycle.Has(LifecycleEvent::kOnIdle) && running_ > 0;
           },
       .on_idle =
           [this, &lifecycle] {
             if (running_ > 0) lifecycle.Force(LifecycleEvent::kOnIdle);
           }});
  if (!loops.ok()) return loops.status();
  loops_ = *std::move(loops);
  return absl::OkStatus();
}

std::string_view Server::engine() const {
  return PollerKindName(loops_ == nullptr ? setup_.options.loop.poller
                                          : loops_->main().poller_kind());
}

absl::Time Server::last_tick() const {
  const Clock& clock = *setup_.options.loop.clock;
  const int64_t tick = last_tick_ns_.load(std::memory_order_relaxed);
  return clock.WallNow() -
         (tick == kNoTick ? absl::ZeroDuration()
                          : clock.Now() - MonotonicTime::FromNanoseconds(tick));
}

// A task of the main loop, where the number of loops does not change.
void Server::ForEachLoop(std::function<void(Loop&)> task,
                         std::function<void()> done) {
  Post([this,
        task = std::make_shared<std::function<void(Loop&)>>(std::move(task)),
        done = std::move(done)]() mutable {
    const auto each = [task](size_t, Loop& loop) { (*task)(loop); };
    if (loops_->has_threads()) return loops_->ForEach(each, std::move(done));
    // All at once, not as a further task, for which the last turn may be over.
    loops_->ForEach(each);
    CallIfAny(done);
  });
}

absl::Status Server::RunTurn(MonotonicTime deadline) {
  absl::Status turn = loops_->RunMain(deadline);
  last_tick_ns_.store(main().now().nanoseconds(), std::memory_order_relaxed);
  return turn;
}

// --- Listeners ---

void Server::AcceptLent(int place, absl::Duration time) {
  acceptors_->AcceptLent(static_cast<size_t>(place), time);
}

bool Server::SetPaused(ListenerId id, bool paused) {
  if (!setup_.listeners.SetPaused(id, paused)) return false;
  acceptors_->UpdatePaused(id);
  return true;
}

bool Server::GetStats(ListenerId id,
                      std::function<void(const ListenerStats&)> done) {
  if (setup_.listeners.Find(id) == nullptr) return false;
  acceptors_->GetStats(id, std::move(done));
  return true;
}

bool Server::CloseListener(ListenerId id) {
  const std::shared_ptr<const ListenEntry> entry = setup_.listeners.Take(id);
  if (entry == nullptr) return false;
  const ListenEntries ended = {{id, entry}};
  if (acceptors_->are_none()) {
    StopListening(ended);
    CallOnFinish(ended);
  } else {
    acceptors_->End(ended, !entry->is_of_workers(), nullptr);
  }
  if (queues_ != nullptr) WatchQueues(on_stuck_);
  return true;
}

void Server::WatchQueues(QueueWatch::OnStuck on_stuck) {
  on_stuck_ = std::move(on_stuck);
  std::vector<QueueWatch::Queue> queues;
  for (const ListenSet::Shared& shared : setup_.listeners.SharedSockets()) {
    queues.push_back({static_cast<int>(shared.worker), shared.socket});
  }
  queues_ = nullptr;
  queues_ = std::make_unique<QueueWatch>(main(), std::move(queues), on_stuck_);
}

void Server::CloseListeners(std::function<void()> done) {
  queues_ = nullptr;
  acceptors_->End(setup_.listeners.TakeAll(), /*stops_listening=*/true,
                  std::move(done));
}

// --- Connectors and timers ---

absl::Status Server::Connect(ConnectorId id, std::string_view url,
                             ConnectorOptions options) {
  return connectors_->Start(id, url, std::move(options));
}

void Server::RunEvery(Preset::Timer timer) {
  main().RunEvery({.callback = std::move(timer.callback),
                   .interval = timer.interval,
                   .repetitions = timer.repetitions,
                   .on_finish = OnlyInThisProcess(std::move(timer.on_finish))});
}

// --- The end of a Run() ---

void Server::Finish() {
  DropConnectors();
  CloseListeners(nullptr);
  loops_->Finish();
  acceptors_->Clear();
}

void Server::Shrink() {
  loops_->Resize(1).IgnoreError();
  resolver_->CancelAll();
}

}  // namespace fio::core_internal
