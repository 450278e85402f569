#include "fio/pubsub/internal/backlog.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace fio::pubsub_internal {

bool Backlog::IsFullFor(const Item& item) const {
  if (empty()) return false;
  return size() >= options_.max_messages ||
         bytes_ + SizeOf(item) > options_.max_bytes;
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
  bytes_ -= SizeOf(*oldest);
  const auto behind = items.erase(oldest);
  uint64_t& counted = behind == items.end() ? lost_ : behind->lost;
  counted += lost;
  return true;
}

void Backlog::Add(Item item) {
  bytes_ += SizeOf(item);
  if (!item.replayed) item.lost += std::exchange(lost_, 0);
  (replaying_ && !item.replayed ? live_ : next_).push_back(std::move(item));
}

void Backlog::PutBack(Item item) {
  bytes_ += SizeOf(item);
  item.again = true;
  next_.push_front(std::move(item));
}

std::optional<Backlog::Item> Backlog::Take() {
  if (next_.empty()) return std::nullopt;
  Item item = std::move(next_.front());
  next_.pop_front();
  bytes_ -= SizeOf(item);
  return item;
}

void Backlog::EndReplay(const ReplayEnd& end) {
  replaying_ = false;
  replay_end_ = end;
  next_.emplace_back();
  for (Item& item : live_) {
    if (item.message.sequence() <= end.last_sequence) {
      bytes_ -= SizeOf(item);
    } else {
      next_.push_back(std::move(item));
    }
  }
  live_.clear();
}

}  // namespace fio::pubsub_internal
