#include "fio/pubsub/lane.h"

#include <atomic>
#include <cstddef>
#include <iterator>
#include <memory>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/log/absl_check.h"
#include "absl/synchronization/mutex.h"
#include "fio/base/move_only_function.h"
#include "fio/base/no_throw.h"
#include "fio/pubsub/internal/lane_entry.h"
#include "fio/pubsub/internal/share.h"
#include "fio/pubsub/internal/subscriber.h"
#include "fio/pubsub/internal/topics.h"

namespace fio {

using pubsub_internal::Share;
using pubsub_internal::Subscriber;
using Kind = pubsub_internal::LaneEntry::Kind;

Lane::Lane(std::shared_ptr<pubsub_internal::Topics> topics, Wake wake)
    : topics_(std::move(topics)), wake_(std::move(wake)) {}

Lane::~Lane() { End(); }

void Lane::End() {
  if (ended_) return;
  ABSL_CHECK(!running_) << "a Lane is destroyed inside of its Run()";
  running_ = true;  // For callbacks that call Run().
  for (const std::shared_ptr<Subscriber>& one : topics_->RemoveLane(*this)) {
    one->Finish();
  }
}

bool Lane::Run(absl::FunctionRef<bool()> is_up) {
  if (running_) return false;
  running_ = true;
  has_run_ = true;
  const bool has_rest = next_ < batch_.size();
  if (!has_rest) TakeInbox();
  RunRetries();
  bool stopped = RunBatch(is_up);
  if (has_rest && !stopped) {
    TakeInbox();
    stopped = RunBatch(is_up);
  }
  running_ = false;
  CountRest();
  return !retries_.empty() || (stopped && stats().waiting > 0);
}

void Lane::Run() {
  if (!Run([] { return false; })) return;
  const absl::MutexLock lock(&mutex_);
  if (std::exchange(told_, true) || wake_ == nullptr) return;
  wake_();
}

bool Lane::RunBatch(absl::FunctionRef<bool()> is_up) {
  while (next_ < batch_.size()) {
    Entry entry = std::move(batch_[next_++]);
    Execute(entry);
    if (is_up()) return true;
  }
  return false;
}

// The memory of the last batch is used again.
void Lane::TakeInbox() {
  batch_.clear();
  next_ = 0;
  const absl::MutexLock lock(&mutex_);
  batch_.swap(inbox_);
  inbox_bytes_ = 0;
  told_ = false;
}

void Lane::RunRetries() {
  for (const std::shared_ptr<Subscriber>& one : std::exchange(retries_, {})) {
    one->Retry();
  }
}

void Lane::Execute(Entry& entry) {
  switch (entry.kind) {
    case Kind::kToShare:
      entry.share->Deliver(entry.message);
      break;
    case Kind::kToOne:
      entry.subscriber->Offer(entry.message);
      break;
    case Kind::kReplayed:
      entry.subscriber->OfferReplayed(entry.message);
      break;
    case Kind::kJoin:
      if (entry.share != nullptr) entry.share->Add(std::move(entry.subscriber));
      break;
    case Kind::kLeave:
      if (entry.share != nullptr) entry.share->Remove(*entry.subscriber);
      if (entry.is_last) delete entry.share;
      entry.subscriber->Finish();
      break;
    case Kind::kResume:
      entry.subscriber->GoOn();
      break;
    case Kind::kTask:
      NoThrow([] { return "a task of a Lane"; }, *entry.task);
      break;
  }
}

void Lane::Post(MoveOnlyFunction<void()> task) {
  if (task == nullptr) return;
  Push({.kind = Kind::kTask,
        .task = std::make_unique<MoveOnlyFunction<void()>>(std::move(task))});
}

void Lane::Push(Entry entry) {
  const absl::MutexLock lock(&mutex_);
  if (entry.message) {
    if (!HasRoomFor(entry)) {
      dropped_.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    inbox_bytes_ += entry.message.size();
  }
  inbox_.push_back(std::move(entry));
  if (std::exchange(told_, true) || wake_ == nullptr) return;
  wake_();
}

void Lane::SetWake(Wake wake) {
  const absl::MutexLock lock(&mutex_);
  wake_ = std::move(wake);
  if (told_ && wake_ != nullptr) wake_();
}

bool Lane::HasRoomFor(const Entry& entry) {
  return inbox_bytes_ == 0 ||
         inbox_bytes_ + entry.message.size() <= kMaxWaitingBytes;
}

Lane::Subscribers Lane::Clear(std::vector<Entry>& dropped) {
  Subscribers left;
  dropped.assign(std::make_move_iterator(batch_.begin() + next_),
                 std::make_move_iterator(batch_.end()));
  TakeInbox();
  dropped.insert(dropped.end(), std::make_move_iterator(batch_.begin()),
                 std::make_move_iterator(batch_.end()));
  batch_.clear();
  CountRest();
  retries_.clear();
  for (Entry& entry : dropped) ClearEntry(entry, left);
  return left;
}

void Lane::ClearEntry(Entry& entry, Subscribers& left) {
  if (entry.kind == Kind::kJoin && entry.share != nullptr) {
    entry.share->Add(std::move(entry.subscriber));
  }
  if (entry.kind != Kind::kLeave) return;
  if (entry.share != nullptr) entry.share->Remove(*entry.subscriber);
  if (entry.is_last) delete entry.share;
  left.push_back(std::move(entry.subscriber));
}

Lane::Subscribers Lane::Joining() const {
  Subscribers joining;
  const absl::MutexLock lock(&mutex_);
  for (const Entry& entry : inbox_) {
    if (entry.kind == Kind::kJoin) joining.push_back(entry.subscriber);
  }
  return joining;
}

Lane::Stats Lane::stats() const {
  const absl::MutexLock lock(&mutex_);
  return {.delivered = delivered_.load(std::memory_order_relaxed),
          .dropped = dropped_.load(std::memory_order_relaxed),
          .waiting = inbox_.size() + rest_.load(std::memory_order_relaxed)};
}

}  // namespace fio
