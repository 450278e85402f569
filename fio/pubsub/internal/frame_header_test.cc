#include "fio/pubsub/internal/frame_header.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"

namespace fio::pubsub_internal {
namespace {

constexpr FrameHeader kHeader = {.type = FrameType::kReplayItem,
                                 .flags = 0x8899AABB,
                                 .channel_size = 0x0102,
                                 .body_size = 0x010203,
                                 .filter = -2,
                                 .origin = 0xDEADBEEF,
                                 .sequence = 0x0102030405060708,
                                 .from = 0x1112131415161718};

std::string Encode(const FrameHeader& header) {
  std::string bytes(FrameHeader::kSize, '?');
  EncodeFrameHeader(header, bytes.data());
  return bytes;
}

absl::Status Decode(std::string_view bytes, const FrameLimits& limits = {}) {
  return DecodeFrameHeader(bytes.data(), limits).status();
}

// Two versions of fio may meet on a link: the layout is part of the contract.
TEST(FrameHeader, HasAFixedLayout) {
  constexpr std::array<uint8_t, FrameHeader::kSize> kBytes = {
      'f',  'P',  1,    7,                              // Magic, version, type.
      0xBB, 0xAA, 0x99, 0x88,                           // Flags.
      2,    1,    0,    0,                              // Size of the channel.
      3,    2,    1,    0,                              // Size of the body.
      0xFE, 0xFF, 0xFF, 0xFF,                           // Filter.
      0xEF, 0xBE, 0xAD, 0xDE,                           // Origin.
      8,    7,    6,    5,    4,    3,    2,    1,      // Sequence.
      0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11};  // From.
  EXPECT_EQ(Encode(kHeader), std::string(kBytes.begin(), kBytes.end()));
}

TEST(FrameHeader, IsDecodedAsItWasEncoded) {
  const absl::StatusOr<FrameHeader> header =
      DecodeFrameHeader(Encode(kHeader).data(), {});
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->type, kHeader.type);
  EXPECT_EQ(header->flags, kHeader.flags);
  EXPECT_EQ(header->channel_size, kHeader.channel_size);
  EXPECT_EQ(header->body_size, kHeader.body_size);
  EXPECT_EQ(header->filter, kHeader.filter);
  EXPECT_EQ(header->origin, kHeader.origin);
  EXPECT_EQ(header->sequence, kHeader.sequence);
  EXPECT_EQ(header->from, kHeader.from);
}

TEST(FrameHeader, OfAnotherMagicOrVersionIsRefused) {
  const std::string good = Encode({});
  EXPECT_TRUE(Decode(good).ok());
  for (const size_t at : {0, 1, 2}) {
    std::string bad = good;
    ++bad[at];
    const absl::Status error = Decode(bad);
    EXPECT_TRUE(absl::IsInvalidArgument(error)) << error;
  }
  EXPECT_EQ(Decode(std::string(FrameHeader::kSize, '\0')).message(),
            "frame: begins with 0000, version 0");
}

TEST(FrameHeader, OfAnUnknownTypeIsRefused) {
  int known = 0;
  for (int type = 0; type <= 255; ++type) {
    std::string bytes = Encode({});
    bytes[3] = static_cast<char>(type);
    if (const absl::Status error = Decode(bytes); error.ok()) {
      ++known;
    } else {
      EXPECT_TRUE(absl::IsInvalidArgument(error)) << error;
    }
  }
  EXPECT_EQ(known, static_cast<int>(FrameType::kGoodbye));
}

TEST(FrameHeader, IsHeldToItsLimits) {
  const FrameLimits limits = {.channel_bytes = 10, .body_bytes = 20};
  EXPECT_TRUE(
      Decode(Encode({.channel_size = 10, .body_size = 20}), limits).ok());
  EXPECT_EQ(Decode(Encode({.channel_size = 11}), limits),
            absl::InvalidArgumentError(
                "frame: a channel of 11 bytes, of 10 at most"));
  EXPECT_EQ(
      Decode(Encode({.body_size = 21}), limits),
      absl::InvalidArgumentError("frame: a body of 21 bytes, of 20 at most"));
  EXPECT_TRUE(
      Decode(Encode({.channel_size = 65'535, .body_size = uint32_t{16} << 20}))
          .ok());
}

TEST(FrameHeader, SumsItsSizesWithoutOverflow) {
  const FrameHeader largest = {.channel_size = UINT32_MAX,
                               .body_size = UINT32_MAX};
  EXPECT_EQ(largest.payload_size(), 0x1FFFFFFFFu);
  EXPECT_FALSE(Decode(Encode(largest)).ok());
  const FrameLimits none = {.channel_bytes = SIZE_MAX, .body_bytes = SIZE_MAX};
  EXPECT_TRUE(Decode(Encode(largest), none).ok());
}

}  // namespace
}  // namespace fio::pubsub_internal
