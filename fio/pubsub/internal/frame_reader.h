// A FrameReader makes messages of the bytes that come on a link between two
// processes (frame_header.h), however they are cut.
//
// It trusts nobody: a frame whose header is wrong or announces more than the
// limits costs no memory. For one within the limits there is one allocation,
// right when its header is complete and as large as that says: the Message. The
// payload is copied into it once, where it stays. So a reader holds one frame
// at most, and a link whose other side announces a frame and falls silent costs
// limits.channel_bytes + limits.body_bytes, of addresses; memory is touched as
// bytes come.
//
// Thread safety: none.

#ifndef FIO_PUBSUB_INTERNAL_FRAME_READER_H_
#define FIO_PUBSUB_INTERNAL_FRAME_READER_H_

#include <array>
#include <cstddef>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "fio/pubsub/internal/frame_header.h"
#include "fio/pubsub/message.h"

namespace fio::pubsub_internal {

class FrameReader {
 public:
  // Gets a frame of any type, with its channel and body as a message, which
  // nobody else has: it may be changed (message_block.h), moved from and kept.
  // `header` is the message's, and valid until it returns. False ends the
  // reading. Must not call Feed() nor destroy the reader.
  using OnFrame =
      absl::FunctionRef<bool(const FrameHeader& header, Message message)>;

  explicit FrameReader(const FrameLimits& limits = {}) : limits_(limits) {}
  FrameReader(const FrameReader&) = delete;
  FrameReader& operator=(const FrameReader&) = delete;

  // Takes the next bytes, all of them. Calls `on_frame` for each frame that
  // they complete, in order, before it returns. What they leave incomplete the
  // reader keeps for the next call.
  //
  // Errors: kInvalidArgument for what no frame is (see DecodeFrameHeader()), or
  // if there is no NUL behind the channel; frames before it have been handed
  // over. kCancelled once `on_frame` has returned false. After an error the
  // reader drops all bytes, and each call returns the same error.
  absl::Status Feed(std::string_view bytes, OnFrame on_frame);

  // Whether it has the beginning of a frame: if the link ends now, the other
  // side has died while it was writing. False after an error.
  bool in_frame() const { return header_bytes_ > 0; }

 private:
  // Both take what they need from the front of `bytes`. False: it was not
  // enough, or status_ says what is wrong.
  bool CollectHeader(std::string_view& bytes);
  bool CollectPayload(std::string_view& bytes);
  void Fail(absl::Status error);

  const FrameLimits limits_;
  absl::Status status_;
  // How much of a frame is there. Of a header that came in pieces, in header_;
  // message_ exists from then on when the header is complete.
  size_t header_bytes_ = 0;
  size_t payload_bytes_ = 0;
  std::array<char, FrameHeader::kSize> header_;
  Message message_;
};

}  // namespace fio::pubsub_internal

#endif  // FIO_PUBSUB_INTERNAL_FRAME_READER_H_
