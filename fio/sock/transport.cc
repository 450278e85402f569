#include "fio/sock/transport.h"

#include <sys/uio.h>

#include "absl/types/span.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"

namespace fio {

IoResult Transport::Read(Socket& socket, absl::Span<char> out) {
  return socket.ReadRaw(out);
}

IoResult Transport::Write(Socket& socket, absl::Span<const iovec> pieces) {
  return socket.WriteRaw(pieces);
}

IoResult Transport::Flush(Socket&) { return {}; }

bool Transport::BeforeClose(Socket&) { return false; }

}  // namespace fio
