#include "fio/testing/scripted_transport.h"

#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <limits>
#include <string_view>

#include "absl/types/span.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"

namespace fio::testing {

IoResult ScriptedTransport::Read(Socket& socket, absl::Span<char> out) {
  Called(socket, "read");
  if (script_.reads.empty()) return {.error = EAGAIN};
  Input& input = script_.reads.front();
  const size_t n = std::min(out.size(), input.bytes.size());
  input.bytes.copy(out.data(), n);
  const IoResult result = {.bytes = n, .error = input.error};
  input.bytes.erase(0, n);
  if (input.bytes.empty()) script_.reads.pop_front();
  return result;
}

IoResult ScriptedTransport::Write(Socket& socket,
                                  absl::Span<const iovec> pieces) {
  Called(socket, "write");
  IoResult step = {.bytes = std::numeric_limits<size_t>::max()};
  if (!script_.writes.empty()) {
    step = script_.writes.front();
    script_.writes.pop_front();
  }
  if (!step.ok()) return step;
  size_t taken = 0;
  for (const iovec& piece : pieces) {
    const size_t n = std::min(piece.iov_len, step.bytes - taken);
    script_.written.append(static_cast<const char*>(piece.iov_base), n);
    taken += n;
  }
  return {.bytes = taken};
}

IoResult ScriptedTransport::Flush(Socket& socket) {
  Called(socket, "flush");
  if (script_.flushes.empty()) return {};
  const IoResult step = script_.flushes.front();
  script_.flushes.pop_front();
  return step;
}

bool ScriptedTransport::BeforeClose(Socket& socket) {
  Called(socket, "before_close");
  return script_.delays_close;
}

void ScriptedTransport::Called(Socket& socket, std::string_view call) {
  script_.calls.emplace_back(call);
  if (script_.on_call != nullptr) script_.on_call(socket, call);
}

}  // namespace fio::testing
