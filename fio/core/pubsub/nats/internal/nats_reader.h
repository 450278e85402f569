// A NatsReader cuts what a NATS server sends into frames: lines, of which MSG
// and HMSG have a body behind them. Bytes may come in pieces of any size.
//
//   INFO {"server_id":...}
//   MSG subject sid [reply] bytes
//   HMSG subject sid [reply] header-bytes bytes
//   PING, PONG, +OK, -ERR 'text'
//
// It keeps at most one frame that is not whole yet, and no more memory than
// about twice what has come of it: what a line announces is compared with the
// limit, and nothing is allocated for it.
//
// Thread safety: none.

#ifndef FIO_CORE_PUBSUB_NATS_INTERNAL_NATS_READER_H_
#define FIO_CORE_PUBSUB_NATS_INTERNAL_NATS_READER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"

namespace fio::nats_internal {

// Views are valid during the call that gets them.
struct NatsFrame {
  enum class Kind : uint8_t { kInfo, kMessage, kPing, kPong, kOk, kError };

  Kind kind = Kind::kOk;
  std::string_view text;  // The JSON of kInfo; of kError without the quotes.

  // Of kMessage.
  uint64_t sid = 0;
  std::string_view subject;
  std::string_view reply;
  std::string_view headers;  // "NATS/1.0\r\n...\r\n\r\n", or empty.
  std::string_view body;
};

class NatsReader {
 public:
  struct Limits {
    // A server takes lines of 4 KiB from its clients and adds a number to them.
    size_t max_line_bytes = 8 << 10;
    size_t max_info_bytes = size_t{1} << 20;
    size_t max_payload_bytes = size_t{64} << 20;  // Headers and body.
  };

  // False: take no more bytes, as the connection is not wanted any longer, or
  // as what follows is for somebody else.
  using OnFrame = absl::FunctionRef<bool(const NatsFrame& frame)>;

  NatsReader() : NatsReader(Limits()) {}
  explicit NatsReader(const Limits& limits) : limits_(limits) {}

  // Calls `on_frame` with each frame that `bytes` complete, in order. Returns
  // how many bytes it has taken: all, unless `on_frame` has returned false or
  // status() is an error. `on_frame` must not call it.
  size_t Feed(std::string_view bytes, OnFrame on_frame);

  // kInvalidArgument for what no server sends, and kResourceExhausted for what
  // is beyond a limit; then for ever.
  const absl::Status& status() const { return status_; }

 private:
  // A frame at the beginning of what has come.
  struct Header {
    NatsFrame frame;
    size_t header_bytes = 0;  // Of HMSG, among `payload_bytes`.
    size_t payload_bytes = 0;
    size_t line_bytes = 0;  // With its end.

    bool has_payload() const { return frame.kind == NatsFrame::Kind::kMessage; }
    size_t size() const {
      return has_payload() ? line_bytes + payload_bytes + 2 : line_bytes;
    }
  };

  // The frame's whole length, if `bytes` have its line; 0 if not. Errors go to
  // status_.
  size_t Measure(std::string_view bytes, size_t searched);
  bool ParseLine(std::string_view line, Header& header);
  bool ParseMessage(std::string_view words, bool has_headers, Header& header);
  bool Emit(std::string_view frame, OnFrame on_frame);
  bool Fail(absl::Status status);

  const Limits limits_;
  absl::Status status_;
  std::string partial_;  // The beginning of a frame.
  size_t needed_ = 0;    // Its length, if its line is there.
};

}  // namespace fio::nats_internal

#endif  // FIO_CORE_PUBSUB_NATS_INTERNAL_NATS_READER_H_
