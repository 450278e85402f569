// What a Subscription is the handle of: its callback, and what waits for it.
//
// Thread safety: as each part says.

#ifndef FIO_PUBSUB_INTERNAL_SUBSCRIBER_H_
#define FIO_PUBSUB_INTERNAL_SUBSCRIBER_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "fio/base/move_only_function.h"
#include "fio/pubsub/delivery.h"
#include "fio/pubsub/internal/backlog.h"
#include "fio/pubsub/internal/topic_name.h"
#include "fio/pubsub/lane.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/subscribe_options.h"
#include "fio/pubsub/subscription.h"

namespace fio::pubsub_internal {

class Share;
class Topics;

class Subscriber final : public std::enable_shared_from_this<Subscriber> {
 public:
  // Of `options` it takes all but what names the topic. `preset`: each process
  // that is forked has a copy of it. `lane` outlives its Finish().
  Subscriber(Lane& lane, SubscribeOptions& options, OnMessage on_message,
             bool preset);
  Subscriber(const Subscriber&) = delete;
  Subscriber& operator=(const Subscriber&) = delete;
  ~Subscriber();

  // --- Any thread ---

  // Null before it has joined.
  const TopicName* name() const { return name_.get(); }
  std::string_view group() const;
  bool preset() const { return preset_; }
  // Whether its owner has published the message: it does not get it.
  bool HasSent(const Message& message) const;
  bool ended() const { return ended_.load(std::memory_order_acquire); }
  void Unsubscribe();
  void Resume();
  SubscriptionStats stats() const;

  // --- The lane's thread ---

  // Delivers it, or lets it wait.
  void Offer(const Message& message);
  // Those of the past wait for the end of the replay, which says what is
  // missing before them.
  void OfferReplayed(const Message& message);
  void EndReplay(const ReplayEnd& end);
  // From now on another callback gets the messages, those that wait too. The
  // former one's on_unsubscribe is called when it runs no more. REQUIRES: the
  // same owner and group, and no replay in `options`.
  void Replace(SubscribeOptions& options, OnMessage on_message);
  // After Delivery::Defer(), and after Resume().
  void Retry();
  void GoOn();
  // When it has left: on_unsubscribe is called, once, and nothing after it.
  void Finish();
  // In a process that has just been forked: it has ended, without a callback.
  void Abandon();

 private:
  friend class Share;   // index_
  friend class Topics;  // What is under its lock.
  using Item = Backlog::Item;
  // What few have.
  struct Extra {
    std::string group;
    SlowOptions slow;
    MoveOnlyFunction<void(const ReplayEnd&)> on_replay_end;
    MoveOnlyFunction<void()> on_slow;
    MoveOnlyFunction<void()> on_unsubscribe;
  };

  struct Replacement {
    OnMessage on_message;
    std::unique_ptr<Extra> extra;
  };

  static std::unique_ptr<Extra> TakeExtra(SubscribeOptions& options);
  void Put(Replacement replacement);
  void TellUnsubscribed(std::unique_ptr<Extra> extra);
  const SlowOptions& slow() const;
  Backlog& NeedBacklog();
  // Whether it is done, so that the next one may follow.
  bool Deliver(Item item);
  void Wait(Item item);
  void DeliverWaiting(size_t at_most);
  void TellReplayEnd();
  void CloseAsSlow();
  void Count();
  template <typename Call>
  void CallOut(Call&& call);
  template <typename Call>
  void NoThrow(Call&& call);

  Lane& lane_;
  const uint64_t owner_;
  const bool preset_;
  std::atomic<bool> ended_ = false;

  // Set while it joins.
  std::shared_ptr<const TopicName> name_;
  std::shared_ptr<Topics> topics_;

  // Under the lock of Topics. While it is joined its lane exists.
  bool joined_ = false;
  Share* share_ = nullptr;  // Null in a group, too.

  // Of the lane's thread.
  size_t index_ = 0;  // In the share.
  OnMessage on_message_;
  std::unique_ptr<Extra> extra_;
  std::unique_ptr<Replacement> replacement_;  // Put when the call returns.
  std::unique_ptr<Backlog> backlog_;
  uint64_t lost_ = 0;  // Before the next message.
  bool finished_ = false;
  bool calling_ = false;  // Inside of a callback that may be replaced.
  bool blocked_ = false;  // Deferred or parked.
  bool parked_ = false;
  bool resumed_early_ = false;  // The next Park() has ended already.

  std::atomic<uint64_t> delivered_ = 0;
  std::atomic<uint64_t> dropped_ = 0;
  std::atomic<uint64_t> waiting_ = 0;
};

}  // namespace fio::pubsub_internal

#endif  // FIO_PUBSUB_INTERNAL_SUBSCRIBER_H_
