// Random operations on a poller, checked against a model of what it must, may
// and must not tell, for every backend.

#ifndef FIO_CORE_POLLER_TEST_SUITES_MODEL_SUITE_H_
#define FIO_CORE_POLLER_TEST_SUITES_MODEL_SUITE_H_

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <random>
#include <set>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/ready_events.h"
#include "fio/core/poller/test_suites/poller_fixture.h"
#include "gtest/gtest.h"

namespace fio {

template <typename Backend>
class PollerModelTest : public PollerTest<Backend> {
 protected:
  static constexpr size_t kSlots = 12;

  // A pair, and what the poller owes of its near end.
  struct Slot {
    typename PollerTest<Backend>::Pair pair;
    bool watched = false;
    Token token = 0;
    Interest interest = Interest::kReadable;
    Trigger trigger = Trigger::kLevel;
    // kEdge and kOneShot: what must still be told once it is so.
    bool read_due = false;
    bool write_due = false;
    // kEdge: something has happened since it was told last, and may be told.
    bool stirred = false;

    int fd() const { return pair.near.get(); }
    void Arm() {
      read_due = interest.readable();
      write_due = interest.writable();
      stirred = true;
    }
  };

  void SetUp() override {
    for (Slot& slot : slots_) slot.pair = this->NewPair();
  }

  size_t Below(size_t limit) { return random_() % limit; }
  Slot& AnySlot() { return slots_[Below(kSlots)]; }

  // --- What is done ---

