// KeepAlive finds out that a silent peer is gone: the kernel probes it, and
// fails the connection with ETIMEDOUT when no probe is answered; see tcp(7).
//
// Thread safety: a value.

#ifndef FIO_SOCK_KEEP_ALIVE_H_
#define FIO_SOCK_KEEP_ALIVE_H_

#include "absl/time/time.h"

namespace fio {

// Times are rounded up to whole seconds. The kernel takes 1 to 32767 of them,
// and 1 to 127 probes.
struct KeepAlive {
  // Of silence, before the first probe.
  absl::Duration idle = absl::Minutes(1);
  // Between probes.
  absl::Duration interval = absl::Seconds(10);
  // Without an answer, until the connection fails.
  int count = 6;
};

}  // namespace fio

#endif  // FIO_SOCK_KEEP_ALIVE_H_
