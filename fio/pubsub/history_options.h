// How much of a channel is kept in history.

#ifndef FIO_PUBSUB_HISTORY_OPTIONS_H_
#define FIO_PUBSUB_HISTORY_OPTIONS_H_

#include <cstddef>

#include "absl/time/time.h"

namespace fio {

// Whatever is reached first drops the channel's oldest messages.
struct HistoryOptions {
  size_t max_messages = 1000;
  size_t max_bytes = size_t{1} << 20;  // Of channels and bodies.
  absl::Duration max_age = absl::InfiniteDuration();
};

}  // namespace fio

#endif  // FIO_PUBSUB_HISTORY_OPTIONS_H_
