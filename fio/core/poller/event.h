// What a Poller is asked for and what it tells.
//
// Thread safety: values.

#ifndef FIO_CORE_POLLER_EVENT_H_
#define FIO_CORE_POLLER_EVENT_H_

#include <cstdint>

namespace fio {

// The caller's own name for a descriptor; comes back untouched, all 64 bits.
using Token = uint64_t;

// What to be told of. Errors and hang-ups are told of in any case.
enum class Interest : uint8_t {
  kReadable = 1,
  kWritable = 2,
  kReadableAndWritable = 3,
};

// How often to be told.
enum class Trigger : uint8_t {
  kLevel,    // In every Wait() for as long as it is so.
  kEdge,     // When it becomes so: go on until the call would block.
  kOneShot,  // Once; then not until the next Modify().
};

// What is so for a descriptor. Only readable() and writable() are sure to be
// told; the others are hints that a backend may lack, each implied by what the
// next read or write answers. Any of them may be spurious.
class Readiness {
 public:
  enum Bit : uint8_t {
    kReadable = 1,
    kWritable = 2,
    kReadClosed = 4,   // The peer will send no more; bytes may still be there.
    kWriteClosed = 8,  // The peer takes no more.
    kError = 16,
  };

  constexpr Readiness() = default;
  constexpr explicit Readiness(unsigned bits)
      : bits_(static_cast<uint8_t>(bits)) {}

  constexpr bool readable() const { return bits_ & kReadable; }
  constexpr bool writable() const { return bits_ & kWritable; }
  constexpr bool read_closed() const { return bits_ & kReadClosed; }
  constexpr bool write_closed() const { return bits_ & kWriteClosed; }
  constexpr bool error() const { return bits_ & kError; }

  friend constexpr bool operator==(Readiness, Readiness) = default;

 private:
  uint8_t bits_ = 0;
};

struct Event {
  Token token = 0;
  Readiness readiness;
};

}  // namespace fio

#endif  // FIO_CORE_POLLER_EVENT_H_
