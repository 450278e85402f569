#include "fio/pubsub/internal/subscriber.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "fio/base/no_throw.h"
#include "fio/pubsub/delivery.h"
#include "fio/pubsub/internal/backlog.h"
#include "fio/pubsub/internal/message_block.h"
#include "fio/pubsub/internal/topics.h"
#include "fio/pubsub/lane.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/subscribe_options.h"
#include "fio/pubsub/subscription.h"

namespace fio::pubsub_internal {
namespace {

// What waits is delivered so many at a time, so that others come between.
constexpr size_t kAtOnce = 64;
constexpr SlowOptions kDefaultSlow;

// Only its lane's thread writes it.
void Increase(std::atomic<uint64_t>& counter) {
  counter.store(counter.load(std::memory_order_relaxed) + 1,
                std::memory_order_relaxed);
}

}  // namespace

Subscriber::Subscriber(Lane& lane, SubscribeOptions& options,
                       OnMessage on_message, bool preset)
    : lane_(lane),
      owner_(options.owner),
      preset_(preset),
      on_message_(std::move(on_message)),
      extra_(TakeExtra(options)) {
  if (options.replay.has_value()) NeedBacklog().BeginReplay();
}

Subscriber::~Subscriber() = default;

std::unique_ptr<Subscriber::Extra> Subscriber::TakeExtra(
    SubscribeOptions& options) {
  if (options.group.empty() && options.slow == kDefaultSlow &&
      options.on_replay_end == nullptr && options.on_slow == nullptr &&
      options.on_unsubscribe == nullptr) {
    return nullptr;
  }
  return std::make_unique<Extra>(
      Extra{.group = std::string(options.group),
            .slow = options.slow,
            .on_replay_end = std::move(options.on_replay_end),
            .on_slow = std::move(options.on_slow),
            .on_unsubscribe = std::move(options.on_unsubscribe)});
}

std::string_view Subscriber::group() const {
  return extra_ == nullptr ? std::string_view() : extra_->group;
}

const SlowOptions& Subscriber::slow() const {
  return extra_ == nullptr ? kDefaultSlow : extra_->slow;
}

void Subscriber::Unsubscribe() {
  if (ended_.exchange(true, std::memory_order_acq_rel)) return;
  topics_->Leave(*this);
}

void Subscriber::Resume() { topics_->Resume(*this); }

SubscriptionStats Subscriber::stats() const {
  return {.delivered = delivered_.load(std::memory_order_relaxed),
          .dropped = dropped_.load(std::memory_order_relaxed),
          .waiting = waiting_.load(std::memory_order_relaxed)};
}

Backlog& Subscriber::NeedBacklog() {
  if (backlog_ == nullptr) backlog_ = std::make_unique<Backlog>(slow());
  return *backlog_;
}

bool Subscriber::HasSent(const Message& message) const {
  return owner_ != 0 && MessageBlock::Of(message).from() == owner_;
}

void Subscriber::Offer(const Message& message) {
  if (ended() || HasSent(message)) return;
  Item item{.message = message};
  if (backlog_ == nullptr) {
    Deliver(std::move(item));
  } else {
    Wait(std::move(item));
  }
}

void Subscriber::OfferReplayed(const Message& message) {
  if (ended()) return;
  backlog_->Add({.message = message, .replayed = true});
  Count();
}

void Subscriber::EndReplay(const ReplayEnd& end) {
  if (ended()) return;
  backlog_->EndReplay(end);
  DeliverWaiting(backlog_->size());
}

void Subscriber::Retry() {
  blocked_ = false;
  DeliverWaiting(kAtOnce);
}

void Subscriber::GoOn() {
  if (!parked_) {
    resumed_early_ = true;
    return;
  }
  parked_ = false;
  Retry();
}

// Whether it is done, so that the next one may follow.
bool Subscriber::Deliver(Item item) {
  item.lost += std::exchange(lost_, 0);
  Delivery delivery(item.message, item.lost, item.replayed);
  CallOut([&] { on_message_(delivery); });
  if (!item.again) {
    Increase(delivered_);
    lane_.CountDelivery();
  }
  if (delivery.after_ == Delivery::After::kDone || ended()) return true;
  blocked_ = true;
  parked_ = delivery.after_ == Delivery::After::kPark &&
            !std::exchange(resumed_early_, false);
  if (!parked_) lane_.RetryLater(shared_from_this());
  NeedBacklog().PutBack(std::move(item));
  Count();
  return false;
}

void Subscriber::Wait(Item item) {
  while (backlog_->IsFullFor(item)) {
    if (slow().policy == SlowPolicy::kClose) return CloseAsSlow();
    Increase(dropped_);
    if (slow().policy == SlowPolicy::kDropNewest || !backlog_->DropOldest()) {
      backlog_->CountLost();
      return;
    }
  }
  backlog_->Add(std::move(item));
  Count();
}

void Subscriber::DeliverWaiting(size_t at_most) {
  for (size_t i = 0; i < at_most && !ended() && !blocked_; ++i) {
    std::optional<Item> item = backlog_->Take();
    if (!item.has_value()) break;
    if (item->message) {
      Deliver(*std::move(item));
    } else {
      TellReplayEnd();
    }
  }
  Count();
  if (ended() || blocked_) return;
  if (backlog_->has_next()) {
    blocked_ = true;
    lane_.RetryLater(shared_from_this());
  } else if (!backlog_->replaying()) {
    lost_ += backlog_->TakeLost();
    backlog_ = nullptr;
  }
}

void Subscriber::TellReplayEnd() {
  if (extra_ == nullptr || extra_->on_replay_end == nullptr) return;
  CallOut([this] { extra_->on_replay_end(backlog_->replay_end()); });
}

// What it calls is not destroyed before it returns, whatever it does.
template <typename Call>
void Subscriber::CallOut(Call&& call) {
  calling_ = true;
  NoThrow(std::forward<Call>(call));
  calling_ = false;
  if (replacement_ != nullptr) {
    Put(std::move(*std::exchange(replacement_, nullptr)));
  }
}

void Subscriber::CloseAsSlow() {
  Unsubscribe();
  backlog_ = nullptr;
  Count();
  if (extra_->on_slow != nullptr) NoThrow([this] { extra_->on_slow(); });
}

void Subscriber::Replace(SubscribeOptions& options, OnMessage on_message) {
  Replacement replacement{.on_message = std::move(on_message),
                          .extra = TakeExtra(options)};
  if (!calling_) return Put(std::move(replacement));
  const auto former = std::exchange(
      replacement_, std::make_unique<Replacement>(std::move(replacement)));
  if (former != nullptr) TellUnsubscribed(std::move(former->extra));
}

void Subscriber::Put(Replacement replacement) {
  on_message_ = std::move(replacement.on_message);
  std::swap(extra_, replacement.extra);
  TellUnsubscribed(std::move(replacement.extra));
}

void Subscriber::TellUnsubscribed(std::unique_ptr<Extra> extra) {
  if (extra == nullptr || extra->on_unsubscribe == nullptr) return;
  auto on_unsubscribe = std::move(extra->on_unsubscribe);
  extra = nullptr;  // What else there is of the user is destroyed before.
  NoThrow([&] { on_unsubscribe(); });
}

void Subscriber::Finish() {
  if (std::exchange(finished_, true)) return;
  ended_.store(true, std::memory_order_release);
  on_message_ = nullptr;
  backlog_ = nullptr;
  Count();
  TellUnsubscribed(std::move(extra_));
}

void Subscriber::Abandon() {
  ended_.store(true, std::memory_order_release);
  finished_ = true;
}

void Subscriber::Count() {
  waiting_.store(backlog_ == nullptr ? 0 : backlog_->size(),
                 std::memory_order_relaxed);
}

template <typename Call>
void Subscriber::NoThrow(Call&& call) {
  const auto name = [this] {
    return absl::StrCat("subscription ",
                        name_ == nullptr ? "that failed" : name_->channel);
  };
  fio::NoThrow(name, std::forward<Call>(call));
}

}  // namespace fio::pubsub_internal
