// A Delivery is one message on its way to one subscription: what a
// subscription's callback is called with.
//
// Thread safety: none. Valid until the callback returns.

#ifndef FIO_PUBSUB_DELIVERY_H_
#define FIO_PUBSUB_DELIVERY_H_

#include <cstdint>
#include <string_view>

#include "fio/base/move_only_function.h"
#include "fio/pubsub/message.h"

namespace fio {

namespace pubsub_internal {
class Subscriber;
}  // namespace pubsub_internal

class Delivery {
 public:
  Delivery(const Delivery&) = delete;
  Delivery& operator=(const Delivery&) = delete;

  // To keep it, copy it; the views die with the last copy.
  const Message& message() const { return message_; }
  std::string_view channel() const { return message_.channel(); }
  std::string_view body() const { return message_.body(); }

  // How many messages the subscription has lost right before this one: dropped
  // by its SlowPolicy, or no longer in history.
  uint64_t lost() const { return lost_; }
  // Whether it comes from history.
  bool replayed() const { return replayed_; }

  // The callback is called with this message again: in the next Run() of the
  // lane, which follows at once. Until then the subscription gets no other
  // message, so the order is kept; what comes meanwhile waits in it, as
  // SubscribeOptions::slow allows. To wait for something for long, Park() it:
  // who defers again and again keeps the thread busy.
  void Defer() { after_ = After::kDefer; }

  // The same, but not before Subscription::Resume(); for a subscription of a
  // connection, PubSub::Resume().
  void Park() { after_ = After::kPark; }

 private:
  friend class pubsub_internal::Subscriber;
  enum class After : uint8_t { kDone, kDefer, kPark };

  Delivery(const Message& message, uint64_t lost, bool replayed)
      : message_(message), lost_(lost), replayed_(replayed) {}

  const Message& message_;
  const uint64_t lost_;
  const bool replayed_;
  After after_ = After::kDone;
};

// What a subscription calls with each message.
using OnMessage = MoveOnlyFunction<void(Delivery&), 32>;

}  // namespace fio

#endif  // FIO_PUBSUB_DELIVERY_H_
