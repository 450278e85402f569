// The sockets between a root and its workers; what goes through them is in
// worker_end.h.
//
// Thread safety: any thread.

#ifndef FIO_CORE_PROCESS_INTERNAL_WORKER_CHANNEL_H_
#define FIO_CORE_PROCESS_INTERNAL_WORKER_CHANNEL_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "fio/base/unique_fd.h"
#include "fio/core/process/worker_end.h"

namespace fio::process_internal {

struct SocketPair {
  UniqueFd root;
  UniqueFd worker;
};

// Errors: the errno of socketpair(2), with `purpose`.
absl::StatusOr<SocketPair> OpenSocketPair(absl::string_view purpose);

// Sends an order without waiting. True if all of it was sent.
bool Send(int channel, const Order& order);

}  // namespace fio::process_internal

#endif  // FIO_CORE_PROCESS_INTERNAL_WORKER_CHANNEL_H_
