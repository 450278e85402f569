// Who listens to what: the channels and patterns of a process that somebody has
// subscribed to, and for each of them the lanes, queue groups and other
// processes that get its messages.
//
// What a lane has of a topic is a Share. Publishing a message only puts it,
// with the share, into the inbox of each lane; the lane delivers it. So the
// lock is held for a lookup and a push per lane, however many subscriptions
// there are. What joins and leaves passes the same inboxes, so that each
// subscription gets exactly what was published while it was there.
//
// Thread safety: any thread may call all of it. While the lock is held nothing
// of the user's is called but Lane::Wake.

#ifndef FIO_PUBSUB_INTERNAL_TOPICS_H_
#define FIO_PUBSUB_INTERNAL_TOPICS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/inlined_vector.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "fio/pubsub/internal/pattern_index.h"
#include "fio/pubsub/internal/share.h"
#include "fio/pubsub/internal/subscriber.h"
#include "fio/pubsub/internal/topic_name.h"
#include "fio/pubsub/lane.h"
#include "fio/pubsub/message.h"

namespace fio::pubsub_internal {

// Another process of the cluster, as the root sees it.
class Remote {
 public:
  virtual ~Remote() = default;

  // Both under the lock of Topics, on any thread.
  virtual void Send(const Message& message) = 0;
  // To one member of the group that the process has told by that number.
  virtual void SendToGroup(uint32_t group, const Message& message) = 0;
};

// What is subscribed to changes.
struct Interest {
  TopicKey topic;
  // Not empty: it is about that group alone, whose number is `group_number`.
  std::string_view group;
  uint32_t group_number = 0;
  bool begins = true;  // Or ends.
};

class InterestListener {
 public:
  virtual ~InterestListener() = default;
  // Under the lock of Topics, in the order of the changes, on any thread. The
  // views die with the call.
  virtual void OnInterest(const Interest& interest) = 0;
};

// Who of those that listen gets a message.
struct Route {
  bool lanes = true;
  bool remotes = false;
  bool groups = true;
  const Remote* except = nullptr;  // Of the remotes; of the groups if
  bool except_in_groups = false;   // this is true.
};

class Topics final : public std::enable_shared_from_this<Topics> {
 public:
  using Subscribers = std::vector<std::shared_ptr<Subscriber>>;

  Topics();
  Topics(const Topics&) = delete;
  Topics& operator=(const Topics&) = delete;
  ~Topics();

  // --- Subscriptions ---

  // Errors: kFailedPrecondition if the lane has ended or is another broker's;
  // those of Pattern::Compile().
  absl::Status Join(const std::shared_ptr<Subscriber>& subscriber,
                    const TopicKey& topic);
  void Leave(Subscriber& subscriber);
  void Resume(Subscriber& subscriber);
  // Pushes what is for one subscription, if it has not left.
  void PushTo(Subscriber& subscriber, LaneEntry entry);
  // The lane ends: returns the subscriptions that it still had.
  Subscribers RemoveLane(Lane& lane);

  // --- Other processes ---

  // `group_number` is that of the remote's own Topics.
  absl::Status AddRemote(Remote& remote, const Interest& interest);
  // It has just been forked from this process: it listens to what is preset,
  // though it could not say so yet.
  void AddPresets(Remote& remote);
  void RemoveRemote(Remote& remote, const Interest& interest);
  void RemoveAllOf(Remote& remote);

  // --- Messages ---

  // Whether lanes or groups of this process get such a message.
  bool HasListeners(std::string_view channel, int32_t filter) const;
  void Send(const Message& message, const Route& route) const;
  // To one of the group's members in this process.
  void SendToGroup(uint32_t group_number, const Message& message) const;

  // --- Who listens to the listeners ---

  // Hears of all channels and patterns that anybody listens to, in this process
  // or another, without filters and groups. Null: nobody does.
  void SetChannelsListener(InterestListener* listener);
  // Hears of all that the lanes of this process listen to, from now on, and at
  // once of what there is.
  void SetLocalListener(InterestListener* listener);
  // Calls `begin`, and then `call` for each channel and pattern that anybody
  // listens to. What changes waits until it returns.
  void ForEachChannel(absl::FunctionRef<void()> begin,
                      absl::FunctionRef<void(const TopicKey&)> call) const;

