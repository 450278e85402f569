// An Outbox is the messages that wait to be sent, up to a bound.
//
// Thread safety: none.

#ifndef FIO_CORE_PUBSUB_NATS_INTERNAL_OUTBOX_H_
#define FIO_CORE_PUBSUB_NATS_INTERNAL_OUTBOX_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <utility>

#include "fio/core/pubsub/nats/nats_options.h"
#include "fio/pubsub/message.h"

namespace fio::nats_internal {

class Outbox {
 public:
  Outbox(size_t max_messages, size_t max_bytes, NatsQueuePolicy policy)
      : max_messages_(max_messages), max_bytes_(max_bytes), policy_(policy) {}

  // Returns how many were dropped, this one perhaps. One that is alone too long
  // is dropped, and no other for it.
  uint64_t Push(const Message& message) {
    const size_t bytes = message.size();
    if (bytes > max_bytes_ || max_messages_ == 0) return 1;
    uint64_t dropped = 0;
    while (messages_.size() >= max_messages_ || bytes > max_bytes_ - bytes_) {
      if (policy_ == NatsQueuePolicy::kDropNewest) return 1;
      Pop();
      ++dropped;
    }
    messages_.push_back(message);
    bytes_ += bytes;
    return dropped;
  }

  // The oldest. REQUIRES: not empty().
  Message Pop() {
    Message message = std::move(messages_.front());
    messages_.pop_front();
    bytes_ -= message.size();
    return message;
  }

  bool empty() const { return messages_.empty(); }
  size_t size() const { return messages_.size(); }
  size_t bytes() const { return bytes_; }

 private:
  const size_t max_messages_;
  const size_t max_bytes_;
  const NatsQueuePolicy policy_;
  std::deque<Message> messages_;
  size_t bytes_ = 0;
};

}  // namespace fio::nats_internal

#endif  // FIO_CORE_PUBSUB_NATS_INTERNAL_OUTBOX_H_
