#include "fio/core/internal/loop_group.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/core/loop/loop_options.h"
#include "fio/core/loop/loop_stats.h"
#include "fio/defer/thread_pool.h"

namespace fio::core_internal {
namespace {

uint64_t WorkOf(const Loop& loop) {
  const LoopStats stats = loop.stats();
  return stats.events + stats.tasks;
}

}  // namespace

LoopGroup::LoopGroup(const LoopOptions& options, Hooks hooks)
    : options_(options), hooks_(std::move(hooks)) {}

LoopGroup::~LoopGroup() = default;

absl::StatusOr<std::unique_ptr<LoopGroup>> LoopGroup::Create(
    const LoopOptions& options, Hooks hooks) {
  std::unique_ptr<LoopGroup> group(new LoopGroup(options, std::move(hooks)));
  absl::Status added = group->Add();
  if (!added.ok()) return added;
  return group;
}

absl::Status LoopGroup::Add() {
  absl::StatusOr<std::unique_ptr<Loop>> loop = Loop::Create(options_);
  if (!loop.ok()) return loop.status();
  const std::lock_guard lock(mutex_);
  handles_.push_back((*loop)->handle());
  if (main_ == nullptr) main_ = loop->get();
  members_.push_back(std::make_unique<Member>());
  members_.back()->loop = *std::move(loop);
  return absl::OkStatus();
}

absl::Status LoopGroup::Resize(size_t count) {
  const size_t before = size();
  absl::Status added;
  while (size() < count && added.ok()) added = Add();
  if (!added.ok()) count = before;
  while (size() > count) {
    {
      const std::lock_guard lock(mutex_);
      handles_.pop_back();
    }
    members_.pop_back();
  }
  busy_ = size();
  for (const auto& member : members_) member->busy = true;
  return added;
}

std::vector<LoopHandle> LoopGroup::handles() const {
  const std::lock_guard lock(mutex_);
  return handles_;
}

LoopHandle LoopGroup::HandleOf(ConnectionId id) const {
  const std::lock_guard lock(mutex_);
  const auto owner = absl::c_find_if(
      handles_, [id](const LoopHandle& handle) { return handle.Has(id); });
  return owner == handles_.end() ? handles_.front() : *owner;
}

absl::Status LoopGroup::StartThreads() {
  if (size() == 1) return absl::OkStatus();
  absl::StatusOr<std::unique_ptr<ThreadPool>> threads = ThreadPool::Create(
      {.threads = static_cast<int>(size()) - 1, .name = "fio-loop"});
  if (!threads.ok()) return threads.status();
  threads_ = *std::move(threads);
  for (size_t i = 1; i < size(); ++i) {
    Member& member = *members_[i];
    member.ended = false;
    threads_->Post([this, &member] { RunThread(member); });
  }
  return absl::OkStatus();
}

void LoopGroup::RunThread(Member& member) {
  absl::Status turn;
  while (turn.ok() && !member.loop->stopped()) {
    turn = RunTurn(member, MonotonicTime::InfiniteFuture());
    if (draining_ && member.loop->connection_count() == 0) main().Wake();
  }
  if (!turn.ok()) {
    const std::lock_guard lock(mutex_);
    thread_error_.Update(turn);
    failed_ = true;
  }
  member.ended = true;
  main().Wake();
}

absl::Status LoopGroup::RunMain(MonotonicTime deadline) {
  absl::Status turn = RunTurn(*members_.front(), deadline);
  if (failed_) {
    const std::lock_guard lock(mutex_);
    turn.Update(thread_error_);
  }
  return turn;
}

absl::Status LoopGroup::RunTurn(Member& member, MonotonicTime deadline) {
  if (!hooks_.wants_idle()) return member.loop->RunOnce(deadline);
  return member.busy ? RunBusyTurn(member) : RunIdleTurn(member, deadline);
}

// Whether there is nothing left to do shows in a turn that does not wait.
absl::Status LoopGroup::RunBusyTurn(Member& member) {
  Loop& loop = *member.loop;
  const uint64_t work = WorkOf(loop);
  const bool due = loop.next_deadline() <= options_.clock->Now();
  absl::Status turn = loop.RunOnce(MonotonicTime::InfinitePast());
  if (due || WorkOf(loop) != work ||
      loop.next_deadline() <= options_.clock->Now()) {
    return turn;
  }
  member.busy = false;
  if (busy_.fetch_sub(1) > 1) return turn;
  main().Post([this] {
    idle_turn_ = true;
    hooks_.on_idle();
  });
  return turn;
}

// Any turn that was waited for is work, but for that of the idle callbacks.
absl::Status LoopGroup::RunIdleTurn(Member& member, MonotonicTime deadline) {
  absl::Status turn = member.loop->RunOnce(deadline);
  const bool idle =
      &member == members_.front().get() && std::exchange(idle_turn_, false);
  if (!idle) {
    member.busy = true;
    ++busy_;
  }
  return turn;
}

void LoopGroup::ForEach(const std::function<void(size_t, Loop&)>& task,
                        std::function<void()> done) {
  // The last of them to go posts `done`.
  const std::shared_ptr<void> all(
      nullptr, [main = main().handle(), done = std::move(done)](void*) {
        if (done != nullptr) main.Post(done);
      });
  for (size_t i = 0; i < size(); ++i) {
    Loop& loop = *members_[i]->loop;
    if (i > 0 && threads_ != nullptr) {
      loop.Post([task, i, &loop, all] { task(i, loop); });
    } else {
      task(i, loop);
    }
  }
}

void LoopGroup::Drain() {
  draining_ = true;
  for (const auto& member : members_) member->loop->Drain();
}

// What was handed over and is not opened yet counts.
bool LoopGroup::drained() const {
  return absl::c_all_of(members_, [](const auto& member) {
    return member->loop->handle().connection_count() == 0;
  });
}

void LoopGroup::Stop(absl::Duration grace) {
  for (const auto& member : members_) member->loop->Stop(grace);
}

bool LoopGroup::stopped() const {
  return members_.front()->loop->stopped() &&
         absl::c_all_of(
             members_, [](const auto& member) { return member->ended.load(); });
}

void LoopGroup::Finish() {
  threads_ = nullptr;
  // Twice, for what the tasks of one post to another.
  for (int i = 0; i < 2; ++i) {
    for (const auto& member : members_) member->loop->Finish();
  }
  thread_error_ = absl::OkStatus();
  failed_ = false;
  draining_ = false;
}

void LoopGroup::BeforeFork() {
  mutex_.lock();
  for (const auto& member : members_) member->loop->BeforeFork();
}

void LoopGroup::AfterFork() {
  for (const auto& member : members_) member->loop->AfterFork();
  mutex_.unlock();
}

}  // namespace fio::core_internal
