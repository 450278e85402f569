// The options of a Broker.

#ifndef FIO_PUBSUB_BROKER_OPTIONS_H_
#define FIO_PUBSUB_BROKER_OPTIONS_H_

#include <cstddef>

#include "fio/base/clock.h"

namespace fio {

struct BrokerOptions {
  // How long a body may be: at most 4 GiB - 1.
  size_t max_body_bytes = size_t{16} << 20;

  // The memory that all that is kept in history may have together, with what
  // belongs to it. Beyond it the oldest messages go, of whatever channel.
  size_t max_history_bytes = size_t{256} << 20;

  // For the age of what is kept in history. Outlives the broker.
  const Clock* clock = &Clock::System();
};

}  // namespace fio

#endif  // FIO_PUBSUB_BROKER_OPTIONS_H_
