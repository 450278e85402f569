#include "fio/pubsub/internal/backlog.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace fio::pubsub_internal {

bool Backlog::IsFullFor(const Item& item) const {
  if (live_messages_ == 0) return false;
  return live_messages_ >= options_.max_messages ||
         live_bytes_ + item.message.size() > options_.max_bytes;
}

bool Backlog::DropOldest() {
  return DropOldestOf(next_) || DropOldestOf(live_);
}

bool Backlog::DropOldestOf(Items& items) {
  const auto oldest =
      std::find_if(items.begin(), items.end(), [](const Item& item) {
        return item.message && !item.again && !item.replayed;
      });
  if (oldest == items.end()) return false;
  const uint64_t lost = oldest->lost + 1;
  CountOut(*oldest);
  const auto behind = items.erase(oldest);
  uint64_t& counted = behind == items.end() ? lost_ : behind->lost;
  counted += lost;
  return true;
}

void Backlog::CountIn(const Item& item) {
  if (!item.message || item.replayed) return;
  ++live_messages_;
  live_bytes_ += item.message.size();
}

void Backlog::CountOut(const Item& item) {
  if (!item.message || item.replayed) return;
  --live_messages_;
  live_bytes_ -= item.message.size();
}

void Backlog::Add(Item item) {
  CountIn(item);
  if (!item.replayed) item.lost += std::exchange(lost_, 0);
  (replaying_ && !item.replayed ? live_ : next_).push_back(std::move(item));
}

void Backlog::PutBack(Item item) {
  CountIn(item);
  item.again = true;
  next_.push_front(std::move(item));
}

std::optional<Backlog::Item> Backlog::Take() {
  if (next_.empty()) return std::nullopt;
  Item item = std::move(next_.front());
  next_.pop_front();
  CountOut(item);
  return item;
}

void Backlog::EndReplay(const ReplayEnd& end) {
  replaying_ = false;
  replay_end_ = end;
  uint64_t lost = end.lost;
  if (!next_.empty()) next_.front().lost += std::exchange(lost, 0);
  next_.emplace_back();
  for (Item& item : live_) {
    const uint64_t sequence = item.message.sequence();
    if (sequence != 0 && sequence <= end.last_sequence) {
      CountOut(item);
      continue;
    }
    item.lost += std::exchange(lost, 0);
    next_.push_back(std::move(item));
  }
  live_.clear();
  lost_ += lost;
}

}  // namespace fio::pubsub_internal
