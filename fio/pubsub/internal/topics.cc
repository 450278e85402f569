#include "fio/pubsub/internal/topics.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "fio/pubsub/internal/lane_entry.h"
#include "fio/pubsub/internal/share.h"
#include "fio/pubsub/internal/subscriber.h"
#include "fio/pubsub/internal/topic_name.h"
#include "fio/pubsub/lane.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/pattern.h"
#include "fio/pubsub/subscribe_options.h"

namespace fio::pubsub_internal {
namespace {

PatternMode ModeOf(Match match) {
  return match == Match::kNats ? PatternMode::kNats : PatternMode::kRedis;
}

}  // namespace

struct Topics::Topic {
  explicit Topic(const TopicKey& key)
      : name(std::make_shared<const TopicName>(key)) {}

  bool unused() const {
    return shares.empty() && remotes.empty() && groups.empty();
  }

  const std::shared_ptr<const TopicName> name;
  std::vector<std::unique_ptr<Share>> shares;  // One for each lane.
  std::vector<Remote*> remotes;
  std::vector<std::unique_ptr<Group>> groups;
  std::optional<Patterns::Entry> pattern;
};

Topics::Topics() = default;
Topics::~Topics() = default;

absl::Status Topics::Join(const std::shared_ptr<Subscriber>& subscriber,
                          const TopicKey& key) {
  const absl::MutexLock lock(&mutex_);
  Lane& lane = subscriber->lane_;
  if (lane.topics_.get() != this || lane.ended_) {
    return absl::FailedPreconditionError(
        absl::StrCat("Subscribe ", key.channel, ": the lane ",
                     lane.ended_ ? "has ended" : "is another broker's"));
  }
  const absl::StatusOr<Topic*> topic = NeedTopic(key);
  if (!topic.ok()) return topic.status();
  subscriber->name_ = (*topic)->name;
  subscriber->topics_ = shared_from_this();
  subscriber->joined_ = true;
  if (subscriber->group().empty()) {
    Share& share = NeedShare(**topic, lane);
    ++share.count;
    if (subscriber->preset()) ++share.presets;
    subscriber->share_ = &share;
  } else {
    NeedGroup(**topic, subscriber->group())
        .members.push_back({.subscriber = subscriber});
  }
  lane.Push({.kind = LaneEntry::Kind::kJoin,
             .share = subscriber->share_,
             .subscriber = subscriber});
  return absl::OkStatus();
}

void Topics::Leave(Subscriber& subscriber) {
  const absl::MutexLock lock(&mutex_);
  if (!std::exchange(subscriber.joined_, false)) return;
  if (subscriber.share_ != nullptr) {
    LeaveShare(subscriber);
  } else {
    LeaveGroup(subscriber);
  }
}

void Topics::LeaveShare(Subscriber& subscriber) {
  Share* const share = std::exchange(subscriber.share_, nullptr);
  const bool is_last = --share->count == 0;
  if (subscriber.preset()) --share->presets;
  Topic* const topic = topics_.find(subscriber.name_->key())->second.get();
  if (is_last) {
    const auto place = std::find_if(
        topic->shares.begin(), topic->shares.end(),
        [share](const auto& other) { return other.get() == share; });
    place->release();  // The lane destroys it, behind what is on its way.
    topic->shares.erase(place);
  }
  subscriber.lane_.Push({.kind = LaneEntry::Kind::kLeave,
                         .is_last = is_last,
                         .share = share,
                         .subscriber = subscriber.shared_from_this()});
  if (topic->shares.empty()) TellLocal(*topic, nullptr, false);
  EraseIfUnused(topic);
}

void Topics::LeaveGroup(Subscriber& subscriber) {
  Topic* const topic = topics_.find(subscriber.name_->key())->second.get();
  Group& group = NeedGroup(*topic, subscriber.group());
  std::erase_if(group.members, [&](const Member& member) {
    return member.subscriber.get() == &subscriber;
  });
  subscriber.lane_.Push({.kind = LaneEntry::Kind::kLeave,
                         .subscriber = subscriber.shared_from_this()});
  EraseGroupIfEmpty(*topic, group);
  EraseIfUnused(topic);
}

void Topics::Resume(Subscriber& subscriber) {
  PushTo(subscriber, {.kind = LaneEntry::Kind::kResume});
}

void Topics::PushTo(Subscriber& subscriber, LaneEntry entry) {
  const absl::ReaderMutexLock lock(&mutex_);
  if (!subscriber.joined_) return;
  entry.subscriber = subscriber.shared_from_this();
  subscriber.lane_.Push(std::move(entry));
}

Topics::Subscribers Topics::RemoveLane(Lane& lane) {
  std::vector<LaneEntry> dropped;  // With what is the user's.
  const absl::MutexLock lock(&mutex_);
  lane.ended_ = true;
  Subscribers removed = lane.Clear(dropped);
  RemoveIf([&lane](const Lane& one) { return &one == &lane; },
           [&lane](const Subscriber& one) { return &one.lane_ == &lane; },
           [](const Remote&) { return false; }, removed);
  return removed;
}

void Topics::RemoveAllOf(Remote& remote) {
  const absl::MutexLock lock(&mutex_);
  Subscribers none;
  RemoveIf([](const Lane&) { return false; },
           [](const Subscriber&) { return false; },
           [&remote](const Remote& one) { return &one == &remote; }, none);
}

void Topics::DropInChild(Lane& main) {
  Subscribers removed;  // Their callbacks are the parent's.
  std::vector<LaneEntry> dropped;
  const absl::MutexLock lock(&mutex_);
  channels_listener_ = nullptr;
  local_listener_ = nullptr;
  if (main.has_run_) {
    removed = main.Clear(dropped);
  } else {
    DropJoining(main);
  }
  RemoveIf([](const Lane&) { return true; },
           [](const Subscriber& one) { return !one.preset(); },
           [](const Remote&) { return true; }, removed);
  for (const std::shared_ptr<Subscriber>& one : removed) one->Abandon();
}

// The lane has not noticed them yet, nor what is between them.
void Topics::DropJoining(Lane& main) {
  for (const std::shared_ptr<Subscriber>& one : main.Joining()) {
    if (one->preset() || !std::exchange(one->joined_, false)) continue;
    one->Abandon();
    if (one->share_ != nullptr) {
      LeaveShare(*one);
    } else {
      LeaveGroup(*one);
    }
  }
}

void Topics::RemoveIf(
    absl::FunctionRef<bool(const Lane&)> lane_goes,
    absl::FunctionRef<bool(const Subscriber&)> subscriber_goes,
    absl::FunctionRef<bool(const Remote&)> remote_goes, Subscribers& removed) {
  for (Topic* const topic : AllTopics()) {
    RemoveShares(*topic, lane_goes, subscriber_goes, removed);
    RemoveMembers(*topic, subscriber_goes, remote_goes, removed);
    std::erase_if(topic->remotes,
                  [&](const Remote* one) { return remote_goes(*one); });
    EraseIfUnused(topic);
  }
}

// REQUIRES: the lanes of those that go have noticed all that have joined.
void Topics::RemoveShares(Topic& topic,
                          absl::FunctionRef<bool(const Lane&)> lane_goes,
                          absl::FunctionRef<bool(const Subscriber&)> goes,
                          Subscribers& removed) {
  if (topic.shares.empty()) return;
  for (const std::unique_ptr<Share>& share : topic.shares) {
    if (!lane_goes(share->lane())) continue;
    const size_t before = removed.size();
    share->TakeIf(goes, removed);
    for (size_t i = before; i < removed.size(); ++i) {
      removed[i]->joined_ = false;
      removed[i]->share_ = nullptr;
      --share->count;
      if (removed[i]->preset()) --share->presets;
    }
  }
  std::erase_if(topic.shares,
                [](const auto& share) { return share->count == 0; });
  if (topic.shares.empty()) TellLocal(topic, nullptr, false);
}

void Topics::RemoveMembers(
    Topic& topic, absl::FunctionRef<bool(const Subscriber&)> subscriber_goes,
    absl::FunctionRef<bool(const Remote&)> remote_goes, Subscribers& removed) {
  for (size_t i = topic.groups.size(); i-- > 0;) {
    Group& group = *topic.groups[i];
    std::erase_if(group.members, [&](Member& member) {
      if (member.remote != nullptr) return remote_goes(*member.remote);
      if (!subscriber_goes(*member.subscriber)) return false;
      member.subscriber->joined_ = false;
      removed.push_back(std::move(member.subscriber));
      return true;
    });
    EraseGroupIfEmpty(topic, group);
  }
}

std::vector<Topics::Topic*> Topics::AllTopics() const {
  std::vector<Topic*> all;
  all.reserve(topics_.size());
  for (const auto& [key, topic] : topics_) all.push_back(topic.get());
  return all;
}

absl::Status Topics::AddRemote(Remote& remote, const Interest& interest) {
  const absl::MutexLock lock(&mutex_);
  const absl::StatusOr<Topic*> topic = NeedTopic(interest.topic);
  if (!topic.ok()) return topic.status();
  if (interest.group.empty()) {
    AddRemoteTo(**topic, remote);
  } else {
    AddRemoteTo(NeedGroup(**topic, interest.group), remote,
                interest.group_number);
  }
  return absl::OkStatus();
}

void Topics::RemoveRemote(Remote& remote, const Interest& interest) {
  const absl::MutexLock lock(&mutex_);
  const auto found = topics_.find(interest.topic);
  if (found == topics_.end()) return;
  Topic& topic = *found->second;
  const auto is_it = [&remote](const Remote* one) { return one == &remote; };
  if (interest.group.empty()) {
    std::erase_if(topic.remotes, is_it);
  } else {
    Group& group = NeedGroup(topic, interest.group);
    std::erase_if(group.members,
                  [&](const Member& member) { return is_it(member.remote); });
    EraseGroupIfEmpty(topic, group);
  }
  EraseIfUnused(&topic);
}

void Topics::AddPresets(Remote& remote) {
  const absl::MutexLock lock(&mutex_);
  for (Topic* const topic : AllTopics()) {
    for (const std::unique_ptr<Share>& share : topic->shares) {
      if (share->presets > 0) AddRemoteTo(*topic, remote);
    }
    for (const std::unique_ptr<Group>& group : topic->groups) {
      const bool has_presets = std::any_of(
          group->members.begin(), group->members.end(),
          [](const Member& member) {
            return member.subscriber != nullptr && member.subscriber->preset();
          });
      if (has_presets) AddRemoteTo(*group, remote, group->number);
    }
  }
}

void Topics::AddRemoteTo(Topic& topic, Remote& remote) {
  if (std::find(topic.remotes.begin(), topic.remotes.end(), &remote) ==
      topic.remotes.end()) {
    topic.remotes.push_back(&remote);
  }
}

void Topics::AddRemoteTo(Group& group, Remote& remote, uint32_t number) {
  const bool has_it = std::any_of(
      group.members.begin(), group.members.end(), [&](const Member& member) {
        return member.remote == &remote && member.remote_number == number;
      });
  if (has_it) return;
  group.members.push_back(
      {.subscriber = nullptr, .remote = &remote, .remote_number = number});
}

absl::StatusOr<Topics::Topic*> Topics::NeedTopic(const TopicKey& key) {
  if (const auto found = topics_.find(key); found != topics_.end()) {
    return found->second.get();
  }
  auto made = std::make_unique<Topic>(key);
  Topic* const topic = made.get();
  if (key.match != Match::kExact) {
    absl::StatusOr<Pattern> pattern =
        Pattern::Compile(key.channel, ModeOf(key.match));
    if (!pattern.ok()) return pattern.status();
    std::unique_ptr<Patterns>& patterns = patterns_[key.filter];
    if (patterns == nullptr) patterns = std::make_unique<Patterns>();
    topic->pattern = patterns->Add(*std::move(pattern), topic);
  }
  topics_.emplace(topic->name->key(), std::move(made));
  TellChannel(*topic, true);
  return topic;
}

void Topics::EraseIfUnused(Topic* topic) {
  if (!topic->unused()) return;
  TellChannel(*topic, false);
  const int32_t filter = topic->name->filter;
  if (topic->pattern.has_value()) {
    const auto patterns = patterns_.find(filter);
    patterns->second->Remove(*topic->pattern);
    if (patterns->second->patterns() == 0) patterns_.erase(patterns);
  }
  topics_.erase(topic->name->key());
}

Share& Topics::NeedShare(Topic& topic, Lane& lane) {
  for (const std::unique_ptr<Share>& share : topic.shares) {
    if (&share->lane() == &lane) return *share;
  }
  topic.shares.push_back(std::make_unique<Share>(lane));
  Share& share = *topic.shares.back();
  if (topic.shares.size() == 1) TellLocal(topic, nullptr, true);
  return share;
}

Topics::Group& Topics::NeedGroup(Topic& topic, std::string_view name) {
  for (const std::unique_ptr<Group>& group : topic.groups) {
    if (group->name == name) return *group;
  }
  topic.groups.push_back(
      std::make_unique<Group>(name, ++last_group_, topic.name.get()));
  Group& group = *topic.groups.back();
  groups_.emplace(group.number, &group);
  TellLocal(topic, &group, true);
  return group;
}

void Topics::EraseGroupIfEmpty(Topic& topic, Group& group) {
  if (!group.members.empty()) return;
  TellLocal(topic, &group, false);
  groups_.erase(group.number);
  std::erase_if(topic.groups,
                [&group](const auto& one) { return one.get() == &group; });
}

bool Topics::HasListeners(std::string_view channel, int32_t filter) const {
  const absl::ReaderMutexLock lock(&mutex_);
  bool has = false;
  ForEachMatch(channel, filter, [&has](const Topic& topic) {
    has = has || !topic.shares.empty() || !topic.groups.empty();
  });
  return has;
}

void Topics::Send(const Message& message, const Route& route) const {
  const absl::ReaderMutexLock lock(&mutex_);
  Remotes remotes;
  ForEachMatch(message.channel(), message.filter(), [&](const Topic& topic) {
    SendTo(topic, message, route, remotes);
  });
  for (Remote* const remote : remotes) remote->Send(message);
}

// A process finds itself which of its subscriptions match: it gets the message
// once.
void Topics::SendTo(const Topic& topic, const Message& message,
                    const Route& route, Remotes& remotes) {
  if (route.lanes) {
    for (const std::unique_ptr<Share>& share : topic.shares) {
      share->lane().Push({.kind = LaneEntry::Kind::kToShare,
                          .share = share.get(),
                          .message = message});
    }
  }
  if (route.remotes) {
    for (Remote* const remote : topic.remotes) {
      if (remote == route.except) continue;
      if (std::find(remotes.begin(), remotes.end(), remote) == remotes.end()) {
        remotes.push_back(remote);
      }
    }
  }
  if (!route.groups) return;
  for (const std::unique_ptr<Group>& group : topic.groups) {
    SendToMember(*group, message, [&](const Member& member) {
      if (member.remote == nullptr) {
        return route.lanes && !member.subscriber->HasSent(message);
      }
      return route.remotes &&
             (!route.except_in_groups || member.remote != route.except);
    });
  }
}

void Topics::SendToMember(const Group& group, const Message& message,
                          absl::FunctionRef<bool(const Member&)> takes) {
  const size_t size = group.members.size();
  const uint32_t first = group.next.fetch_add(1, std::memory_order_relaxed);
  for (size_t i = 0; i < size; ++i) {
    const Member& member = group.members[(first + i) % size];
    if (!takes(member)) continue;
    if (member.remote != nullptr) {
      member.remote->SendToGroup(member.remote_number, message);
    } else {
      member.subscriber->lane_.Push({.kind = LaneEntry::Kind::kToOne,
                                     .message = message,
                                     .subscriber = member.subscriber});
    }
    return;
  }
}

void Topics::SendToGroup(uint32_t group_number, const Message& message) const {
  const absl::ReaderMutexLock lock(&mutex_);
  const auto group = groups_.find(group_number);
  if (group == groups_.end()) return;
  SendToMember(*group->second, message,
               [](const Member& member) { return member.remote == nullptr; });
}

void Topics::ForEachMatch(std::string_view channel, int32_t filter,
                          absl::FunctionRef<void(const Topic&)> call) const {
  const auto exact = topics_.find(
      TopicKey{.channel = channel, .match = Match::kExact, .filter = filter});
  if (exact != topics_.end()) call(*exact->second);
  if (patterns_.empty()) return;
  const auto patterns = patterns_.find(filter);
  if (patterns == patterns_.end()) return;
  patterns->second->ForEachMatch(
      channel, [call](const Pattern&, const Topic* topic) { call(*topic); });
}

void Topics::SetChannelsListener(InterestListener* listener) {
  const absl::MutexLock lock(&mutex_);
  channels_listener_ = listener;
}

void Topics::SetLocalListener(InterestListener* listener) {
  const absl::MutexLock lock(&mutex_);
  local_listener_ = listener;
  for (const auto& [key, topic] : topics_) {
    if (!topic->shares.empty()) TellLocal(*topic, nullptr, true);
    for (const auto& group : topic->groups)
      TellLocal(*topic, group.get(), true);
  }
}

void Topics::ForEachChannel(
    absl::FunctionRef<void()> begin,
    absl::FunctionRef<void(const TopicKey&)> call) const {
  const absl::MutexLock lock(&mutex_);
  begin();
  for (const auto& [key, topic] : topics_) {
    if (key.filter == 0) call(key);
  }
}

void Topics::TellChannel(const Topic& topic, bool begins) {
  const TopicKey key = topic.name->key();
  if (channels_listener_ == nullptr || key.filter != 0) return;
  channels_listener_->OnInterest({.topic = key, .group = {}, .begins = begins});
}

void Topics::TellLocal(const Topic& topic, const Group* group, bool begins) {
  if (local_listener_ == nullptr) return;
  local_listener_->OnInterest(
      {.topic = topic.name->key(),
       .group = group == nullptr ? std::string_view() : group->name,
       .group_number = group == nullptr ? 0 : group->number,
       .begins = begins});
}

}  // namespace fio::pubsub_internal
