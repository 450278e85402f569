// What a Broker is made of, and its side for the links to other processes:
//
//   Publish() ----> Topics ----> lanes: subscriptions of this process
//      |   |           '-------> remotes: the workers, in their root
//      |   '-> History           (broker_core decides who of these)
//      |   '-> Engines ---------> what is outside
//      '-----> Uplink ----------> the root, in its workers
//
// Thread safety: any thread, but where a method says otherwise.

#ifndef FIO_PUBSUB_INTERNAL_BROKER_CORE_H_
#define FIO_PUBSUB_INTERNAL_BROKER_CORE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "fio/pubsub/broker_options.h"
#include "fio/pubsub/delivery.h"
#include "fio/pubsub/history_options.h"
#include "fio/pubsub/internal/engines.h"
#include "fio/pubsub/internal/frame_header.h"
#include "fio/pubsub/internal/history.h"
#include "fio/pubsub/internal/metadata_builders.h"
#include "fio/pubsub/internal/subscriber.h"
#include "fio/pubsub/internal/topics.h"
#include "fio/pubsub/internal/uplink.h"
#include "fio/pubsub/lane.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/publish_options.h"
#include "fio/pubsub/subscribe_options.h"

namespace fio::pubsub_internal {

class BrokerCore {
 public:
  BrokerCore(const BrokerOptions& options, Lane::Wake wake);
  BrokerCore(const BrokerCore&) = delete;
  BrokerCore& operator=(const BrokerCore&) = delete;
  ~BrokerCore();

  // --- For Broker, as it says ---

  // Detaches the engines and ends the main lane. Nothing follows but what their
  // last callbacks call, and the destructor.
  void End();
  Lane& main_lane() { return *main_; }
  void SetWake(Lane::Wake wake) { main_->SetWake(std::move(wake)); }
  std::shared_ptr<Lane> NewLane(Lane::Wake wake);
  absl::StatusOr<std::shared_ptr<Subscriber>> Subscribe(
      Lane& lane, SubscribeOptions options, OnMessage on_message);
  absl::Status Publish(std::string_view channel, std::string_view body,
                       PublishOptions options);
  absl::Status KeepHistory(std::string_view channel, Match match,
                           const HistoryOptions& options);
  bool has_history() const {
    return has_history_.load(std::memory_order_acquire);
  }
  // Drops what is too old. So what a channel had is not kept when it is silent.
  void ExpireHistory();
  Engines& engines() { return engines_; }
  MetadataBuilders& metadata() { return metadata_; }

  // --- For links ---

  FrameLimits frame_limits() const;
  Topics& topics() { return *topics_; }

  // From now on a subscription belongs to this process alone, and processes
  // that are forked do not have it.
  void EndPreset() { presetting_.store(false, std::memory_order_relaxed); }
  // The process has stopped, and may start again.
  void BeginPreset();
  // In a process that has just been forked, on its only thread: drops what is
  // the parent's. `wake` is that of the main lane from now on.
  void EnterWorker(Lane::Wake wake);
  // From now on the root is reached by `uplink`; null: no more.
  void SetUplink(Uplink* uplink);

  // A worker has sent it: a message, or one for an engine. Only in the root.
  void OnFromWorker(const Remote& worker, Message message);
  // The root has sent it.
  void OnFromRoot(const Message& message);
  void OnGroupMessage(uint32_t group_number, const Message& message);
  void OnReplayItem(uint32_t request, const Message& message);
  void OnReplayEnd(uint32_t request, const ReplayEnd& end);

  // Calls `on_message` with messages of the past, and `on_end` when that is
  // all. What is published meanwhile waits, so that it is sent after what they
  // send. They must not publish.
  void Replay(std::string_view channel, const ReplayFrom& from,
              absl::FunctionRef<void(const Message&)> on_message,
              absl::FunctionRef<void(const ReplayEnd&)> on_end);

 private:
  absl::Status CheckPublish(std::string_view channel, std::string_view body,
                            const PublishOptions& options) const;
  absl::Status PublishToEngine(const Engines::Info& engine,
                               const FrameHeader& header,
                               std::string_view channel, std::string_view body,
                               const PublishOptions& options);
  absl::Status SendAsWorker(Uplink& uplink, FrameHeader header,
                            std::string_view channel, std::string_view body,
                            const PublishOptions& options);
  void SendAsRoot(Message message, const Route& route);
  bool IsKept(std::string_view channel, int32_t filter) const;
  void BuildMetadata(const Message& message) const;
  void StartReplay(const std::shared_ptr<Subscriber>& subscriber,
                   const ReplayFrom& from);
  // Null if there is none.
  std::shared_ptr<Subscriber> FindRequest(uint32_t request);
  void PushReplayEnd(Subscriber& subscriber, const ReplayEnd& end);

  const BrokerOptions options_;
  const std::shared_ptr<Topics> topics_;
  const std::shared_ptr<Lane> main_;
  Engines engines_;
  MetadataBuilders metadata_;
  std::atomic<bool> presetting_ = true;
  std::atomic<Uplink*> uplink_ = nullptr;
  uint32_t origin_ = 0;  // Of a worker, in frames: its process.

  std::atomic<bool> has_history_ = false;  // Whether any channel is kept.
  // Held from when a message gets its place in the order of all until it has
  // been sent to all.
  mutable absl::Mutex order_mutex_;
  History history_ ABSL_GUARDED_BY(order_mutex_);

  absl::Mutex requests_mutex_;
  absl::flat_hash_map<uint32_t, std::shared_ptr<Subscriber>> requests_
      ABSL_GUARDED_BY(requests_mutex_);
  uint32_t last_request_ ABSL_GUARDED_BY(requests_mutex_) = 0;
};

}  // namespace fio::pubsub_internal

#endif  // FIO_PUBSUB_INTERNAL_BROKER_CORE_H_
