#include "fio/pubsub/internal/share.h"

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "fio/pubsub/internal/subscriber.h"
#include "fio/pubsub/message.h"

namespace fio::pubsub_internal {

Share::~Share() = default;

void Share::Add(std::shared_ptr<Subscriber> subscriber) {
  subscriber->index_ = subscribers_.size();
  subscribers_.push_back(std::move(subscriber));
}

void Share::Remove(Subscriber& subscriber) {
  const size_t index = subscriber.index_;
  if (index >= subscribers_.size() ||
      subscribers_[index].get() != &subscriber) {
    return;
  }
  if (index + 1 != subscribers_.size()) {
    subscribers_[index] = std::move(subscribers_.back());
    subscribers_[index]->index_ = index;
  }
  subscribers_.pop_back();
}

void Share::TakeIf(absl::FunctionRef<bool(const Subscriber&)> goes,
                   std::vector<std::shared_ptr<Subscriber>>& taken) {
  for (size_t i = subscribers_.size(); i-- > 0;) {
    if (!goes(*subscribers_[i])) continue;
    taken.push_back(subscribers_[i]);
    Remove(*taken.back());
  }
}

// No callback changes the list: who joins and leaves passes the lane's inbox.
void Share::Deliver(const Message& message) {
  for (const std::shared_ptr<Subscriber>& subscriber : subscribers_) {
    subscriber->Offer(message);
  }
}

}  // namespace fio::pubsub_internal
