#include "fio/pubsub/internal/engines.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "fio/base/move_only_function.h"
#include "fio/base/no_throw.h"
#include "fio/pubsub/engine.h"
#include "fio/pubsub/internal/lane_entry.h"
#include "fio/pubsub/internal/topic_name.h"
#include "fio/pubsub/internal/topics.h"
#include "fio/pubsub/lane.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/publish_options.h"
#include "fio/pubsub/subscribe_options.h"

namespace fio::pubsub_internal {
namespace {

thread_local int callbacks_running = 0;

absl::Status NotAttached(std::string_view call, const Engine& engine) {
  return absl::NotFoundError(
      absl::StrCat(call, " ", engine.name(), ": it is not attached"));
}

}  // namespace

// An engine from Attach() to Detach(). Tasks may have it for longer.
class Engines::Attached {
 public:
  explicit Attached(Engine& engine)
      : engine_(&engine), info_{.local_echo = engine.local_echo()} {}

  Engine* engine() const { return engine_; }
  const Info& info() const { return info_; }
  // Before others have it.
  void set_number(uint32_t number) { info_.number = number; }
  void StayInRoot() { info_.in_root = true; }

  // Calls `call` with the engine, unless it has been detached.
  void Call(absl::FunctionRef<void(Engine&)> call) {
    const absl::MutexLock lock(&mutex_);
    if (!detached_) CallNow(call);
  }

  // Waits for the callback that runs. None begins afterwards but this last one,
  // which may run the lane.
  void Detach() {
    {
      const absl::MutexLock lock(&mutex_);
      detached_ = true;
    }
    CallNow([](Engine& engine) { engine.OnDetach(); });
  }

 private:
  void CallNow(absl::FunctionRef<void(Engine&)> call) {
    if (info_.in_root) return;
    ++callbacks_running;
    NoThrow([this] { return engine_->name(); }, [&] { call(*engine_); });
    --callbacks_running;
  }

  Engine* const engine_;
  Info info_;  // Changes in a process that has just been forked.
  absl::Mutex mutex_;
  bool detached_ ABSL_GUARDED_BY(mutex_) = false;
};

Engines::Engines(Topics& topics, Lane& lane) : topics_(topics), lane_(lane) {
  topics_.SetChannelsListener(this);
}

Engines::~Engines() { DetachAll(); }

void Engines::DetachAll() {
  topics_.SetChannelsListener(nullptr);
  std::vector<AttachedPtr> attached;
  {
    const absl::MutexLock lock(&mutex_);
    attached.swap(attached_);
    SetDefaultLocked(nullptr);
  }
  for (const AttachedPtr& one : attached) one->Detach();
}

bool Engines::InCallback() { return callbacks_running > 0; }

absl::Status Engines::Attach(Engine& engine) {
  const auto attached = std::make_shared<Attached>(engine);
  absl::Status status;
  topics_.ForEachChannel(
      [&] {
        status = Add(attached);
        if (!status.ok()) return;
        Tell(attached, [](Engine& one) { one.OnAttach(); });
      },
      [&](const TopicKey& topic) {
        if (status.ok()) TellInterest(attached, topic, true);
      });
  return status;
}

absl::Status Engines::Add(const AttachedPtr& attached) {
  const absl::MutexLock lock(&mutex_);
  const Engine& engine = *attached->engine();
  if (FindLocked(&engine) != nullptr) {
    return absl::AlreadyExistsError(
        absl::StrCat("Attach ", engine.name(), ": it is attached"));
  }
  if (attached_.size() == kMaxEngines) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "Attach ", engine.name(), ": there are ", kMaxEngines, " engines"));
  }
  attached->set_number(++last_number_);
  attached_.push_back(attached);
  return absl::OkStatus();
}

absl::Status Engines::Detach(Engine& engine) {
  AttachedPtr attached;
  {
    const absl::MutexLock lock(&mutex_);
    attached = FindLocked(&engine);
    if (attached == nullptr) return NotAttached("Detach", engine);
    std::erase(attached_, attached);
    if (default_engine_ == &engine) SetDefaultLocked(nullptr);
  }
  attached->Detach();
  return absl::OkStatus();
}

