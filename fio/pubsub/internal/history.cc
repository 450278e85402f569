#include "fio/pubsub/internal/history.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "fio/base/list_link.h"
#include "fio/base/monotonic_time.h"
#include "fio/pubsub/history_options.h"
#include "fio/pubsub/internal/frame_header.h"
#include "fio/pubsub/internal/history_rules.h"
#include "fio/pubsub/internal/message_block.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/subscribe_options.h"

namespace fio::pubsub_internal {
namespace {

// An Item is in three lists, by one of these each.
struct AllLink : ListLink {};
struct RuleLink : ListLink {};
struct ChannelLink : ListLink {};

MonotonicTime Before(MonotonicTime now, absl::Duration span) {
  return span == absl::InfiniteDuration() ? MonotonicTime::InfinitePast()
                                          : now - span;
}

size_t BytesOf(const Message& message) {
  return message.channel().size() + message.body().size();
}

}  // namespace

struct History::Item : AllLink, RuleLink, ChannelLink {
  Item(Channel& c, const Message& m, MonotonicTime t)
      : channel(c), message(m), came(t) {}

  template <typename Link>
  static Item& Of(ListLink* link) {
    return static_cast<Item&>(static_cast<Link&>(*link));
  }
  template <typename Link>
  static const Item& Of(const ListLink* link) {
    return static_cast<const Item&>(static_cast<const Link&>(*link));
  }
  // Of memory.
  size_t bytes() const {
    return sizeof(Item) + sizeof(MessageBlock) + FrameHeader::kSize +
           MessageBlock::Of(message).header().payload_size() + 1;
  }

  Channel& channel;
  const Message message;
  const MonotonicTime came;
};

// In the list of idle ones, unless it has messages.
struct History::Channel : ListLink {
  Channel(std::string_view n, HistoryRule& r) : name(n), rule(r) {}

  static Channel& Of(ListLink* link) { return static_cast<Channel&>(*link); }
  // Of memory, with its place among others.
  size_t bytes() const { return sizeof(Channel) + name.size() + 64; }

