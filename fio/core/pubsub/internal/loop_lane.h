// What a PubSub has on one loop: its lane, and the subscriptions of the
// connections there.
//
// Thread safety: that of the loop.

#ifndef FIO_CORE_PUBSUB_INTERNAL_LOOP_LANE_H_
#define FIO_CORE_PUBSUB_INTERNAL_LOOP_LANE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/time/time.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/pubsub/internal/connection_subscriptions.h"
#include "fio/pubsub/broker.h"
#include "fio/pubsub/lane.h"

namespace fio::pubsub_internal {

class LoopLane {
 public:
  // How often connections that are slow are looked at.
  static constexpr absl::Duration kLook = absl::Milliseconds(5);

  // A lane of its own.
  LoopLane(Loop& loop, Broker& broker);
  // That of the broker, which somebody else runs.
  LoopLane(Loop& loop, Lane& main_lane);
  LoopLane(const LoopLane&) = delete;
  LoopLane& operator=(const LoopLane&) = delete;

  Lane& lane() { return *lane_; }

  // Runs `lane` on `loop` until it has delivered all, or the turn has had its
  // time: then `again` is called.
  static void Run(Lane& lane, Loop& loop, absl::FunctionRef<void()> again);

  // REQUIRES: the connection is open.
  ConnectionSubscriptions& Need(Connection& connection);
  // Null if it has none.
  ConnectionSubscriptions* Find(const Connection& connection);

  // What waits in the connection's subscriptions goes on when it has no more
  // than `bytes` queued.
  void ResumeBelow(const Connection& connection, uint64_t bytes);

 private:
  struct Slow {
    ConnectionId connection;
    uint64_t bytes;
  };

  void Wake();
  void LookLater();
  void Look();

  Loop& loop_;
  std::shared_ptr<Lane> own_lane_;
  Lane* lane_;
  // By the serial of their connection.
  absl::flat_hash_map<uint64_t, std::unique_ptr<ConnectionSubscriptions>>
      connections_;
  std::vector<Slow> slow_;
};

// The lanes of a loop, by the number of their PubSub.
struct LoopLanes {
  absl::flat_hash_map<uint64_t, std::unique_ptr<LoopLane>> lanes;
};

}  // namespace fio::pubsub_internal

#endif  // FIO_CORE_PUBSUB_INTERNAL_LOOP_LANE_H_
