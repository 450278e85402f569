// ReadyEvents is the result of one Poller::Wait(): a view of the part of the
// caller's span that was filled in.
//
//   for (const Event event : *ready) { ... }
//
// While it lives, Poller::Remove() deletes the events of the removed token from
// it. So a removed token is never reported, even if it became ready in the same
// Wait(). Several ReadyEvents may exist at the same time, for example when a
// callback calls Wait() itself.
//
// Thread safety: none. It belongs to the thread that called Wait(), and must be
// destroyed before the poller.

#ifndef FIO_CORE_POLLER_READY_EVENTS_H_
#define FIO_CORE_POLLER_READY_EVENTS_H_

#include <cstddef>
#include <iterator>

#include "absl/types/span.h"
#include "fio/core/poller/event.h"

namespace fio {

class ReadyEvents {
 public:
  // In the order of the span, without the events that were removed.
  class Iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = Event;
    using difference_type = std::ptrdiff_t;
    using pointer = const Event*;
    using reference = Event;

    // Copies field by field, which compilers keep in registers. A copy of the
    // whole packed struct would go through memory, in pieces of other sizes.
    Event operator*() const {
      return Event(event_->token(), event_->readiness());
    }
    Iterator& operator++() {
      ++event_;
      SkipRemoved();
      return *this;
    }
    friend bool operator==(const Iterator& a, const Iterator& b) {
      return a.event_ == b.event_;
    }

   private:
    friend class ReadyEvents;
    Iterator(const Event* event, const Event* end) : event_(event), end_(end) {
      SkipRemoved();
    }
    void SkipRemoved() {
      while (event_ != end_ && event_->readiness() == Readiness()) ++event_;
    }

    const Event* event_;
    const Event* end_;
  };

  ReadyEvents() = default;
  ReadyEvents(ReadyEvents&& other) noexcept { MoveFrom(other); }
  ReadyEvents& operator=(ReadyEvents&& other) noexcept {
    if (this != &other) {
      Leave();
      MoveFrom(other);
    }
    return *this;
  }
  ~ReadyEvents() { Leave(); }

  Iterator begin() const {
    return Iterator(events_.data(), events_.data() + events_.size());
  }
  Iterator end() const {
    const Event* end = events_.data() + events_.size();
    return Iterator(end, end);
  }

  // How many events Wait() returned, including those removed since.
  size_t size() const { return events_.size(); }
  bool empty() const { return events_.empty(); }

 private:
  friend class Poller;

  ReadyEvents(absl::Span<Event> events, ReadyEvents** first)
      : events_(events), first_(first), next_(*first) {
    Join();
  }

  // Puts this at the front of the list. Not inline, so that only poller.cc must
  // suppress gcc 12's false warning of a dangling pointer.
  void Join();

  void Leave() {
    if (first_ == nullptr) return;
    *LinkToThis() = next_;
    first_ = nullptr;
  }
  void MoveFrom(ReadyEvents& other) {
    events_ = other.events_;
    first_ = other.first_;
    next_ = other.next_;
    if (first_ != nullptr) *other.LinkToThis() = this;
    other.events_ = {};
    other.first_ = nullptr;
  }
  ReadyEvents** LinkToThis() const {
    ReadyEvents** link = first_;
    while (*link != this) link = &(*link)->next_;
    return link;
  }

  absl::Span<Event> events_;
  ReadyEvents** first_ = nullptr;  // The poller's list of existing ones.
  ReadyEvents* next_ = nullptr;
};

}  // namespace fio

#endif  // FIO_CORE_POLLER_READY_EVENTS_H_
