// What a Poller is asked for and what it tells.
//
// Thread safety: values.

#ifndef FIO_CORE_POLLER_EVENT_H_
#define FIO_CORE_POLLER_EVENT_H_

#include <cstdint>
#include <optional>
#include <ostream>

namespace fio {

// The caller's own name for a descriptor; comes back untouched, all 64 bits.
// Those that one poller watches should differ, since an event has no other
// name.
using Token = uint64_t;

// What to be told of; never nothing. Errors and hang-ups are told of in any
// case.
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
  // What is left without `other`, or nothing, which nobody can ask for.
  constexpr std::optional<Interest> Without(Interest other) const {
    const unsigned left = bits_ & ~unsigned{other.bits_};
    if (left == 0) return std::nullopt;
    return Interest(left);
  }

  friend constexpr bool operator==(Interest, Interest) = default;
  // As "readable|writable".
  friend std::ostream& operator<<(std::ostream& out, Interest interest);

 private:
  constexpr explicit Interest(unsigned bits)
      : bits_(static_cast<uint8_t>(bits)) {}

  uint8_t bits_;
};

inline constexpr Interest Interest::kReadable{1};
inline constexpr Interest Interest::kWritable{4};
inline constexpr Interest Interest::kPriority{2};

// How often to be told.
enum class Trigger : uint8_t {
  kLevel,    // In every Wait() for as long as it is so.
  kEdge,     // When it becomes so: go on until the call would block, and say so
             // with Poller::MarkDrained().
  kOneShot,  // Once; then not until the next Modify().
  // As kLevel, but where several pollers, of this process or others, watch one
  // open file so, a change is told to at least one that waits and not to all:
  // a listening socket that is shared. For kReadable and kWritable, with fewer
  // hints. As kLevel where the kernel has no such thing (kPoll, kKqueue).
  kLevelExclusive,
};

// What is so for a descriptor. readable() and writable() are sure to be told;
// the others are hints that a backend may lack, each implied by what the next
// read or write answers. Any of them may be spurious.
//
//                     epoll, poll              kqueue
//   priority()        POLLPRI                  EVFILT_EXCEPT, if there is one
//   read_closed()     POLLRDHUP or POLLHUP     EV_EOF of EVFILT_READ
//   write_closed()    POLLHUP or POLLERR       EV_EOF of EVFILT_WRITE
//   error()           POLLERR                  EV_EOF with an error
class Readiness {
 public:
  // The bits of poll(2) on Linux, everywhere.
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

  // A read would not block: there are bytes, or the end, or an error.
  constexpr bool readable() const {
    return bits_ & (kReadable | kReadClosed | kHangUp | kError);
  }
  // A write would not block: there is room, or an error.
  constexpr bool writable() const {
    return bits_ & (kWritable | kHangUp | kError);
  }
  // Out-of-band bytes have come.
  constexpr bool priority() const { return bits_ & kPriority; }
  // The peer will send no more; bytes may still be there.
  constexpr bool read_closed() const { return bits_ & (kReadClosed | kHangUp); }
  // The peer takes no more.
  constexpr bool write_closed() const { return bits_ & (kHangUp | kError); }
  constexpr bool error() const { return bits_ & kError; }

  constexpr uint32_t bits() const { return bits_; }

  friend constexpr bool operator==(Readiness, Readiness) = default;
  // As "readable|read closed", or "nothing".
  friend std::ostream& operator<<(std::ostream& out, Readiness readiness);

 private:
  uint32_t bits_ = 0;
};

// Laid out as epoll_event of epoll_ctl(2), so that Linux writes events where
// the caller wants them and nothing is copied.
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
