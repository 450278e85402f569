// The lane of a loop, and the subscriptions of the connections there.
//
// Thread safety: that of the loop.

#ifndef FIO_CORE_PUBSUB_INTERNAL_LOOP_LANE_H_
#define FIO_CORE_PUBSUB_INTERNAL_LOOP_LANE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/pubsub/internal/connection_subscriptions.h"
#include "fio/core/pubsub/pub_sub.h"
#include "fio/pubsub/broker.h"
#include "fio/pubsub/internal/topic_name.h"
#include "fio/pubsub/lane.h"
#include "fio/pubsub/subscribe_options.h"
#include "fio/pubsub/subscription.h"

namespace fio::pubsub_internal {
