#include "fio/core/process/supervisor.h"

#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/log/absl_log.h"
#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/errno_status.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/syscalls.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/child_watch.h"
#include "fio/core/process/internal/child_process.h"
#include "fio/core/process/internal/worker_channel.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/process/supervisor_options.h"
#include "fio/core/process/supervisor_stats.h"
#include "fio/core/process/worker_end.h"
#include "fio/core/process/worker_event.h"

namespace fio {

using process_internal::DescribeEnd;
using process_internal::IsOurChild;
using process_internal::OpenSocketPair;
using process_internal::Reap;
using process_internal::Report;
using process_internal::SocketPair;

absl::StatusOr<std::unique_ptr<Supervisor>> Supervisor::Create(
    SupervisorOptions options, Lifecycle& lifecycle) {
  absl::Status checked = process_internal::Check(options);
  if (!checked.ok()) return checked;
  absl::StatusOr<SocketPair> reports = OpenSocketPair("of workers");
  if (!reports.ok()) return reports.status();
  absl::StatusOr<std::unique_ptr<ChildWatch>> children = ChildWatch::Create();
  if (!children.ok()) return children.status();
  return absl::WrapUnique(
      new Supervisor(std::move(options), lifecycle, *std::move(children),
                     std::move(reports->root), std::move(reports->worker)));
}

Supervisor::Supervisor(SupervisorOptions options, Lifecycle& lifecycle,
                       std::unique_ptr<ChildWatch> children, UniqueFd reports,
                       UniqueFd worker_reports)
    : options_(std::move(options)),
      lifecycle_(lifecycle),
      root_(getpid()),
      children_(std::move(children)),
      reports_(std::move(reports)),
      worker_reports_(std::move(worker_reports)),
      fds_({children_->fd(), reports_.get()}),
      places_(static_cast<size_t>(options_.workers)) {}

Supervisor::~Supervisor() {
  if (!in_root()) return;
  const std::vector<pid_t> left = pids();
  if (!left.empty()) {
    ABSL_LOG(ERROR) << "the root ends before its workers (processes "
                    << absl::StrJoin(left, ", ") << "): killed";
  }
  for (const pid_t pid : left) {
    if (IsOurChild(pid)) kill(pid, SIGKILL);
  }
  for (const pid_t pid : left) Reap(pid);
}

absl::Span<const int> Supervisor::fds() const {
  if (children_ == nullptr) return {};
  return fds_;
}

MonotonicTime Supervisor::next_deadline() const {
  MonotonicTime next = MonotonicTime::InfiniteFuture();
  const auto include = [&](const Worker& worker, StopLevel level) {
    next = std::min(next, worker.kill_at);
    if (worker.told < level || MustReload(worker)) {
      next = std::min(next, worker.retry_at);
    }
  };
  const Place* const restarted = RestartedPlace();
  for (const Place& place : places_) {
    if (WantsWorker(place, restarted)) next = std::min(next, place.not_before);
    if (HasStaleReplacement(place)) next = MonotonicTime::InfinitePast();
    for (const Worker& worker : place.workers) include(worker, stop_);
  }
  for (size_t i = 0; i < leaving_.size(); ++i) {
    include(leaving_[i], LevelOfLeaving(i));
  }
  return next;
}

absl::StatusOr<std::unique_ptr<WorkerEnd>> Supervisor::Advance(
    MonotonicTime now) {
  if (!in_root()) {
    return absl::FailedPreconditionError(
        absl::StrCat("this Supervisor belongs to process ", root_));
  }
  // Collect the ends before the reports: a worker that has ended has sent its
  // reports before.
  std::vector<ChildExit> exits;
  while (std::optional<ChildExit> exit = children_->Next()) {
    exits.push_back(*exit);
  }
  HearReports(now);
  for (const ChildExit& exit : exits) OnExit(exit, now);
  ReplaceWorkers();
  SendOrders(now);
  return ForkWorkers(now);
}

void Supervisor::Restart() { ++restarts_; }

void Supervisor::Reload() { ++reloads_; }

void Supervisor::Stop(StopLevel level) { stop_ = std::max(stop_, level); }

bool Supervisor::finished() const {
  return stop_ != StopLevel::kNone && pids().empty();
}

bool Supervisor::all_ready() const {
  return std::all_of(places_.begin(), places_.end(), [](const Place& place) {
    return !place.workers.empty() && place.workers.front().ready_at.has_value();
  });
}

bool Supervisor::restarting() const { return RestartedPlace() != nullptr; }

std::vector<pid_t> Supervisor::pids() const {
  std::vector<pid_t> pids;
  for (const Place& place : places_) {
    for (const Worker& worker : place.workers) pids.push_back(worker.pid);
  }
  for (const Worker& worker : leaving_) pids.push_back(worker.pid);
  return pids;
}

bool Supervisor::in_root() const { return getpid() == root_; }

bool Supervisor::IsOutdated(const Worker& worker) const {
  return worker.restarts < restarts_;
}

bool Supervisor::HasStaleReplacement(const Place& place) const {
  return stop_ == StopLevel::kNone && place.workers.size() > 1 &&
         IsOutdated(place.workers.back());
}

const Supervisor::Place* Supervisor::RestartedPlace() const {
  if (stop_ != StopLevel::kNone) return nullptr;
  const Place* first = nullptr;
  bool outdated = false;
  for (const Place& place : places_) {
    const Worker* const worker =
        place.workers.empty() ? nullptr : &place.workers.front();
    const bool is_outdated = worker != nullptr && IsOutdated(*worker);
    const bool is_done =
        worker != nullptr && !is_outdated && worker->ready_at.has_value();
    outdated |= is_outdated;
    if (first == nullptr && !is_done) first = &place;
  }
  return outdated ? first : nullptr;
}

bool Supervisor::WantsWorker(const Place& place, const Place* restarted) const {
  if (stop_ != StopLevel::kNone) return false;
  if (place.workers.empty()) return true;
  return &place == restarted && place.workers.size() == 1 &&
         IsOutdated(place.workers.front()) && !IsFull(place);
}

bool Supervisor::IsFull(const Place& place) const {
  const auto leaving = std::count_if(
      leaving_.begin(), leaving_.end(), [&](const Worker& worker) {
        return &places_[static_cast<size_t>(worker.place)] == &place;
      });
  return leaving >= options_.max_leaving;
}

StopLevel Supervisor::LevelOfLeaving(size_t index) const {
  const auto worker = leaving_.begin() + static_cast<std::ptrdiff_t>(index);
  const auto newer = std::count_if(
      worker + 1, leaving_.end(),
      [&](const Worker& other) { return other.place == worker->place; });
  return std::max(stop_, newer < options_.max_leaving ? StopLevel::kDrain
                                                      : StopLevel::kCutOff);
}

void Supervisor::HearReports(MonotonicTime now) {
  for (;;) {
    Report report;
    const ssize_t got =
        Sys().recv(reports_.get(), &report, sizeof(report), MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return;  // Nothing, or an error: it stays readable.
    OnReport(report, now);
  }
}

void Supervisor::OnReport(const Report& report, MonotonicTime now) {
  for (Place& place : places_) {
    const auto worker = std::find_if(
        place.workers.begin(), place.workers.end(),
        [&](const Worker& each) { return each.id == report.worker; });
    if (worker == place.workers.end()) continue;
    if (report.kind == Report::Kind::kReady) {
      worker->ready_at = now;
    } else if (stop_ == StopLevel::kNone) {
      leaving_.push_back(std::move(*worker));
      place.workers.erase(worker);
      OnLostWorker(place, leaving_.back(), now);
    }
    return;
  }
}

// Schedules a replacement, and lends the place to another worker meanwhile.
void Supervisor::OnLostWorker(Place& place, const Worker& worker,
                              MonotonicTime now) {
  if (worker.ready_at.has_value() &&
      now - *worker.ready_at >= options_.min_lifetime) {
    place.delay = absl::ZeroDuration();
    place.not_before = now;
  } else {
    Delay(place, now);
  }
  const bool served =
      !place.workers.empty() && place.workers.front().ready_at.has_value();
  if (!served) Lend(static_cast<int>(&place - places_.data()), 1);
}

void Supervisor::OnExit(const ChildExit& exit, MonotonicTime now) {
  const auto take_from =
      [&](std::vector<Worker>& workers) -> std::optional<Worker> {
    const auto it = std::find_if(
        workers.begin(), workers.end(),
        [&](const Worker& worker) { return worker.pid == exit.pid; });
    if (it == workers.end()) return std::nullopt;
    Worker taken = std::move(*it);
    workers.erase(it);
    return taken;
  };
  std::optional<Worker> ended = take_from(leaving_);
  for (Place& place : places_) {
    if (ended.has_value()) break;
    ended = take_from(place.workers);
    if (!ended.has_value()) continue;
    OnLostWorker(place, *ended, now);
  }
  if (!ended.has_value() || stop_ != StopLevel::kNone ||
      ended->told == StopLevel::kKill || exit.status.value_or(0) == 0) {
    return;
  }
  ++stats_.crashed;
  const std::string crash =
      absl::StrCat(Describe(*ended), " crashed: ", DescribeEnd(*exit.status));
  ABSL_LOG(ERROR) << crash;
  if (!options_.respawn) {
    crash_ = absl::AbortedError(crash);
    Stop(StopLevel::kGraceful);
  }
  WorkerEvent event(ended->place, ended->generation, ended->pid);
  lifecycle_.Force(LifecycleEvent::kOnChildCrash, event);
}

void Supervisor::Delay(Place& place, MonotonicTime now) const {
  place.delay = std::min(options_.max_delay, place.delay == absl::ZeroDuration()
                                                 ? options_.first_delay
                                                 : 2 * place.delay);
  place.not_before = now + place.delay;
}

void Supervisor::ReplaceWorkers() {
  for (Place& place : places_) {
    if (place.workers.size() > 1 && place.workers.back().ready_at.has_value()) {
      leaving_.push_back(std::move(place.workers.front()));
      place.workers.erase(place.workers.begin());
    }
    if (HasStaleReplacement(place)) {
      leaving_.push_back(std::move(place.workers.back()));
      place.workers.pop_back();
    }
  }
}

absl::StatusOr<std::unique_ptr<WorkerEnd>> Supervisor::ForkWorkers(
    MonotonicTime now) {
  const Place* const restarted = RestartedPlace();
  for (Place& place : places_) {
    if (!WantsWorker(place, restarted) || now < place.not_before) continue;
    absl::StatusOr<std::unique_ptr<WorkerEnd>> worker = Fork(place, now);
    if (worker.ok()) {
      if (*worker != nullptr) return worker;
      continue;
    }
    const bool starts =
        std::any_of(places_.begin(), places_.end(),
                    [](const Place& each) { return each.forked == 0; });
    if (starts) return worker;
    ++stats_.failed_forks;
    Delay(place, now);
    ABSL_LOG(ERROR) << worker.status().message() << "; again in "
                    << absl::FormatDuration(place.delay);
  }
  return nullptr;
}

absl::StatusOr<std::unique_ptr<WorkerEnd>> Supervisor::Fork(Place& place,
                                                            MonotonicTime now) {
  const int index = static_cast<int>(&place - places_.data());
  absl::StatusOr<SocketPair> channel =
      OpenSocketPair(absl::StrCat("worker ", index));
  if (!channel.ok()) return channel.status();
  WorkerEvent event(index, place.forked + 1, /*pid=*/0);
  lifecycle_.Force(LifecycleEvent::kBeforeFork, event);
  if (stop_ != StopLevel::kNone) {  // A callback's doing.
    EndFork(event);
    return nullptr;
  }
  absl::Status may_fork =
      options_.may_fork ? options_.may_fork(index) : absl::OkStatus();
  if (!may_fork.ok()) {
    EndFork(event);
    return may_fork;
  }
  const uint64_t id = ++last_id_;
  if (options_.prepare_fork) options_.prepare_fork();
  const pid_t pid = fork();
  const int fork_errno = errno;
  if (pid == 0) {
    channel->root.Reset();
    return BecomeWorker(event, id, std::move(channel->worker));
  }
  if (options_.forked_in_root) options_.forked_in_root();
  if (pid < 0) {
    absl::Status failed =
        ErrnoToStatus(fork_errno, absl::StrCat("fork worker ", index));
    EndFork(event);
    return failed;
  }
  absl::Status watched = children_->Add(pid);
  if (!watched.ok() && !absl::IsNotFound(watched)) {
    kill(pid, SIGKILL);
    Reap(pid);
    EndFork(event);
    return watched;
  }
  ++stats_.forked;
  if (place.forked > 0 && place.workers.empty()) ++stats_.respawned;
  ++place.forked;
  if (watched.ok()) {
    place.workers.push_back({.id = id,
                             .pid = pid,
                             .place = index,
                             .generation = place.forked,
                             .restarts = restarts_,
                             .channel = std::move(channel->root),
                             .reloads = reloads_});
  } else {  // It has ended, and somebody else has reaped it.
    Delay(place, now);
  }
  channel->worker.Reset();
  event.EnterRoot(pid);
  lifecycle_.Force(LifecycleEvent::kAfterFork, event);
  lifecycle_.Force(LifecycleEvent::kInRoot, event);
  return nullptr;
}

void Supervisor::EndFork(WorkerEvent& event) {
  event.EnterRoot(/*pid=*/0);
  lifecycle_.Force(LifecycleEvent::kAfterFork, event);
}

std::string Supervisor::Describe(const Worker& worker) {
  return absl::StrCat("worker ", worker.place, " (process ", worker.pid, ")");
}

std::unique_ptr<WorkerEnd> Supervisor::BecomeWorker(WorkerEvent& event,
                                                    uint64_t id,
                                                    UniqueFd channel) {
  // Close the root's ends of the channels here: otherwise they would stay open
  // after the root's death.
  places_.clear();
  leaving_.clear();
  reports_.Reset();
  children_ = nullptr;
  event.EnterWorker(getpid());
  auto worker = absl::WrapUnique(
      new WorkerEnd(event.place(), event.generation(), root_, id,
                    std::move(channel), std::move(worker_reports_)));
  if (options_.entered_child) options_.entered_child(event.place());
  lifecycle_.Force(LifecycleEvent::kAfterFork, event);
  lifecycle_.Force(LifecycleEvent::kInChild, event);
  return worker;
}

}  // namespace fio