bool Engines::IsAttached(const Engine& engine) const {
  const absl::MutexLock lock(&mutex_);
  return FindLocked(&engine) != nullptr;
}

absl::Status Engines::Reattach(Engine& engine) {
  AttachedPtr attached;
  topics_.ForEachChannel(
      [&] {
        const absl::MutexLock lock(&mutex_);
        attached = FindLocked(&engine);
      },
      [&](const TopicKey& topic) {
        if (attached != nullptr) TellInterest(attached, topic, true);
      });
  return attached == nullptr ? NotAttached("Reattach", engine)
                             : absl::OkStatus();
}

absl::StatusOr<Engines::Info> Engines::Find(PublishOptions& options) const {
  const bool is_default =
      options.engine == nullptr && options.reach == Reach::kDefault;
  if (is_default) {
    options.reach = options.filter != 0
                        ? Reach::kCluster
                        : default_reach_.load(std::memory_order_relaxed);
  }
  const bool may_be_default =
      is_default && options.filter == 0 &&
      has_default_engine_.load(std::memory_order_acquire);
  if (options.engine == nullptr && !may_be_default) return Info();
  const absl::MutexLock lock(&mutex_);
  if (may_be_default) options.engine = default_engine_;
  if (options.engine == nullptr) return Info();
  const AttachedPtr attached = FindLocked(options.engine);
  if (attached == nullptr) {
    return absl::NotFoundError("Publish: the engine is not attached");
  }
  return attached->info();
}

void Engines::Publish(uint32_t number, const Message& message) {
  AttachedPtr attached;
  {
    const absl::MutexLock lock(&mutex_);
    for (const AttachedPtr& one : attached_) {
      if (one->info().number == number) attached = one;
    }
  }
  if (attached == nullptr) return;
  auto task = std::make_unique<MoveOnlyFunction<void()>>([attached, message] {
    attached->Call([&message](Engine& engine) { engine.Publish(message); });
  });
  // With the message, so that it counts as one.
  lane_.Push({.kind = LaneEntry::Kind::kTask,
              .message = message,
              .task = std::move(task)});
}

absl::Status Engines::SetDefault(Engine& engine) {
  const absl::MutexLock lock(&mutex_);
  if (FindLocked(&engine) == nullptr) return NotAttached("SetDefault", engine);
  SetDefaultLocked(&engine);
  return absl::OkStatus();
}

void Engines::SetDefault(Reach reach) {
  const absl::MutexLock lock(&mutex_);
  SetDefaultLocked(nullptr);
  default_reach_.store(reach == Reach::kDefault ? Reach::kCluster : reach,
                       std::memory_order_relaxed);
}

void Engines::SetDefaultLocked(Engine* engine) {
  default_engine_ = engine;
  has_default_engine_.store(engine != nullptr, std::memory_order_release);
}

void Engines::StayInRoot() {
  topics_.SetChannelsListener(this);
  const absl::MutexLock lock(&mutex_);
  for (const AttachedPtr& attached : attached_) attached->StayInRoot();
}

void Engines::OnInterest(const Interest& interest) {
  const absl::MutexLock lock(&mutex_);
  for (const AttachedPtr& attached : attached_) {
    if (attached->info().in_root) continue;
    TellInterest(attached, interest.topic, interest.begins);
  }
}

void Engines::TellInterest(const AttachedPtr& attached, const TopicKey& topic,
                           bool begins) {
  Tell(attached, [channel = std::string(topic.channel), match = topic.match,
                  begins](Engine& engine) {
    if (begins) {
      engine.Subscribe(channel, match);
    } else {
      engine.Unsubscribe(channel, match);
    }
  });
}

template <typename Call>
void Engines::Tell(const AttachedPtr& attached, Call call) {
  lane_.Post([attached, call = std::move(call)] { attached->Call(call); });
}

Engines::AttachedPtr Engines::FindLocked(const Engine* engine) const {
  for (const AttachedPtr& attached : attached_) {
    if (attached->engine() == engine) return attached;
  }
  return nullptr;
}

}  // namespace fio::pubsub_internal
