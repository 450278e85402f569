// A Socket that a SocketDriver drives.

#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include "absl/log/absl_check.h"
#include "absl/types/span.h"
#include "fio/sock/internal/socket_state.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_driver.h"
#include "fio/sock/watermarks.h"
#include "fio/sock/write_queue.h"

namespace fio {

namespace {

// What a driver is given of bytes that are not queued, as a kernel takes them
// into its buffer.
constexpr uint64_t kDriverRoom = uint64_t{64} << 10;

}  // namespace

void Socket::SetDriver(SocketDriver& driver) {
  ABSL_CHECK(is_open() && !has_pending() && this->driver() == nullptr)
      << "Socket::SetDriver: the socket is closed or in use";
  SetShortRead(ShortRead::kEmpties);
  Clear(kMayLinger);
  state().driver = &driver;
}

// Of bytes that are not queued: copies them, since they are the caller's.
IoResult Socket::WriteDriven(SocketDriver& driver,
                             absl::Span<const iovec> pieces) {
  const IoResult left = CountLeft(driver);
  if (!left.ok()) return left;
  const uint64_t pending = driver.pending().memory_bytes;
  size_t room = kDriverRoom - std::min(pending, kDriverRoom);
  if (room == 0) return {.error = EAGAIN};
  WriteQueue batch;
  for (const iovec& piece : pieces) {
    const size_t size = std::min(piece.iov_len, room);
    batch.Append(
        std::string_view(static_cast<const char*>(piece.iov_base), size));
    room -= size;
  }
  const size_t size = batch.pending_bytes();
  if (size == 0) return {};
  rest_.state()->reported += static_cast<int64_t>(size);
  driver.Send(std::move(batch));
  return {.bytes = size};
}

PendingWrites Socket::PendingWithDriver() const {
  const State& state = *rest_.state();
  const PendingWrites queued = state.queue.pending();
  const PendingWrites driven = state.driver->pending();
  return {.calls = queued.calls + driven.calls,
          .bytes = queued.bytes + driven.bytes,
          .memory_bytes = queued.memory_bytes + driven.memory_bytes};
}

// Has the driver go on, and leaves it to Flush() to report what has left.
IoResult Socket::CountLeft(SocketDriver& driver) {
  const IoResult left = driver.Left();
  rest_.state()->reported -= static_cast<int64_t>(left.bytes);
  return {.error = left.error};
}

// What has left and was not reported, neither when it left nor when the driver
// got it.
IoResult Socket::TakeLeft(SocketDriver& driver) {
  const IoResult left = CountLeft(driver);
  int64_t& reported = rest_.state()->reported;
  if (reported >= 0) return left;
  return {.bytes = static_cast<size_t>(-std::exchange(reported, 0)),
          .error = left.error};
}

// Hands down what is queued, through the transport if there is one. First it
// looks at what has left: that makes room, and what it releases may write.
IoResult Socket::FlushDriven(uint64_t budget) {
  SocketDriver& driver = *this->driver();
  IoResult total = TakeLeft(driver);
  if (ending_.over) total.error = ECONNABORTED;
  if (!total.ok()) return total;
  if (has_transport()) {
    const IoResult taken = FlushQueue(budget - std::min(total.bytes, budget));
    total.bytes += taken.bytes;
    total.error = taken.error;
  } else if (HasQueued()) {
    driver.Send(std::exchange(rest_.state()->queue, WriteQueue()));
  }
  if (total.ok() && driver.pending().calls > 0) total.error = EAGAIN;
  return total;
}

}  // namespace fio
