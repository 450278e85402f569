// What one lane has of one channel or pattern: the subscriptions that get its
// messages there.
//
// Thread safety: none; that of the lane, but for the count, which is under the
// lock of Topics.

#ifndef FIO_PUBSUB_INTERNAL_SHARE_H_
#define FIO_PUBSUB_INTERNAL_SHARE_H_

#include <cstddef>
#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"
#include "fio/pubsub/message.h"

namespace fio {
class Lane;
}  // namespace fio

namespace fio::pubsub_internal {

class Subscriber;

class Share {
 public:
  explicit Share(Lane& lane) : lane_(lane) {}
  Share(const Share&) = delete;
  Share& operator=(const Share&) = delete;
  ~Share();

  Lane& lane() const { return lane_; }

  // --- Under the lock of Topics ---

  // Subscriptions that have joined and not left, whether the lane has noticed
  // yet or not.
  size_t count = 0;
  size_t presets = 0;  // Of these.

  // --- The lane's thread ---

  void Add(std::shared_ptr<Subscriber> subscriber);
  // Does nothing if it is not there.
  void Remove(Subscriber& subscriber);
  void Deliver(const Message& message);
  // Moves those that `goes` returns true for to the end of `taken`.
  void TakeIf(absl::FunctionRef<bool(const Subscriber&)> goes,
              std::vector<std::shared_ptr<Subscriber>>& taken);

 private:
  Lane& lane_;
  std::vector<std::shared_ptr<Subscriber>> subscribers_;
};

}  // namespace fio::pubsub_internal

#endif  // FIO_PUBSUB_INTERNAL_SHARE_H_
