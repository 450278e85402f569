#include "fio/pubsub/internal/metadata_builders.h"

#include <atomic>
#include <cstddef>
#include <memory>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "fio/base/no_throw.h"
#include "fio/pubsub/internal/message_block.h"
#include "fio/pubsub/message.h"

namespace fio::pubsub_internal {

MetadataId MetadataBuilders::Add(MetadataBuilder builder) {
  const absl::MutexLock lock(&mutex_);
  if (builder == nullptr || list_->size() == MessageBlock::kMaxMetadata) {
    return MetadataId::kNone;
  }
  List list = *list_;
  const MetadataId id{++last_id_};
  list.emplace_back(id, std::move(builder));
  count_.store(list.size(), std::memory_order_release);
  list_ = std::make_shared<const List>(std::move(list));
  return id;
}

bool MetadataBuilders::Remove(MetadataId id) {
  const absl::MutexLock lock(&mutex_);
  List list = *list_;
  if (std::erase_if(list, [id](const auto& one) { return one.first == id; }) ==
      0) {
    return false;
  }
  count_.store(list.size(), std::memory_order_release);
  list_ = std::make_shared<const List>(std::move(list));
  return true;
}

void MetadataBuilders::Build(const Message& message) const {
  std::shared_ptr<const List> list;
  {
    const absl::MutexLock lock(&mutex_);
    list = list_;
  }
  size_t place = 0;
  for (const auto& added : *list) {
    MessageBlock::Metadata& made =
        MessageBlock::Of(message).metadata()[place++];
    NoThrow(
        [] { return "a MetadataBuilder"; },
        [&] { made = {.id = added.first, .value = added.second(message)}; });
  }
}

}  // namespace fio::pubsub_internal
