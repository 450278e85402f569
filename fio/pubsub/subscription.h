// A Subscription is the handle of what Subscribe() has begun. When it is
// destroyed, the subscription ends.
//
// Thread safety: any thread may call the methods, but not two at once on the
// same handle.

#ifndef FIO_PUBSUB_SUBSCRIPTION_H_
#define FIO_PUBSUB_SUBSCRIPTION_H_

#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

namespace fio {

namespace pubsub_internal {
class Subscriber;
}  // namespace pubsub_internal

struct SubscriptionStats {
  uint64_t delivered = 0;  // Calls of the callback, without repeated ones.
  uint64_t dropped = 0;    // By its SlowPolicy.
  uint64_t waiting = 0;    // Messages that wait while it is slow.
};

class [[nodiscard]] Subscription {
 public:
  // Of nothing.
  Subscription() = default;
  Subscription(Subscription&& other) noexcept = default;
  Subscription& operator=(Subscription&& other) noexcept {
    Unsubscribe();
    subscriber_ = std::move(other.subscriber_);
    return *this;
  }
  ~Subscription() { Unsubscribe(); }

  // False when it has ended, in whatever way.
  bool active() const;

  // What it has subscribed to: the name or pattern, as it was given. Empty if
  // it has ended. Valid until then.
  std::string_view channel() const;
  int32_t filter() const;

  // Ends it: when this returns, no call of its callback begins any more; one
  // that runs on another thread at that time is not waited for. What waits for
  // it is dropped. The callback is destroyed, and on_unsubscribe is called, on
  // its lane's thread, later. Also from inside of the callback; again it does
  // nothing.
  void Unsubscribe();

  // Gives the handle up: the subscription lives as long as its lane.
  void Keep() { subscriber_ = nullptr; }

  // Ends a Delivery::Park(): the message is delivered again, in the next Run()
  // of the lane. If nothing is parked the next Park() ends so.
  void Resume();

  SubscriptionStats stats() const;

 private:
  friend class Broker;
  explicit Subscription(std::shared_ptr<pubsub_internal::Subscriber> subscriber)
      : subscriber_(std::move(subscriber)) {}

  std::shared_ptr<pubsub_internal::Subscriber> subscriber_;
};

}  // namespace fio

#endif  // FIO_PUBSUB_SUBSCRIPTION_H_
