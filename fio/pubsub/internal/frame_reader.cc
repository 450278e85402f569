#include "fio/pubsub/internal/frame_reader.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/pubsub/internal/frame_header.h"
#include "fio/pubsub/internal/message_block.h"
#include "fio/pubsub/message.h"

namespace fio::pubsub_internal {

absl::Status FrameReader::Feed(std::string_view bytes, OnFrame on_frame) {
  while (status_.ok()) {
    if (!message_ && !CollectHeader(bytes)) break;
    if (!CollectPayload(bytes)) break;
    header_bytes_ = payload_bytes_ = 0;
    Message message = std::exchange(message_, Message());
    // A copy, for the message may die before the callback returns.
    const FrameHeader header = MessageBlock::Of(message).header();
    if (!on_frame(header, std::move(message))) {
      Fail(absl::CancelledError("frame: no more are wanted"));
    }
  }
  return status_;
}

bool FrameReader::CollectHeader(std::string_view& bytes) {
  const char* whole = bytes.data();
  const size_t taken =
      std::min(bytes.size(), FrameHeader::kSize - header_bytes_);
  if (taken < FrameHeader::kSize) {
    if (taken > 0) {
      std::memcpy(header_.data() + header_bytes_, bytes.data(), taken);
    }
    whole = header_.data();
  }
  header_bytes_ += taken;
  bytes.remove_prefix(taken);
  if (header_bytes_ < FrameHeader::kSize) return false;
  const absl::StatusOr<FrameHeader> header = DecodeFrameHeader(whole, limits_);
  if (!header.ok()) {
    Fail(header.status());
    return false;
  }
  message_ = MessageBlock::New(*header);
  return true;
}

bool FrameReader::CollectPayload(std::string_view& bytes) {
  MessageBlock& block = MessageBlock::Of(message_);
  const size_t size = block.header().payload_size();
  const size_t taken = std::min(bytes.size(), size - payload_bytes_);
  if (taken > 0) {
    std::memcpy(block.channel_data() + payload_bytes_, bytes.data(), taken);
  }
  payload_bytes_ += taken;
  bytes.remove_prefix(taken);
  const size_t channel_size = block.header().channel_size;
  if (payload_bytes_ > channel_size &&
      block.channel_data()[channel_size] != '\0') {
    Fail(absl::InvalidArgumentError("frame: no NUL behind the channel"));
    return false;
  }
  return payload_bytes_ == size;
}

void FrameReader::Fail(absl::Status error) {
  status_ = std::move(error);
  message_ = Message();
  header_bytes_ = payload_bytes_ = 0;
}

}  // namespace fio::pubsub_internal
