#include "fio/pubsub/subscription.h"

#include <cstdint>
#include <string_view>
#include <utility>

#include "fio/pubsub/internal/subscriber.h"
#include "fio/pubsub/internal/topic_name.h"

namespace fio {

bool Subscription::active() const {
  return subscriber_ != nullptr && !subscriber_->ended();
}

std::string_view Subscription::channel() const {
  return active() ? subscriber_->name()->channel : std::string_view();
}

int32_t Subscription::filter() const {
  return active() ? subscriber_->name()->filter : 0;
}

void Subscription::Unsubscribe() {
  if (subscriber_ == nullptr) return;
  std::exchange(subscriber_, nullptr)->Unsubscribe();
}

void Subscription::Resume() {
  if (subscriber_ != nullptr) subscriber_->Resume();
}

SubscriptionStats Subscription::stats() const {
  return subscriber_ == nullptr ? SubscriptionStats() : subscriber_->stats();
}

}  // namespace fio