  // In a process that has just been forked, which has no lane but `main`: only
  // preset subscriptions stay, without a callback to the others, and nobody
  // listens to what changes. What waits in the lane stays only if it has never
  // been run: it is what was published before the start.
  void DropInChild(Lane& main);

 private:
  // One who may get a message of a group.
  struct Member {
    std::shared_ptr<Subscriber> subscriber;  // Or else:
    Remote* remote = nullptr;
    uint32_t remote_number = 0;
  };
  struct Group {
    Group(std::string_view n, uint32_t number_of, const TopicName* of)
        : name(n), number(number_of), topic(of) {}

    const std::string name;
    const uint32_t number;
    const TopicName* const topic;
    std::vector<Member> members;
    // Counts messages, so that the members take turns.
    mutable std::atomic<uint32_t> next = 0;
  };
  struct Topic;
  using Patterns = PatternIndex<Topic*>;
  using TopicMap =
      absl::flat_hash_map<TopicKey, std::unique_ptr<Topic>>;  // Of its name.
  using Remotes = absl::InlinedVector<Remote*, 8>;

  absl::StatusOr<Topic*> NeedTopic(const TopicKey& key)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EraseIfUnused(Topic* topic) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Share& NeedShare(Topic& topic, Lane& lane)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Group& NeedGroup(Topic& topic, std::string_view name)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static void AddRemoteTo(Topic& topic, Remote& remote);
  static void AddRemoteTo(Group& group, Remote& remote, uint32_t number);
  void EraseGroupIfEmpty(Topic& topic, Group& group)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void LeaveShare(Subscriber& subscriber) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void LeaveGroup(Subscriber& subscriber) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DropJoining(Lane& main) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<Topic*> AllTopics() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  // Looks at the subscriptions of those lanes for which `lane_goes` returns
  // true: the lists of the others are their threads'.
  void RemoveIf(absl::FunctionRef<bool(const Lane&)> lane_goes,
                absl::FunctionRef<bool(const Subscriber&)> subscriber_goes,
                absl::FunctionRef<bool(const Remote&)> remote_goes,
                Subscribers& removed) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RemoveShares(Topic& topic,
                    absl::FunctionRef<bool(const Lane&)> lane_goes,
                    absl::FunctionRef<bool(const Subscriber&)> goes,
                    Subscribers& removed) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RemoveMembers(Topic& topic,
                     absl::FunctionRef<bool(const Subscriber&)> subscriber_goes,
                     absl::FunctionRef<bool(const Remote&)> remote_goes,
                     Subscribers& removed)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TellChannel(const Topic& topic, bool begins)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TellLocal(const Topic& topic, const Group* group, bool begins)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ForEachMatch(std::string_view channel, int32_t filter,
                    absl::FunctionRef<void(const Topic&)> call) const
      ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  static void SendTo(const Topic& topic, const Message& message,
                     const Route& route, Remotes& remotes);
  static void SendToMember(const Group& group, const Message& message,
                           absl::FunctionRef<bool(const Member&)> takes);

  mutable absl::Mutex mutex_;
  TopicMap topics_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<int32_t, std::unique_ptr<Patterns>> patterns_
      ABSL_GUARDED_BY(mutex_);  // By filter; none empty.
  absl::flat_hash_map<uint32_t, Group*> groups_ ABSL_GUARDED_BY(mutex_);
  uint32_t last_group_ ABSL_GUARDED_BY(mutex_) = 0;
  InterestListener* channels_listener_ ABSL_GUARDED_BY(mutex_) = nullptr;
  InterestListener* local_listener_ ABSL_GUARDED_BY(mutex_) = nullptr;
};

}  // namespace fio::pubsub_internal

#endif  // FIO_PUBSUB_INTERNAL_TOPICS_H_
