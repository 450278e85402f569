#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "fio/pubsub/internal/frame_header.h"
#include "fio/pubsub/internal/frame_reader.h"
#include "fio/pubsub/internal/message_block.h"
#include "fio/pubsub/message.h"

namespace {

using fio::Message;
using fio::pubsub_internal::FrameHeader;
using fio::pubsub_internal::FrameLimits;
using fio::pubsub_internal::FrameReader;
using fio::pubsub_internal::MessageBlock;

constexpr FrameLimits kLimits = {.channel_bytes = 1000, .body_bytes = 4000};

struct Outcome {
  std::vector<std::string> frames;
  absl::Status status;
  bool in_frame = false;
};

// Feeds pieces of `piece` bytes, each in memory that ends where it ends.
Outcome Read(std::string_view bytes, size_t piece) {
  FrameReader reader(kLimits);
  Outcome outcome;
  while (!bytes.empty() && outcome.status.ok()) {
    const std::vector<char> copy(bytes.begin(),
                                 bytes.begin() + std::min(piece, bytes.size()));
    bytes.remove_prefix(copy.size());
    outcome.status = reader.Feed(
        {copy.data(), copy.size()},
        [&](const FrameHeader& header, const Message& message) {
          ABSL_CHECK_LE(message.channel().size(), kLimits.channel_bytes);
          ABSL_CHECK_LE(message.body().size(), kLimits.body_bytes);
          ABSL_CHECK_EQ(message.channel().size(), header.channel_size);
          ABSL_CHECK_EQ(message.body().size(), header.body_size);
          outcome.frames.emplace_back(message.frame().view());
          return true;
        });
    ABSL_CHECK_LE(MessageBlock::live(), 1);
  }
  outcome.in_frame = reader.in_frame();
  return outcome;
}

}  // namespace

// The first byte says how the rest is cut. However that is, it is the same
// frames and the same error, and the frames are what has come.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data + 1),
                               size - 1);
  const Outcome whole = Read(bytes, size);
  std::string_view rest = bytes;
  for (const std::string& frame : whole.frames) {
    ABSL_CHECK(rest.starts_with(frame));
    rest.remove_prefix(frame.size());
  }
  if (whole.status.ok()) {
    ABSL_CHECK_EQ(whole.in_frame, !rest.empty());
  } else {
    ABSL_CHECK(absl::IsInvalidArgument(whole.status));
  }
  const Outcome cut = Read(bytes, 1 + data[0] % 67);
  ABSL_CHECK(cut.frames == whole.frames);
  ABSL_CHECK_EQ(cut.status, whole.status);
  ABSL_CHECK_EQ(cut.in_frame, whole.in_frame);
  ABSL_CHECK_EQ(MessageBlock::live(), 0);
  return 0;
}
