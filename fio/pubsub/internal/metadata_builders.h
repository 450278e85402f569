// The builders of a broker's metadata.
//
// Thread safety: any thread may call all of it.

#ifndef FIO_PUBSUB_INTERNAL_METADATA_BUILDERS_H_
#define FIO_PUBSUB_INTERNAL_METADATA_BUILDERS_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "fio/pubsub/message.h"

namespace fio {

// What is made of a message, once in each process that it reaches and before it
// is delivered: an encoding for WebSocket, for example. Called on any thread,
// several at once. The value is destroyed with the message; null is no value.
using MetadataBuilder =
    std::function<std::shared_ptr<const void>(const Message& message)>;

namespace pubsub_internal {

class MetadataBuilders {
 public:
  MetadataId Add(MetadataBuilder builder);
  bool Remove(MetadataId id);

  bool empty() const { return count_.load(std::memory_order_acquire) == 0; }
  // Calls all of them. REQUIRES: nobody else has the message yet.
  void Build(const Message& message) const;

 private:
  using List = std::vector<std::pair<MetadataId, MetadataBuilder>>;

  mutable absl::Mutex mutex_;
  // Replaced when it changes, so that builders run without the lock.
  std::shared_ptr<const List> list_ ABSL_GUARDED_BY(mutex_) =
      std::make_shared<List>();
  uint32_t last_id_ ABSL_GUARDED_BY(mutex_) = 0;
  std::atomic<size_t> count_ = 0;
};

}  // namespace pubsub_internal
}  // namespace fio

#endif  // FIO_PUBSUB_INTERNAL_METADATA_BUILDERS_H_
