#include "fio/pubsub/message.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <string_view>

#include "fio/pubsub/internal/frame_header.h"
#include "fio/pubsub/internal/message_block.h"
#include "fio/sock/shared_bytes.h"

namespace fio {

using pubsub_internal::MessageBlock;

std::string_view Message::channel() const {
  return *this ? MessageBlock::Of(*this).channel() : std::string_view();
}

std::string_view Message::body() const {
  return *this ? MessageBlock::Of(*this).body() : std::string_view();
}

int32_t Message::filter() const {
  return *this ? MessageBlock::Of(*this).header().filter : 0;
}

bool Message::is_json() const {
  return *this && (MessageBlock::Of(*this).header().flags &
                   pubsub_internal::kFrameIsJson) != 0;
}

uint64_t Message::sequence() const {
  return *this ? MessageBlock::Of(*this).header().sequence : 0;
}

size_t Message::body_offset() const {
  return *this ? MessageBlock::Of(*this).body_offset() : 0;
}

const void* Message::FindMetadata(MetadataId id) const {
  if (!*this) return nullptr;
  for (const MessageBlock::Metadata& metadata :
       MessageBlock::Of(*this).metadata()) {
    if (metadata.id == id) return metadata.value.get();
  }
  return nullptr;
}

namespace pubsub_internal {
namespace {

std::atomic<int64_t> live_messages = 0;

}  // namespace

MessageBlock::MessageBlock(const FrameHeader& header)
    : OwnedBlock(frame_data(), FrameHeader::kSize + header.payload_size(),
                 &Destroy) {
  SetHeader(header);
  frame_data()[body_offset() - 1] = '\0';
  frame_data()[body_offset() + header.body_size] = '\0';
  live_messages.fetch_add(1, std::memory_order_relaxed);
}

Message MessageBlock::New(const FrameHeader& header) {
  void* const memory = ::operator new(
      sizeof(MessageBlock) + FrameHeader::kSize + header.payload_size() + 1);
  return Message(SharedBytes::Adopt(new (memory) MessageBlock(header)));
}

Message MessageBlock::New(FrameHeader header, std::string_view channel,
                          std::string_view body) {
  header.channel_size = static_cast<uint32_t>(channel.size());
  header.body_size = static_cast<uint32_t>(body.size());
  Message message = New(header);
  MessageBlock& block = Of(message);
  if (!channel.empty()) {
    std::memcpy(block.channel_data(), channel.data(), channel.size());
  }
  if (!body.empty()) std::memcpy(block.body_data(), body.data(), body.size());
  return message;
}

MessageBlock& MessageBlock::Of(const Message& message) {
  // It is one, as only New() makes them; and not const, as New() has made it.
  return const_cast<MessageBlock&>(
      static_cast<const MessageBlock&>(*message.frame_.block()));
}

int64_t MessageBlock::live() {
  return live_messages.load(std::memory_order_relaxed);
}

void MessageBlock::SetHeader(const FrameHeader& header) {
  header_ = header;
  EncodeFrameHeader(header, frame_data());
}

void MessageBlock::Destroy(OwnedBlock* block) {
  auto* const message = static_cast<MessageBlock*>(block);
  message->~MessageBlock();
  ::operator delete(message);
  live_messages.fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace pubsub_internal
}  // namespace fio
