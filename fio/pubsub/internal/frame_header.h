// The head of each frame between the processes of a cluster, and what a Message
// keeps in front of its bytes, so that it is sent as it lies in memory:
//
//   offset  size
//        0     2  magic, "fP"
//        2     1  version
//        3     1  type
//        4     4  flags
//        8     4  size of the channel
//       12     4  size of the body
//       16     4  filter
//       20     4  origin: of a message, the process that has published it
//       24     8  sequence
//       32     8  from: as PublishOptions, for that process
//       40        the channel, a NUL, the body
//
// Numbers are little-endian. A frame never has a pointer.
//
// Thread safety: a value.

#ifndef FIO_PUBSUB_INTERNAL_FRAME_HEADER_H_
#define FIO_PUBSUB_INTERNAL_FRAME_HEADER_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"

namespace fio::pubsub_internal {

// Numbers that were once used are not used for something else.
enum class FrameType : uint8_t {
  kMessage = 1,  // To whoever listens.
  kSubscribe,    // channel: a channel or pattern; body: a queue group.
  kUnsubscribe,
  kToGroup,     // A message for one member; origin: the group's number.
  kToEngine,    // A message for an external engine; origin: its number.
  kReplay,      // Asks for what history has; body: ReplayRequest.
  kReplayItem,  // A message of the past; origin: the request's number.
  kReplayEnd,   // body: what was told of it.
  kPing,
  kPong,
  kGoodbye,  // The sender closes next, on purpose.
};

// Bits of FrameHeader::flags.
enum FrameFlag : uint32_t {
  kFrameIsJson = 1u << 0,
  kFrameTotalOrder = 1u << 1,  // Comes back to the worker that has sent it.
  kFrameRootOnly = 1u << 2,
  kFrameRedisPattern = 1u << 3,  // The channel is a pattern of that kind.
  kFrameNatsPattern = 1u << 4,
  kFrameHasSequence = 1u << 5,
  kFrameSiblings = 1u << 6,  // Not for the worker that has sent it.
};

struct FrameHeader {
  static constexpr size_t kSize = 40;

  // What follows the header. It can't overflow.
  uint64_t payload_size() const {
    return uint64_t{channel_size} + 1 + body_size;
  }

  FrameType type = FrameType::kMessage;
  uint32_t flags = 0;
  uint32_t channel_size = 0;
  uint32_t body_size = 0;
  int32_t filter = 0;
  uint32_t origin = 0;
  uint64_t sequence = 0;
  uint64_t from = 0;
};

// How large the parts of a frame may be.
struct FrameLimits {
  size_t channel_bytes = 65'535;
  size_t body_bytes = size_t{16} << 20;
};

// Both REQUIRE FrameHeader::kSize bytes there.
void EncodeFrameHeader(const FrameHeader& header, char* out);

// Errors: kInvalidArgument for another magic or version, an unknown type, and
// sizes above `limits`.
absl::StatusOr<FrameHeader> DecodeFrameHeader(const char* bytes,
                                              const FrameLimits& limits);

}  // namespace fio::pubsub_internal

#endif  // FIO_PUBSUB_INTERNAL_FRAME_HEADER_H_
