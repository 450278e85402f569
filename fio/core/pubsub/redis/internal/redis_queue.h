// A RedisQueue holds messages and commands that wait for a server, within
// bounds.
//
// Thread safety: none.

#ifndef FIO_CORE_PUBSUB_REDIS_INTERNAL_REDIS_QUEUE_H_
#define FIO_CORE_PUBSUB_REDIS_INTERNAL_REDIS_QUEUE_H_

#include <cstddef>
#include <deque>
#include <string>
#include <utility>

#include "fio/core/pubsub/redis/internal/redis_link.h"
#include "fio/pubsub/message.h"

namespace fio::redis_internal {

class RedisQueue {
 public:
  // A message to publish or, without one, a command.
  struct Item {
    size_t bytes() const { return message ? message.size() : command.size(); }

    Message message = {};
    std::string command = {};
    RedisLink::OnDone done = nullptr;
  };

  RedisQueue(size_t max_items, size_t max_bytes)
      : max_items_(max_items), max_bytes_(max_bytes) {}

  bool empty() const { return items_.empty(); }
  size_t size() const { return items_.size(); }
  size_t bytes() const { return bytes_; }

  // Whether there is room for so many bytes more.
  bool Fits(size_t bytes) const {
    return items_.size() < max_items_ && bytes <= max_bytes_ &&
           bytes_ <= max_bytes_ - bytes;
  }
  // Whether there would be, if it were empty.
  bool CanEverFit(size_t bytes) const {
    return max_items_ > 0 && bytes <= max_bytes_;
  }

  // REQUIRES: it fits.
  void Push(Item item) {
    bytes_ += item.bytes();
    items_.push_back(std::move(item));
  }
  // The oldest. REQUIRES: it is not empty.
  Item Pop() {
    Item item = std::move(items_.front());
    items_.pop_front();
    bytes_ -= item.bytes();
    return item;
  }

 private:
  const size_t max_items_;
  const size_t max_bytes_;
  std::deque<Item> items_;
  size_t bytes_ = 0;
};

}  // namespace fio::redis_internal

#endif  // FIO_CORE_PUBSUB_REDIS_INTERNAL_REDIS_QUEUE_H_
