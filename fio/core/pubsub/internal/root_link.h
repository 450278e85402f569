// The root of the cluster, as a worker sees it.
//
// Thread safety: as Link.

#ifndef FIO_CORE_PUBSUB_INTERNAL_ROOT_LINK_H_
#define FIO_CORE_PUBSUB_INTERNAL_ROOT_LINK_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/loop/loop.h"
#include "fio/core/pubsub/internal/link.h"
#include "fio/pubsub/internal/broker_core.h"
#include "fio/pubsub/internal/frame_header.h"
#include "fio/pubsub/internal/topics.h"
#include "fio/pubsub/internal/uplink.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/subscribe_options.h"

namespace fio::pubsub_internal {

class RootLink final : public Uplink, private Link::Handler {
 public:
  using OnLostCallback = std::function<void(const absl::Status&)>;

  // From now on `core`, which outlives it, reaches the root by it. `on_lost` is
  // called as Link::Handler::OnLost(), and must not destroy it. Nor may
  // anything else, while a thread may publish: that may have it in its hands.
  RootLink(UniqueFd fd, const Link::Options& options, BrokerCore& core,
           OnLostCallback on_lost);
  ~RootLink() override;

  // From now on nothing goes to the root. Threads that publish may still use
  // it, as long as it exists.
  void End();

  absl::Status Start(Loop& loop) { return link_->Start(loop); }
  // Blocks.
  void FlushFor(absl::Duration span) { link_->FlushFor(span); }

  // --- Uplink ---
  bool Send(const Message& message) override { return link_->Send(message); }
  void AskReplay(uint32_t request, std::string_view channel,
                 const ReplayFrom& from) override;
  void OnInterest(const Interest& interest) override;

 private:
  void OnFrame(const FrameHeader& header, Message message) override;
  void OnLost(const absl::Status& why) override { on_lost_(why); }
  void Refuse(const absl::Status& why);

  BrokerCore& core_;
  const OnLostCallback on_lost_;
  const std::shared_ptr<Link> link_;
};

}  // namespace fio::pubsub_internal

#endif  // FIO_CORE_PUBSUB_INTERNAL_ROOT_LINK_H_
