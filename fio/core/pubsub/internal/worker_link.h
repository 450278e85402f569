// A worker of the cluster, as its root sees it: what it listens to, and the way
// to it.
//
// Thread safety: as Link.

#ifndef FIO_CORE_PUBSUB_INTERNAL_WORKER_LINK_H_
#define FIO_CORE_PUBSUB_INTERNAL_WORKER_LINK_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "fio/base/unique_fd.h"
#include "fio/core/loop/loop.h"
#include "fio/core/pubsub/internal/link.h"
#include "fio/pubsub/internal/broker_core.h"
#include "fio/pubsub/internal/frame_header.h"
#include "fio/pubsub/internal/topics.h"
#include "fio/pubsub/message.h"

namespace fio::pubsub_internal {

class WorkerLink final : public Remote, private Link::Handler {
 public:
  // What happens to it, on the loop's thread. May destroy the link, but not
  // before the call returns: Loop::Defer() that.
  struct Events {
    // It has ended: see Link::Handler::OnLost().
    std::function<void(const absl::Status&)> on_lost;
    // It takes nothing, see Link::Options::max_stall.
    std::function<void()> on_stalled;
    // Messages for it were dropped.
    std::function<void()> on_dropped;
  };

  // `core` outlives it.
  WorkerLink(UniqueFd fd, pid_t worker, const Link::Options& options,
             BrokerCore& core, Events events);
  // The worker listens to nothing any more, unless this is a copy in a forked
  // child.
  ~WorkerLink() override;

  absl::Status Start(Loop& loop) { return link_->Start(loop); }
  pid_t worker() const { return worker_; }
  const Link& link() const { return *link_; }

  // --- Remote ---
  void Send(const Message& message) override;
  void SendToGroup(uint32_t group, const Message& message) override;

 private:
  void OnFrame(const FrameHeader& header, Message message) override;
  void OnLost(const absl::Status& why) override;
  void OnStalled() override { events_.on_stalled(); }
  void OnDropped() override { events_.on_dropped(); }
  void OnInterest(const FrameHeader& header, const Message& message);
  void Replay(const FrameHeader& header, const Message& message);
  void Refuse(const absl::Status& why);

  const pid_t worker_;
  const int fork_count_;
  BrokerCore& core_;
  const Events events_;
  const std::shared_ptr<Link> link_;
};

}  // namespace fio::pubsub_internal

#endif  // FIO_CORE_PUBSUB_INTERNAL_WORKER_LINK_H_
