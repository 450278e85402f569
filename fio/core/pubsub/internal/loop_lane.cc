#include "fio/core/pubsub/internal/loop_lane.h"

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/core/pubsub/internal/connection_subscriptions.h"
#include "fio/pubsub/broker.h"
#include "fio/pubsub/lane.h"

namespace fio::pubsub_internal {

LoopLane::LoopLane(Loop& loop, Broker& broker)
    : loop_(loop),
      own_lane_(broker.NewLane([this] { Wake(); })),
      lane_(own_lane_.get()) {}

LoopLane::LoopLane(Loop& loop, Lane& main_lane)
    : loop_(loop), lane_(&main_lane) {}

// Any thread. The task runs as long as the loop, and so this, exists.
void LoopLane::Wake() {
  loop_.handle().Post([this] { Run(*lane_, loop_, [this] { Wake(); }); });
}

void LoopLane::Run(Lane& lane, Loop& loop, absl::FunctionRef<void()> again) {
  if (lane.Run([&loop] { return loop.turn_is_up(); })) again();
}

ConnectionSubscriptions& LoopLane::Need(Connection& connection) {
  const uint64_t serial = connection.id().serial();
  std::unique_ptr<ConnectionSubscriptions>& its = connections_[serial];
  if (its == nullptr) {
    its = std::make_unique<ConnectionSubscriptions>(
        connection, [this, serial] { connections_.erase(serial); });
  }
  return *its;
}

ConnectionSubscriptions* LoopLane::Find(const Connection& connection) {
  const auto found = connections_.find(connection.id().serial());
  return found == connections_.end() ? nullptr : found->second.get();
}

void LoopLane::ResumeBelow(const Connection& connection, uint64_t bytes) {
  slow_.push_back({.connection = connection.id(), .bytes = bytes});
  if (slow_.size() == 1) LookLater();
}

void LoopLane::LookLater() {
  loop_.Unref(loop_.RunAfter(kLook, [this] { Look(); }));
}

void LoopLane::Look() {
  std::erase_if(slow_, [this](const Slow& slow) {
    const Connection* const connection = loop_.Find(slow.connection);
    if (connection == nullptr) return true;
    if (connection->pending_bytes() > slow.bytes) return false;
    ConnectionSubscriptions* const its = Find(*connection);
    if (its != nullptr) its->Resume();
    return true;
  });
  if (!slow_.empty()) LookLater();
}

}  // namespace fio::pubsub_internal
