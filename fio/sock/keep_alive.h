// KeepAlive detects that a silent peer is gone: the kernel sends probes, and
// fails the connection with ETIMEDOUT if none is answered; see tcp(7).
//
// Thread safety: as an int.

#ifndef FIO_SOCK_KEEP_ALIVE_H_
#define FIO_SOCK_KEEP_ALIVE_H_

#include "absl/time/time.h"

namespace fio {

// Times are rounded up to whole seconds. The kernel accepts 1 to 32767 seconds
// and 1 to 127 probes.
struct KeepAlive {
  // How long the peer is silent before the first probe.
  absl::Duration idle = absl::Minutes(1);
  // Time between two probes.
  absl::Duration interval = absl::Seconds(10);
  // How many probes without an answer fail the connection.
  int count = 6;
};

}  // namespace fio

#endif  // FIO_SOCK_KEEP_ALIVE_H_
