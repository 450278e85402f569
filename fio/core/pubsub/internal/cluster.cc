#include "fio/core/pubsub/internal/cluster.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/log/absl_log.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/base/errno_status.h"
#include "fio/base/unique_fd.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/process/worker_event.h"
#include "fio/core/pubsub/internal/link.h"
#include "fio/core/pubsub/internal/root_link.h"
#include "fio/core/pubsub/internal/worker_link.h"
#include "fio/core/pubsub/pub_sub_options.h"
#include "fio/core/reactor.h"
#include "fio/pubsub/internal/broker_core.h"

namespace fio::pubsub_internal {
namespace {

// What the kernel holds for a link. Without it the kernel takes no more than
// about 90 kB of small messages, because it counts memory.
constexpr int kKernelBytes = 1 << 20;
// How often what is too old is dropped from history.
constexpr absl::Duration kExpire = absl::Seconds(10);
// How long a worker that ends tries to send what it still has.
constexpr absl::Duration kFarewell = absl::Milliseconds(250);

bool MakeSocketPair(UniqueFd (&ends)[2]) {
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) !=
      0) {
    return false;
  }
  for (int i = 0; i < 2; ++i) {
    ends[i] = UniqueFd(fds[i]);
    setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &kKernelBytes,
               sizeof(kKernelBytes));
  }
  return true;
}

}  // namespace

Cluster::Cluster(Reactor& reactor, BrokerCore& core,
                 const ClusterOptions& options, uint64_t number,
                 MakeWake make_wake)
    : reactor_(reactor),
      core_(core),
      options_(options),
      name_(absl::StrCat("fio.pubsub.", number)),
      make_wake_(std::move(make_wake)) {
  On(LifecycleEvent::kPreStart, &Cluster::Begin);
  On(LifecycleEvent::kBeforeFork, &Cluster::MakePair);
  On(LifecycleEvent::kInRoot, &Cluster::EnterRoot);
  On(LifecycleEvent::kInChild, &Cluster::EnterChild);
  On(LifecycleEvent::kOnStart, &Cluster::Start);
  On(LifecycleEvent::kOnFinish, &Cluster::Finish);
}

Cluster::~Cluster() {
  for (const Lifecycle::CallbackId callback : callbacks_) {
    reactor_.lifecycle().Remove(callback);
  }
}

void Cluster::On(LifecycleEvent event, void (Cluster::*method)(WorkerEvent&)) {
  callbacks_.push_back(reactor_.lifecycle().Add(
      event, [this, method](WorkerEvent& worker) { (this->*method)(worker); }));
}

void Cluster::Begin(WorkerEvent& /*worker*/) {
  core_.EndPreset();
  if (!core_.has_history()) return;
  const absl::Status timer = reactor_.RunEvery(
      {.callback = [this] { core_.ExpireHistory(); }, .interval = kExpire});
  if (!timer.ok()) ABSL_LOG(ERROR) << timer;
}

// A worker without a link would miss what others publish, so it gives up, and
// the root tries again later.
void Cluster::MakePair(WorkerEvent& worker) {
  UniqueFd ends[2];
  if (!MakeSocketPair(ends)) {
    ABSL_LOG(ERROR) << ErrnoToStatus(errno, "socketpair for a worker");
    return;
  }
  worker.KeepInRoot(name_, std::move(ends[0]));
  worker.GiveToWorker(name_, std::move(ends[1]));
}

void Cluster::EnterRoot(WorkerEvent& worker) {
  UniqueFd end = worker.Take(name_);
  if (!end) return;
  const uint64_t number = ++last_link_;
  auto link = std::make_unique<WorkerLink>(
      std::move(end), worker.pid(),
      Link::Options{.frames = core_.frame_limits(),
                    .max_waiting_bytes = options_.max_bytes_to_worker,
                    .drops_oldest = true,
                    .max_stall = options_.max_stall},
      core_,
      WorkerLink::Events{
          .on_lost = [this,
                      number](const absl::Status& why) { Lost(number, why); },
          .on_stalled = [this, number] { Stalled(number); },
          .on_dropped = [this] { Dropped(); }});
  const absl::Status started = link->Start(reactor_.loop());
  if (!started.ok()) {
    ABSL_LOG(ERROR) << "link to process " << worker.pid() << ": " << started;
    return;  // Its end tells the worker.
  }
  core_.topics().AddPresets(*link);
  workers_.emplace(number, std::move(link));
}

void Cluster::EnterChild(WorkerEvent& worker) {
  workers_.clear();
  root_ = nullptr;
  core_.EnterWorker(make_wake_());
  UniqueFd end = worker.Take(name_);
  if (!end) {
    ABSL_LOG(ERROR) << "worker " << worker.place()
                    << " has no link to its root";
    return reactor_.Stop();
  }
  root_ = std::make_unique<RootLink>(
      std::move(end),
      Link::Options{.frames = core_.frame_limits(),
                    .max_waiting_bytes = options_.max_bytes_to_root},
      core_, [this](const absl::Status& why) { LostRoot(why); });
}

void Cluster::Start(WorkerEvent& worker) {
  if (root_ == nullptr) return;
  const absl::Status started = root_->Start(reactor_.loop());
  if (started.ok()) return;
  ABSL_LOG(ERROR) << "worker " << worker.place()
                  << ": link to the root: " << started;
  reactor_.Stop();
}

void Cluster::Finish(WorkerEvent& /*worker*/) {
  core_.main_lane().Run();
  if (root_ != nullptr) {
    root_->FlushFor(kFarewell);
    root_->End();  // A thread of the program may still publish.
  }
  workers_.clear();
  core_.BeginPreset();
}

// The worker has ended, or has sent what no worker sends: then it is replaced.
void Cluster::Lost(uint64_t link, const absl::Status& why) {
  const auto found = workers_.find(link);
  if (!why.ok()) {
    ABSL_LOG(ERROR) << "link to process " << found->second->worker() << ": "
                    << why;
    reactor_.lifecycle().Force(LifecycleEvent::kOnPubSubError);
  }
  reactor_.loop().Defer([this, link] { Forget(link); });
}

void Cluster::Forget(uint64_t link) {
  const auto found = workers_.find(link);
  if (found == workers_.end()) return;
  dropped_before_ += found->second->link().dropped();
  workers_.erase(found);
}

void Cluster::Stalled(uint64_t link) {
  const WorkerLink& stalled = *workers_.find(link)->second;
  ABSL_LOG(ERROR) << "process " << stalled.worker() << " has read nothing for "
                  << options_.max_stall << ", with "
                  << stalled.link().waiting_bytes()
                  << " bytes waiting for it: killed";
  kill(stalled.worker(), SIGKILL);
}

void Cluster::Dropped() {
  ABSL_LOG_EVERY_N_SEC(ERROR, 10)
      << "pub/sub: messages for a worker were dropped: it is too slow";
  reactor_.lifecycle().Force(LifecycleEvent::kOnPubSubError);
}

// The root has ended, or has closed the link because of an error.
void Cluster::LostRoot(const absl::Status& why) {
  if (!why.ok()) ABSL_LOG(ERROR) << "link to the root: " << why;
  reactor_.Stop();
}

ClusterStats Cluster::stats() const {
  ClusterStats stats{.links = workers_.size(), .dropped = dropped_before_};
  for (const auto& [number, worker] : workers_) {
    stats.dropped += worker->link().dropped();
    stats.waiting_bytes += worker->link().waiting_bytes();
  }
  return stats;
}

}  // namespace fio::pubsub_internal
