// The one allocation of a Message:
//
//   MessageBlock | frame header | channel | NUL | body | NUL
//
// From the frame header to the body it is the frame that goes to other
// processes (frame_header.h), and what SharedBytes shows.
//
// Thread safety: whoever makes the message may change it until others see it.

#ifndef FIO_PUBSUB_INTERNAL_MESSAGE_BLOCK_H_
#define FIO_PUBSUB_INTERNAL_MESSAGE_BLOCK_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "fio/pubsub/internal/frame_header.h"
#include "fio/pubsub/message.h"
#include "fio/sock/shared_bytes.h"

namespace fio::pubsub_internal {

class MessageBlock final : public SharedBytes::OwnedBlock {
 public:
  static constexpr size_t kMaxMetadata = 4;
  struct Metadata {
    MetadataId id = MetadataId::kNone;
    std::shared_ptr<const void> value;
  };

  // A message with `header`, whose sizes count. channel() and body() are not
  // initialized, but the NULs behind them.
  static Message New(const FrameHeader& header);
  // With a copy of both.
  static Message New(FrameHeader header, std::string_view channel,
                     std::string_view body);
  // REQUIRES: `message` is one.
  static MessageBlock& Of(const Message& message);

  // Every message has been destroyed when this is 0. For tests. Any thread.
  static int64_t live();

  const FrameHeader& header() const { return header_; }
  char* frame_data() { return reinterpret_cast<char*>(this + 1); }
  const char* frame_data() const {
    return reinterpret_cast<const char*>(this + 1);
  }
  char* channel_data() { return frame_data() + FrameHeader::kSize; }
  char* body_data() { return frame_data() + body_offset(); }
  size_t body_offset() const {
    return FrameHeader::kSize + header_.channel_size + 1;
  }
  std::string_view channel() const {
    return {frame_data() + FrameHeader::kSize, header_.channel_size};
  }
  std::string_view body() const {
    if (header_.body_size == 0) return {};
    return {frame_data() + body_offset(), header_.body_size};
  }

  // In the frame, too.
  void SetHeader(const FrameHeader& header);

  // The connection whose subscriptions do not get it, by its serial; 0: none.
  // Stays in this process.
  uint64_t from() const { return from_; }
  void set_from(uint64_t from) { from_ = from; }

  std::array<Metadata, kMaxMetadata>& metadata() { return metadata_; }
  const std::array<Metadata, kMaxMetadata>& metadata() const {
    return metadata_;
  }

 private:
  explicit MessageBlock(const FrameHeader& header);
  ~MessageBlock() = default;
  static void Destroy(OwnedBlock* block);

  FrameHeader header_;
  uint64_t from_ = 0;
  std::array<Metadata, kMaxMetadata> metadata_;
};

}  // namespace fio::pubsub_internal

#endif  // FIO_PUBSUB_INTERNAL_MESSAGE_BLOCK_H_
