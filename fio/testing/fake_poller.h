// A FakePoller is a Poller whose descriptors are simulated: the test says which
// there are and what they are ready for. It keeps the contract of poller.h as
// epoll does, edges and order included, and never waits: with nothing ready
// Wait() is empty at once, whatever its deadline, and no clock moves.
//
//   FakePoller poller;
//   poller.Open(7);
//   poller.Add(7, token, Interest::kReadable, Trigger::kEdge);
//   poller.SetReadiness(7, Readiness(Readiness::kReadable));
//   poller.Wait(events, MonotonicTime::InfinitePast());  // Tells of `token`.
//
// Real descriptors, as a Waker's, may be watched beside them: the kernel is
// asked in each Wait(), without waiting. A Loop on a FakePoller is run turn by
// turn, by RunOnce(); Run() would spin.
//
// Wait() costs as much as it tells, however many are watched.
//
// Thread safety: none, unlike other pollers; but descriptors may become ready
// by other threads, as when they use a Waker.

#ifndef FIO_TESTING_FAKE_POLLER_H_
#define FIO_TESTING_FAKE_POLLER_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/poller.h"
#include "fio/testing/internal/descriptor_table.h"
#include "fio/testing/internal/random.h"

namespace fio::testing {

class FakePoller final : public Poller {
 public:
  struct Options {
    // Events of simulated descriptors are told in an order drawn from it. By
    // default it is that in which they became ready, real descriptors first.
    std::optional<uint64_t> shuffle_seed = std::nullopt;
  };

  explicit FakePoller(const Options& options);
  FakePoller() : FakePoller(Options()) {}

  // --- What the test says ---

  // From here on `fd` is open and simulated. REQUIRES: it is not negative and
  // not open.
  void Open(int fd, Readiness readiness = Readiness());

  // Ends the descriptor, and with it its watch. REQUIRES: Open() opened it.
  void Close(int fd);

  // What is so for `fd`. What was not so before is a change for kEdge; so is,
  // of what is so, that which is in `anew`, as when bytes come behind others.
  // REQUIRES: Open() opened it.
  void SetReadiness(int fd, Readiness readiness, Readiness anew = Readiness());

  // --- What it has seen ---

  // How many simulated descriptors are watched.
  size_t watched() const { return watched_; }

  // The deadline of the last Wait(), and how many events it told.
  MonotonicTime last_deadline() const { return last_deadline_; }
  size_t last_told() const { return last_told_; }

  // kAuto: it is none of the kernel's.
  PollerKind kind() const override { return PollerKind::kAuto; }

 private:
  struct Descriptor {
    Token token = 0;
    uint32_t readiness = 0;  // Bits of Readiness.
    uint32_t ticket = 0;     // Its place in `ready_`; 0 if it has none.
    uint32_t interest = 0;   // Bits to be told; 0 if not watched or disarmed.
    Trigger trigger = Trigger::kLevel;
    bool open = false;
    bool watched = false;
  };
  // Void once the descriptor has another ticket.
  struct Place {
    int fd;
    uint32_t ticket;
  };

  absl::Status AddFd(int fd, Token token, Interest interest,
                     Trigger trigger) override;
  absl::Status ModifyFd(int fd, Token token, Interest interest,
                        Trigger trigger) override;
  absl::Status RemoveFd(int fd) override;
  void ForgetFd(int fd) override;
  absl::StatusOr<size_t> WaitForEvents(absl::Span<Event> events,
                                       MonotonicTime deadline) override;

  // Null if `fd` is not simulated.
  Descriptor* FindOpen(int fd);
  void Watch(int fd, Descriptor& descriptor, Token token, Interest interest,
             Trigger trigger);
  void Unwatch(Descriptor& descriptor);
  void Queue(int fd, Descriptor& descriptor);
  void Shuffle();
  size_t TellReady(absl::Span<Event> events);
  absl::Status CreateReal();

  std::optional<testing_internal::Random> shuffle_;
  testing_internal::DescriptorTable<Descriptor> descriptors_;
  std::deque<Place> ready_;
  uint32_t last_ticket_ = 0;
  size_t watched_ = 0;
  MonotonicTime last_deadline_;
  size_t last_told_ = 0;
  std::unique_ptr<Poller> real_;  // Of real descriptors; null until there are.
};

}  // namespace fio::testing

#endif  // FIO_TESTING_FAKE_POLLER_H_
