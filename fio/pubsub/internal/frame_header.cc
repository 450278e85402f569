#include "fio/pubsub/internal/frame_header.h"

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"

namespace fio::pubsub_internal {
namespace {

constexpr uint64_t kMagic = 'f' | ('P' << 8);
constexpr uint64_t kVersion = 1;

void Put(uint64_t value, int bytes, char*& out) {
  for (int i = 0; i < bytes; ++i) *out++ = static_cast<char>(value >> (8 * i));
}

uint64_t Take(int bytes, const char*& in) {
  uint64_t value = 0;
  for (int i = 0; i < bytes; ++i) {
    value |= uint64_t{static_cast<uint8_t>(*in++)} << (8 * i);
  }
  return value;
}

absl::Status CheckSizes(const FrameHeader& header, const FrameLimits& limits) {
  if (header.channel_size > limits.channel_bytes) {
    return absl::InvalidArgumentError(
        absl::StrFormat("frame: a channel of %d bytes, of %d at most",
                        header.channel_size, limits.channel_bytes));
  }
  if (header.body_size > limits.body_bytes) {
    return absl::InvalidArgumentError(
        absl::StrFormat("frame: a body of %d bytes, of %d at most",
                        header.body_size, limits.body_bytes));
  }
  return absl::OkStatus();
}

}  // namespace

void EncodeFrameHeader(const FrameHeader& header, char* out) {
  Put(kMagic, 2, out);
  Put(kVersion, 1, out);
  Put(static_cast<uint64_t>(header.type), 1, out);
  Put(header.flags, 4, out);
  Put(header.channel_size, 4, out);
  Put(header.body_size, 4, out);
  Put(static_cast<uint32_t>(header.filter), 4, out);
  Put(header.origin, 4, out);
  Put(header.sequence, 8, out);
  Put(header.from, 8, out);
}

absl::StatusOr<FrameHeader> DecodeFrameHeader(const char* bytes,
                                              const FrameLimits& limits) {
  const uint64_t magic = Take(2, bytes);
  const uint64_t version = Take(1, bytes);
  if (magic != kMagic || version != kVersion) {
    return absl::InvalidArgumentError(
        absl::StrFormat("frame: begins with %04x, version %d", magic, version));
  }
  const uint64_t type = Take(1, bytes);
  if (type < static_cast<uint64_t>(FrameType::kMessage) ||
      type > static_cast<uint64_t>(FrameType::kGoodbye)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("frame: unknown type %d", type));
  }
  FrameHeader header;
  header.type = static_cast<FrameType>(type);
  header.flags = static_cast<uint32_t>(Take(4, bytes));
  header.channel_size = static_cast<uint32_t>(Take(4, bytes));
  header.body_size = static_cast<uint32_t>(Take(4, bytes));
  header.filter = static_cast<int32_t>(Take(4, bytes));
  header.origin = static_cast<uint32_t>(Take(4, bytes));
  header.sequence = Take(8, bytes);
  header.from = Take(8, bytes);
  if (const absl::Status sizes = CheckSizes(header, limits); !sizes.ok()) {
    return sizes;
  }
  return header;
}

}  // namespace fio::pubsub_internal
