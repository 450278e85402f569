// A transport with a handshake of words, for tests of who waits for it.

#ifndef FIO_CORE_HANDSHAKE_TEST_UTIL_H_
#define FIO_CORE_HANDSHAKE_TEST_UTIL_H_

#include <sys/uio.h>

#include <functional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"

namespace fio::core_internal {

// Says `says`, which may be empty, waits for `awaits`, and is done. Another
// word fails it. Each word ends with ';'. Then it passes bytes on as they are.
class WordTransport final : public Transport {
 public:
  WordTransport(std::string says, std::string awaits)
      : says_(std::move(says)), awaits_(std::move(awaits)) {}

  // Called in Shake(), before anything else.
  std::function<void(Socket&)> on_shake;

  Handshake Shake(Socket& socket) override {
    if (on_shake) on_shake(socket);
    while (!says_.empty()) {
      const iovec piece = {.iov_base = says_.data(), .iov_len = says_.size()};
      const IoResult said = socket.WriteRaw(absl::MakeConstSpan(&piece, 1));
      if (!said.ok()) return Handshake::kMore;
      says_.erase(0, said.bytes);
    }
    while (!heard_.ends_with(';')) {
      char byte;
      const IoResult heard = socket.ReadRaw(absl::MakeSpan(&byte, 1));
      if (heard.bytes == 0) return Handshake::kMore;
      heard_ += byte;
    }
    return heard_ == awaits_ ? Handshake::kDone : Handshake::kFailed;
  }
  absl::Status status() const override {
    return absl::PermissionDeniedError(absl::StrCat("heard ", heard_));
  }

 private:
  std::string says_;
  const std::string awaits_;
  std::string heard_;
};

}  // namespace fio::core_internal

#endif  // FIO_CORE_HANDSHAKE_TEST_UTIL_H_
