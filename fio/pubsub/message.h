// A Message is what was published: a channel, a body, and what was made of it
// once for all who get it. It is immutable.
//
// In each process a message is one allocation, whoever has it: subscribers, the
// queues of their connections, the links to other processes. To copy a Message
// is one atomic operation. The last copy frees it, on its thread.
//
//   [](fio::Delivery& delivery) {
//     kept = delivery.message();  // Lives on after the callback.
//   }
//
// Thread safety: as a std::shared_ptr. Several threads may use copies of the
// same Message at once.

#ifndef FIO_PUBSUB_MESSAGE_H_
#define FIO_PUBSUB_MESSAGE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include "fio/sock/shared_bytes.h"

namespace fio {

namespace pubsub_internal {
class MessageBlock;
}  // namespace pubsub_internal

// Identifies what Broker::AddMetadata() has added. Never reused.
enum class MetadataId : uint32_t { kNone = 0 };

class Message {
 public:
  // No message: all of the below is empty.
  Message() = default;

  explicit operator bool() const { return !frame_.empty(); }

  // The name that it was published to: bytes, of which none, or some zero, are
  // legal. A NUL follows it. Valid as long as a copy of the message exists, as
  // is body().
  std::string_view channel() const;
  // A NUL follows it, too. If there are no bytes, data() is null.
  std::string_view body() const;
  // Not 0 if it was published to a filter; see PublishOptions.
  int32_t filter() const;
  // As PublishOptions says.
  bool is_json() const;

  // Where the channel is kept in history: the message's number in its channel.
  // The next message has the next one. The first has 1, or more if the history
  // has forgotten channels before: so numbers never come again. Otherwise 0.
  uint64_t sequence() const;

  // What the builder of that id has made of this message; null if there was
  // none when it was published, or it has returned null.
  template <typename T>
  const T* metadata(MetadataId id) const {
    return static_cast<const T*>(FindMetadata(id));
  }

  // The message's one block of bytes: the body is what follows body_offset().
  // So connection.Write(message.frame(), message.body_offset()) queues the body
  // without a copy.
  SharedBytes frame() const { return frame_; }
  size_t body_offset() const;
  // The bytes of all that: what the message takes where it waits.
  size_t size() const { return frame_.size(); }

  // Whether both are the same message, and not only equal ones.
  friend bool operator==(const Message& a, const Message& b) {
    return a.frame_.block() == b.frame_.block();
  }

 private:
  friend class pubsub_internal::MessageBlock;

  explicit Message(SharedBytes frame) : frame_(std::move(frame)) {}
  const void* FindMetadata(MetadataId id) const;

  SharedBytes frame_;
};

}  // namespace fio

#endif  // FIO_PUBSUB_MESSAGE_H_
