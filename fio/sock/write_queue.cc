#include "fio/sock/write_queue.h"

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>

#include "absl/strings/cord.h"
#include "absl/types/span.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"

namespace fio {

IoResult WriteQueue::Flush(Socket& socket) {
  IoResult result;
  if (std::optional<std::string_view> flat = bytes_.TryFlat()) {
    result = socket.Write(*flat);
  } else {
    std::array<iovec, kMaxPieces> pieces;
    size_t count = 0;
    for (std::string_view chunk : bytes_.Chunks()) {
      if (count == pieces.size()) break;
      pieces[count++] = {.iov_base = const_cast<char*>(chunk.data()),
                         .iov_len = chunk.size()};
    }
    result = socket.Write(absl::MakeConstSpan(pieces.data(), count));
  }
  if (result.bytes == bytes_.size()) {
    bytes_.Clear();
  } else if (result.bytes > 0) {
    bytes_.RemovePrefix(result.bytes);
  }
  return result;
}

}  // namespace fio
