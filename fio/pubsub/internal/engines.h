// The engines of a broker: what they are told, and when.
//
// What changes in Topics becomes tasks of the main lane, so an engine hears of
// all changes in order and without a lock but its own.
//
// Thread safety: any thread may call all of it.

#ifndef FIO_PUBSUB_INTERNAL_ENGINES_H_
#define FIO_PUBSUB_INTERNAL_ENGINES_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "fio/pubsub/engine.h"
#include "fio/pubsub/internal/topic_name.h"
#include "fio/pubsub/internal/topics.h"
#include "fio/pubsub/lane.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/publish_options.h"

namespace fio::pubsub_internal {

class Engines final : private InterestListener {
 public:
  static constexpr size_t kMaxEngines = 16;

  // What publishing has to know of an engine.
  struct Info {
    uint32_t number = 0;
    bool local_echo = false;
    bool in_root = false;  // It works in another process.
  };

  // Both outlive it.
  Engines(Topics& topics, Lane& lane);
  ~Engines() override;

  // True inside of a callback of an engine, on this thread.
  static bool InCallback();

  absl::Status Attach(Engine& engine);
  absl::Status Detach(Engine& engine);
  bool IsAttached(const Engine& engine) const;
  absl::Status Reattach(Engine& engine);
  // Detaches all, for ever.
  void DetachAll();

  // Sets the default in `options`, if neither an engine nor a reach is set.
  // Returns the engine, or one of number 0 if there is none. Does not touch it.
  // Errors: kNotFound if it is not attached.
  absl::StatusOr<Info> Find(PublishOptions& options) const;

  // Calls Publish() of the engine, in a task. Nothing if it has gone, or if the
  // lane has no room.
  void Publish(uint32_t number, const Message& message);

  absl::Status SetDefault(Engine& engine);
  void SetDefault(Reach reach);

  // In a process that has just been forked: those that there are work in the
  // root.
  void StayInRoot();

 private:
  class Attached;
  using AttachedPtr = std::shared_ptr<Attached>;

  void OnInterest(const Interest& interest) override;
  absl::Status Add(const AttachedPtr& attached);
  void TellInterest(const AttachedPtr& attached, const TopicKey& topic,
                    bool begins);
  template <typename Call>
  void Tell(const AttachedPtr& attached, Call call);
  // Null if it is not attached.
  AttachedPtr FindLocked(const Engine* engine) const
      ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  void SetDefaultLocked(Engine* engine) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Topics& topics_;
  Lane& lane_;
  mutable absl::Mutex mutex_;
  std::vector<AttachedPtr> attached_ ABSL_GUARDED_BY(mutex_);
  uint32_t last_number_ ABSL_GUARDED_BY(mutex_) = 0;  // The first is 1.
  Engine* default_engine_ ABSL_GUARDED_BY(mutex_) = nullptr;
  // Mostly there is no default engine, and nobody needs the lock to see that.
  std::atomic<bool> has_default_engine_ = false;
  std::atomic<Reach> default_reach_ = Reach::kCluster;
};

}  // namespace fio::pubsub_internal

#endif  // FIO_PUBSUB_INTERNAL_ENGINES_H_