  void Choose(Slot& slot) {
    constexpr Interest kInterests[] = {Interest::kReadable, Interest::kWritable,
                                       kReadableAndWritable};
    constexpr Trigger kTriggers[] = {Trigger::kLevel, Trigger::kEdge,
                                     Trigger::kOneShot,
                                     Trigger::kLevelExclusive};
    slot.interest = kInterests[Below(3)];
    slot.trigger = kTriggers[Below(4)];
  }
  void AddOrModify(Slot& slot) {
    const Slot before = {
        .pair = {}, .interest = slot.interest, .trigger = slot.trigger};
    Choose(slot);
    if (Below(8) == 0) {  // The wrong one of the two changes nothing.
      const absl::Status wrong =
          slot.watched
              ? this->poller_->Add(slot.fd(), 0, slot.interest, slot.trigger)
              : this->poller_->Modify(slot.fd(), 0, slot.interest,
                                      slot.trigger);
      EXPECT_EQ(wrong.code(), slot.watched ? absl::StatusCode::kAlreadyExists
                                           : absl::StatusCode::kNotFound);
      slot.interest = before.interest;
      slot.trigger = before.trigger;
      return;
    }
    if (!slot.watched || Below(2) == 0) slot.token = next_token_++;
    const absl::Status status =
        slot.watched ? this->poller_->Modify(slot.fd(), slot.token,
                                             slot.interest, slot.trigger)
                     : this->poller_->Add(slot.fd(), slot.token, slot.interest,
                                          slot.trigger);
    EXPECT_TRUE(IsOk(status));
    slot.watched = true;
    slot.Arm();
  }
  void Remove(Slot& slot) {
    EXPECT_EQ(this->poller_->Remove(slot.fd(), slot.token).ok(), slot.watched);
    slot.watched = false;
  }
  void Replace(Slot& slot) {
    this->poller_->RemoveForClose(slot.fd(), slot.token);
    slot.watched = false;
    slot.pair = {};  // So that the new ones have these numbers.
    slot.pair = this->NewPair();
  }
  void Receive(Slot& slot) {
    char bytes[4096];
    ssize_t size;
    do {
      size = read(slot.fd(), bytes, sizeof(bytes));
    } while (size > 0);
    if (size < 0 && errno == EAGAIN) MarkDrained(slot, Interest::kReadable);
  }
  void FillUp(Slot& slot) {
    const std::array<char, 4096> bytes = {};
    ssize_t size;
    do {
      size = send(slot.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    } while (size > 0);
    if (size < 0 && errno == EAGAIN) MarkDrained(slot, Interest::kWritable);
  }
  void MarkDrained(Slot& slot, Interest interest) {
    this->Drained(slot.fd(), interest);
    if (!slot.watched || slot.trigger != Trigger::kEdge) return;
    if (interest.readable()) slot.read_due = slot.interest.readable();
    if (interest.writable()) slot.write_due = slot.interest.writable();
  }
  void StirFromFar(Slot& slot) {
    slot.stirred = true;
    const int far = slot.pair.far.get();
    char bytes[4096] = {};
    switch (Below(5)) {
      case 0:
        slot.pair.far.Reset();
        break;
      case 1:
        while (read(far, bytes, sizeof(bytes)) > 0) {
        }
        break;
      default:
        static_cast<void>(send(far, bytes, 1 + Below(3), MSG_NOSIGNAL) < 0);
    }
  }

  // --- What is told ---

  struct Now {
    bool readable, writable;
  };
  static Now Ask(const Slot& slot) {
    pollfd answer = {.fd = slot.fd(), .events = POLLIN | POLLOUT, .revents = 0};
    EXPECT_GE(poll(&answer, 1, 0), 0);
    const bool over = answer.revents & (POLLHUP | POLLERR);
    return {.readable = over || (answer.revents & POLLIN),
            .writable = over || (answer.revents & POLLOUT)};
  }

  static bool MustBeTold(const Slot& slot) {
    if (!slot.watched) return false;
    const Now now = Ask(slot);
    if (slot.trigger == Trigger::kLevel ||
        slot.trigger == Trigger::kLevelExclusive) {
      return (now.readable && slot.interest.readable()) ||
             (now.writable && slot.interest.writable());
    }
    return (now.readable && slot.read_due) || (now.writable && slot.write_due);
  }
  static bool MayBeTold(const Slot& slot) {
    if (!slot.watched) return false;
    if (slot.trigger == Trigger::kEdge && slot.stirred) return true;
    return MustBeTold(slot);
  }

  void WasTold(Slot& slot, Readiness readiness) {
    const bool all =
        slot.trigger == Trigger::kOneShot || readiness.write_closed();
    if (all || readiness.readable()) slot.read_due = false;
    if (all || readiness.writable()) slot.write_due = false;
  }

  // One Wait(), with room for all or for few.
  void WaitAndCheck() {
    std::array<Event, 3 * kSlots> events;
    const bool room_for_all = Below(3) != 0;
    std::set<Token> must, may;
    for (const Slot& slot : slots_) {
      if (MustBeTold(slot)) must.insert(slot.token);
      if (MayBeTold(slot)) may.insert(slot.token);
    }
    const absl::StatusOr<ReadyEvents> ready = this->poller_->Wait(
        room_for_all ? absl::MakeSpan(events)
                     : absl::MakeSpan(events).first(1 + Below(3)),
        MonotonicTime::InfinitePast());
    ASSERT_TRUE(IsOk(ready.status()));
    for (const Event event : *ready) {
      EXPECT_TRUE(may.contains(event.token())) << event.readiness();
      must.erase(event.token());
      for (Slot& slot : slots_) {
        if (!slot.watched || slot.token != event.token()) continue;
        WasTold(slot, event.readiness());
        told_.push_back(&slot);
      }
      if (Below(4) == 0) {  // One that may still be in the batch.
        Slot& other = AnySlot();
        may.erase(other.token);
        must.erase(other.token);
        if (Below(2) == 0) {
          Remove(other);
        } else {
          Replace(other);
        }
      }
    }
    if (room_for_all) {
      EXPECT_TRUE(must.empty()) << must.size() << " not told";
      for (Slot* slot : told_) slot->stirred = false;
    }
    told_.clear();
  }

  void Step() {
    Slot& slot = AnySlot();
    switch (Below(10)) {
      case 0:
      case 1:
        return AddOrModify(slot);
      case 2:
        return Below(2) == 0 ? Remove(slot) : Replace(slot);
      case 3:
        return Receive(slot);
      case 4:
        return FillUp(slot);
      case 5:
      case 6:
        return StirFromFar(slot);
      default:
        return WaitAndCheck();
    }
  }

  std::mt19937_64 random_{20'260'501};
  std::array<Slot, kSlots> slots_;
  std::vector<Slot*> told_;
  Token next_token_ = 1;
};

TYPED_TEST_SUITE_P(PollerModelTest);

TYPED_TEST_P(PollerModelTest, TellsWhatItOwesAndNothingElse) {
  for (int i = 0; i < 30'000 && !this->HasFailure(); ++i) this->Step();
}

REGISTER_TYPED_TEST_SUITE_P(PollerModelTest, TellsWhatItOwesAndNothingElse);

}  // namespace fio

#endif  // FIO_CORE_POLLER_TEST_SUITES_MODEL_SUITE_H_