  const std::string name;
  HistoryRule& rule;
  ListLink oldest_first;
  size_t message_bytes = 0;  // As HistoryOptions::max_bytes.
  Numbers numbers;
};

History::History(size_t max_bytes, uint64_t epoch)
    : max_bytes_(max_bytes), epoch_(epoch) {}

History::~History() {
  while (!oldest_first_.alone()) Drop(Item::Of<AllLink>(oldest_first_.next));
}

absl::Status History::Keep(std::string_view channel, Match match,
                           const HistoryOptions& options) {
  return rules_.Add(channel, match, options);
}

bool History::Keeps(std::string_view channel) const {
  return !rules_.empty() &&
         (Find(channel) != nullptr || rules_.Find(channel) != nullptr);
}

uint64_t History::Append(Message& message, MonotonicTime now) {
  Channel* const channel = FindOrAdd(message.channel());
  if (channel == nullptr) return 0;
  const uint64_t sequence = ++channel->numbers.last;
  MessageBlock& block = MessageBlock::Of(message);
  FrameHeader header = block.header();
  header.flags |= kFrameHasSequence;
  header.sequence = sequence;
  block.SetHeader(header);
  Push(*channel, message, now);
  DropOld(channel->rule, now);
  Trim();
  return sequence;
}

void History::Expire(MonotonicTime now) {
  for (const auto& rule : rules_.rules()) DropOld(*rule, now);
  Trim();
}

ReplayEnd History::Replay(std::string_view channel, const ReplayFrom& from,
                          MonotonicTime now,
                          absl::FunctionRef<void(const Message&)> on_message) {
  Channel* const known = Find(channel);
  if (known != nullptr) DropOld(known->rule, now);
  const MonotonicTime oldest = Before(now, from.age);
  uint64_t first;
  ReplayEnd end = Compare(known != nullptr ? known->numbers : forgotten_, from,
                          oldest, first);
  if (known != nullptr) {
    ForEach(*known, first, oldest, on_message);
    Trim();
  } else if (end.begun_anew || from.after_sequence.value_or(0) == 0) {
    end.last_sequence = 0;
  }
  return end;
}

// The end of a replay of what `from` asks for, and in `first` the first number
// that it asks for.
ReplayEnd History::Compare(const Numbers& numbers, const ReplayFrom& from,
                           MonotonicTime oldest, uint64_t& first) const {
  ReplayEnd end = {.last_sequence = numbers.last, .epoch = epoch_};
  const uint64_t after = from.after_sequence.value_or(0);
  const bool is_other = from.epoch != 0 && from.epoch != epoch_;
  end.begun_anew = after > numbers.last || (after > 0 && is_other);
  first = after == 0 || end.begun_anew ? numbers.begin : after + 1;
  if (from.last < numbers.last) {
    first = std::max(first, numbers.last - from.last + 1);
  }
  const uint64_t kept = numbers.last - numbers.kept + 1;
  if (from.after_sequence.has_value() && first < kept &&
      numbers.dropped >= oldest) {
    end.lost = kept - first;
  }
  return end;
}

void History::ForEach(const Channel& channel, uint64_t first,
                      MonotonicTime oldest,
                      absl::FunctionRef<void(const Message&)> on_message) {
  const ListLink* const end = &channel.oldest_first;
  const ListLink* at = end;
  while (at->previous != end) {
    const Item& item = Item::Of<ChannelLink>(at->previous);
    if (item.message.sequence() < first || item.came < oldest) break;
    at = at->previous;
  }
  for (; at != end; at = at->next) {
    on_message(Item::Of<ChannelLink>(at).message);
  }
}

History::Stats History::stats() const {
  return {.messages = messages_, .channels = channels_.size(), .bytes = bytes_};
}

History::Channel* History::Find(std::string_view name) const {
  const auto it = channels_.find(name);
  return it == channels_.end() ? nullptr : it->second.get();
}

// Null if it is not kept. A new one is not in the list of idle ones yet.
History::Channel* History::FindOrAdd(std::string_view name) {
  if (rules_.empty()) return nullptr;
  if (Channel* const known = Find(name)) return known;
  HistoryRule* const rule = rules_.Find(name);
  if (rule == nullptr) return nullptr;
  auto added = std::make_unique<Channel>(name, *rule);
  added->numbers = forgotten_;
  bytes_ += added->bytes();
  Channel* const channel = added.get();
  channels_.emplace(channel->name, std::move(added));
  return channel;
}

void History::Push(Channel& channel, const Message& message,
                   MonotonicTime now) {
  if (!channel.alone()) {
    channel.Unlink();
    idle_bytes_ -= channel.bytes();
  }
  Item& item = *new Item(channel, message, now);
  item.AllLink::LinkBefore(oldest_first_);
  item.RuleLink::LinkBefore(channel.rule.oldest_first);
  item.ChannelLink::LinkBefore(channel.oldest_first);
  ++messages_;
  ++channel.numbers.kept;
  bytes_ += item.bytes();
  channel.message_bytes += BytesOf(message);
  const HistoryOptions& options = channel.rule.options;
  // One too large for the whole goes with the rest of its channel, not with
  // those of all others.
  const bool none = item.bytes() > max_bytes_;
  while (channel.numbers.kept > 0 &&
         (none || channel.numbers.kept > options.max_messages ||
          channel.message_bytes > options.max_bytes)) {
    Drop(Item::Of<ChannelLink>(channel.oldest_first.next));
  }
}

void History::Drop(Item& item) {
  Channel& channel = item.channel;
  --messages_;
  bytes_ -= item.bytes();
  channel.message_bytes -= BytesOf(item.message);
  channel.numbers.dropped = item.came;
  if (--channel.numbers.kept == 0) {
    channel.LinkBefore(idle_);
    idle_bytes_ += channel.bytes();
  }
  item.AllLink::Unlink();
  item.RuleLink::Unlink();
  item.ChannelLink::Unlink();
  delete &item;
}

void History::DropOld(HistoryRule& rule, MonotonicTime now) {
  const MonotonicTime oldest = Before(now, rule.options.max_age);
  while (!rule.oldest_first.alone()) {
    Item& item = Item::Of<RuleLink>(rule.oldest_first.next);
    if (item.came >= oldest) break;
    Drop(item);
  }
}

void History::Forget(Channel& channel) {
  const Numbers& numbers = channel.numbers;
  forgotten_.last = std::max(forgotten_.last, numbers.last);
  forgotten_.begin = forgotten_.last + 1;
  forgotten_.dropped = std::max(forgotten_.dropped, numbers.dropped);
  bytes_ -= channel.bytes();
  idle_bytes_ -= channel.bytes();
  channel.Unlink();
  channels_.erase(channels_.find(channel.name));
}

void History::Trim() {
  while (true) {
    if (idle_bytes_ > max_bytes_ / 16) {
      Forget(Channel::Of(idle_.next));
    } else if (bytes_ > max_bytes_ && !oldest_first_.alone()) {
      Drop(Item::Of<AllLink>(oldest_first_.next));
    } else {
      return;
    }
  }
}

}  // namespace fio::pubsub_internal
