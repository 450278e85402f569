// A FakePoller is a Poller with simulated descriptors: the test opens them and
// sets their readiness. It behaves like the epoll poller, including edges and
// order, but never waits: if nothing is ready, Wait() returns no events at
// once, whatever its deadline, and no clock moves.
//
//   FakePoller poller;
//   poller.Open(7);
//   poller.Add(7, token, Interest::kReadable, Trigger::kEdge);
//   poller.SetReadiness(7, Readiness(Readiness::kReadable));
//   poller.Wait(events, MonotonicTime::InfinitePast());  // Reports `token`.
//
// Real descriptors, such as a Waker's, may be watched, too: each Wait() checks
// them in the kernel, without waiting. Run a Loop on a FakePoller by RunOnce();
// Run() would spin.
//
// The cost of Wait() depends on the number of events, not of watched
// descriptors.
//
// Thread safety: none, unlike other pollers. But other threads may make real
// descriptors ready, for example by a Waker.

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
    // Seeds a random order of the events of simulated descriptors. By default
    // they are in the order in which they became ready, after those of real
    // descriptors.
    std::optional<uint64_t> shuffle_seed = std::nullopt;
  };

  explicit FakePoller(const Options& options);
  FakePoller() : FakePoller(Options()) {}

  // --- For the test: state ---

  // From now on `fd` is open and simulated. REQUIRES: it is not negative and
  // not open.
  void Open(int fd, Readiness readiness = Readiness());

  // Closes the descriptor, which also ends its watch. REQUIRES: Open() opened
  // it.
  void Close(int fd);

  // Sets the readiness of `fd`. Bits that were not set before are edges for
  // kEdge. So are bits of `readiness` that are also in `anew`, for example when
  // more bytes arrive. REQUIRES: Open() opened it.
  void SetReadiness(int fd, Readiness readiness, Readiness anew = Readiness());

  // --- For the test: results ---

  // How many simulated descriptors are watched.
  size_t watched() const { return watched_; }

  // The deadline of the last Wait(), and how many events it returned.
  MonotonicTime last_deadline() const { return last_deadline_; }
  size_t last_told() const { return last_told_; }

  // Always kAuto: a fake poller uses no mechanism of the kernel.
  PollerKind kind() const override { return PollerKind::kAuto; }

 private:
  struct Descriptor {
    Token token = 0;
    uint32_t readiness = 0;  // Bits of Readiness.
    uint32_t ticket = 0;     // Its place in `ready_`; 0 if it has none.
    uint32_t interest = 0;   // Bits to report; 0 if not watched or disarmed.
    Trigger trigger = Trigger::kLevel;
    bool open = false;
    bool watched = false;
  };
  // Ignored once the descriptor has another ticket.
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
  std::unique_ptr<Poller> real_;  // Of real descriptors; null without them.
};

}  // namespace fio::testing

#endif  // FIO_TESTING_FAKE_POLLER_H_
