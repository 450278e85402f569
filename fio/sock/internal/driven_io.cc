#include "fio/sock/internal/driven_io.h"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "absl/types/span.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket_driver.h"

namespace fio::sock_internal {

namespace {

// When nothing has come.
IoResult Nothing(const SocketDriver& driver) {
  const SocketDriver::Following following = driver.following();
  if (following.error != 0) return {.error = following.error};
  return {.error = following.ended ? 0 : EAGAIN};
}

}  // namespace

IoResult DrivenRead(SocketDriver& driver, absl::Span<char> out) {
  if (out.empty()) return {.error = EAGAIN};
  size_t taken = 0;
  while (taken < out.size()) {
    const absl::Span<char> came = driver.Came();
    if (came.empty()) break;
    const size_t size = std::min(came.size(), out.size() - taken);
    std::memcpy(out.data() + taken, came.data(), size);
    driver.Take(size);
    taken += size;
  }
  return taken > 0 ? IoResult{.bytes = taken} : Nothing(driver);
}

IoResult DrivenPeek(SocketDriver& driver, absl::Span<char> out) {
  const absl::Span<char> came = driver.Came();
  if (came.empty()) return Nothing(driver);
  const size_t size = std::min(came.size(), out.size());
  std::memcpy(out.data(), came.data(), size);
  return {.bytes = size};
}

}  // namespace fio::sock_internal
