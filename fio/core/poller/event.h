// What a Poller watches for (Interest, Trigger) and what it reports (Event).
//
// Thread safety: as ints.

#ifndef FIO_CORE_POLLER_EVENT_H_
#define FIO_CORE_POLLER_EVENT_H_

#include <cstdint>
#include <optional>
#include <ostream>

namespace fio {

// The caller's identifier of a descriptor: any 64 bits, returned unchanged in
// its events. Tokens of one poller should differ, because an event has no other
// identifier.
using Token = uint64_t;

// What to watch for; never empty. Errors and hang-ups are always reported.
//
//   Interest::kReadable | Interest::kWritable
class Interest {
 public:
  static const Interest kReadable;
  static const Interest kWritable;
  static const Interest kPriority;  // Out-of-band bytes; POLLPRI of poll(2).

  constexpr bool readable() const { return bits_ & 1; }
  constexpr bool writable() const { return bits_ & 4; }
  constexpr bool priority() const { return bits_ & 2; }

  friend constexpr Interest operator|(Interest a, Interest b) {
    return Interest(a.bits_ | b.bits_);
  }
  // This interest without `other`; none if that is empty.
  constexpr std::optional<Interest> Without(Interest other) const {
    const unsigned left = bits_ & ~unsigned{other.bits_};
    if (left == 0) return std::nullopt;
    return Interest(left);
  }

  friend constexpr bool operator==(Interest, Interest) = default;
  // For example "readable|writable".
  friend std::ostream& operator<<(std::ostream& out, Interest interest);

 private:
  constexpr explicit Interest(unsigned bits)
      : bits_(static_cast<uint8_t>(bits)) {}

  uint8_t bits_;
};

inline constexpr Interest Interest::kReadable{1};
inline constexpr Interest Interest::kWritable{4};
inline constexpr Interest Interest::kPriority{2};

// When readiness is reported.
enum class Trigger : uint8_t {
  kLevel,    // In every Wait() while the descriptor is ready.
  kEdge,     // When it becomes ready. Read or write until EAGAIN, then call
             // Poller::MarkDrained().
  kOneShot,  // Once; then not before the next Modify().
  // Like kLevel, but if several pollers, in this process or others, watch one
  // open file this way, a change wakes at least one waiting poller, not all of
  // them. For a shared listening socket. Only for kReadable and kWritable, with
  // fewer hints. The same as kLevel for kPoll and kKqueue.
  kLevelExclusive,
};

// The state of a descriptor. readable() and writable() are always reported. The
// others are hints, which a backend may lack: the next read or write returns
// the same information. Any of them may be spurious.
//
//                     epoll, poll              kqueue
//   priority()        POLLPRI                  EVFILT_EXCEPT, if there is one
//   read_closed()     POLLRDHUP or POLLHUP     EV_EOF of EVFILT_READ
//   write_closed()    POLLHUP or POLLERR       EV_EOF of EVFILT_WRITE
//   error()           POLLERR                  EV_EOF with an error
class Readiness {
 public:
  // The bits of Linux's poll(2), on every system.
  enum Bit : uint32_t {
    kReadable = 0x1,
    kPriority = 0x2,
    kWritable = 0x4,
    kError = 0x8,
    kHangUp = 0x10,
    kReadClosed = 0x2000,
  };

  constexpr Readiness() = default;
  constexpr explicit Readiness(uint32_t bits) : bits_(bits) {}

  // A read would not block: it returns bytes, the end or an error.
  constexpr bool readable() const {
    return bits_ & (kReadable | kReadClosed | kHangUp | kError);
  }
  // A write would not block: there is room or an error.
  constexpr bool writable() const {
    return bits_ & (kWritable | kHangUp | kError);
  }
  // Out-of-band bytes have arrived.
  constexpr bool priority() const { return bits_ & kPriority; }
  // The peer will send no more; bytes may still be unread.
  constexpr bool read_closed() const { return bits_ & (kReadClosed | kHangUp); }
  // The peer receives no more.
  constexpr bool write_closed() const { return bits_ & (kHangUp | kError); }
  constexpr bool error() const { return bits_ & kError; }

  // Neither an end nor an error, nor out-of-band bytes.
  constexpr bool is_only_data() const {
    return (bits_ & ~uint32_t{kReadable | kWritable}) == 0;
  }

  constexpr uint32_t bits() const { return bits_; }

  friend constexpr bool operator==(Readiness, Readiness) = default;
  // For example "readable|read closed", or "nothing".
  friend std::ostream& operator<<(std::ostream& out, Readiness readiness);

 private:
  uint32_t bits_ = 0;
};

// Has the layout of epoll_event of epoll_ctl(2), so that Linux writes directly
// to the caller's events, without a copy.
class
#if defined(__linux__) && defined(__x86_64__)
    [[gnu::packed]]
#endif
    Event {
 public:
  constexpr Event() = default;
  constexpr Event(Token token, Readiness readiness)
      : bits_(readiness.bits()), token_(token) {}

  constexpr Token token() const { return token_; }
  constexpr Readiness readiness() const { return Readiness(bits_); }

 private:
  uint32_t bits_ = 0;
  Token token_ = 0;
};

}  // namespace fio

#endif  // FIO_CORE_POLLER_EVENT_H_
