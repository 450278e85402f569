// How a Loop is made.

#ifndef FIO_CORE_LOOP_LOOP_OPTIONS_H_
#define FIO_CORE_LOOP_LOOP_OPTIONS_H_

#include <cstddef>
#include <cstdint>

#include "absl/time/time.h"
#include "fio/base/clock.h"
#include "fio/core/loop/memory_budget.h"
#include "fio/core/poller/poller.h"
#include "fio/sock/watermarks.h"

namespace fio {

struct LoopOptions {
  // Outlives the loop.
  const Clock* clock = &Clock::System();

  // What the kernel is asked with.
  PollerKind poller = PollerKind::kAuto;

  // What Connection::Received() takes at once.
  size_t receive_buffer_bytes = size_t{64} << 10;

  // What a connection may read in one OnData(); then others have their turn.
  size_t read_budget_bytes = size_t{256} << 10;

  // What a connection may keep that its protocol has not consumed; see
  // Connection::Unread(). At most the size of the receive buffer counts.
  size_t unread_limit_bytes = size_t{64} << 10;

  // What a connection may write in one turn; then others have their turn.
  size_t write_budget_bytes = size_t{256} << 10;

  // How long a turn may go on accepting, as long again with tasks, and as long
  // again with connections, before the rest waits for the next one; to the
  // granularity of Clock::CoarseNow(), and to one callback.
  absl::Duration turn_budget = absl::Milliseconds(10);

  // What a connection may have queued to write: above the high mark it stops
  // reading until half of it has left, past the limit it is aborted.
  Watermarks watermarks = {.high_bytes = uint64_t{1} << 20,
                           .limit_bytes = uint64_t{16} << 20};

  // What all connections of the loop together may have queued and unread, in
  // memory. Above it they read nothing more, until a quarter of it is free. A
  // quarter above it, those with the most are aborted (ENOBUFS), until it is
  // not exceeded; half above it, whoever writes. See docs/overload.md.
  uint64_t memory_limit_bytes = uint64_t{256} << 20;
  // The same for loops that share it. Outlives them.
  MemoryBudget* process_memory = &MemoryBudget::OfProcess();

  // How long a closing connection may go without progress: its peer has taken
  // or acknowledged no byte. A peer that reads slowly, but steadily, gets all.
  // Also how long a closed connection waits for who has locked its protocol.
  absl::Duration close_timeout = absl::Seconds(8);

  // How long closing may take in all, with progress.
  absl::Duration close_limit = absl::InfiniteDuration();

  // How long a closing connection that has sent all that it had waits for the
  // peer to close, if something of the peer was unread, or LingerAtClose() was
  // called. It begins anew as long as the peer acknowledges bytes. Zero: as
  // close_timeout.
  absl::Duration close_linger = absl::Seconds(2);

  // While the loop stops, a connection that has sent all that it had waits this
  // long for the peer to close: what the peer sends before it notices the end
  // would else be answered with a reset.
  absl::Duration stop_linger = absl::ZeroDuration();

  // How long a connection may be without a protocol.
  absl::Duration attach_timeout = absl::Seconds(10);

  // A callback that takes longer is counted, and reported, once a second at
  // most.
  absl::Duration stall = absl::Milliseconds(100);
};

}  // namespace fio

#endif  // FIO_CORE_LOOP_LOOP_OPTIONS_H_
