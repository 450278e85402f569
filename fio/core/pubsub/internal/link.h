// A Link is one end of the stream between a root and a worker: frames in,
// frames out. The socket is one of a pair, so nobody else can reach it.
//
// What is sent waits in a queue of the link until the kernel takes it: in one
// call for all that a turn of the loop has sent, and without a copy of
// messages. The queue of messages is bounded; control frames, which are few and
// small, always have room.
//
// Thread safety: any thread may send. All else belongs to the loop's thread.

#ifndef FIO_CORE_PUBSUB_INTERNAL_LINK_H_
#define FIO_CORE_PUBSUB_INTERNAL_LINK_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/core/poller/event.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/pubsub/internal/frame_header.h"
#include "fio/pubsub/internal/frame_reader.h"
#include "fio/pubsub/message.h"
#include "fio/sock/shared_bytes.h"
#include "fio/sock/socket.h"

namespace fio::pubsub_internal {

class Link : public std::enable_shared_from_this<Link> {
 public:
  struct Options {
    FrameLimits frames = {};
    // Messages that wait may have so many bytes together.
    size_t max_waiting_bytes = size_t{64} << 20;
    // Beyond that the oldest message is dropped; or else the new one is
    // refused.
    bool drops_oldest = false;
    // How long the other side may take nothing while something waits.
    absl::Duration max_stall = absl::Seconds(30);
  };

  // All on the loop's thread. Each may Close() the link, and drop its owner's
  // reference.
  class Handler {
   public:
    virtual ~Handler() = default;
    virtual void OnFrame(const FrameHeader& header, Message message) = 0;
    // The link has ended; once, and not after Close(). OK: the other side has
    // closed it, or has gone; all that it had sent has been told before.
    virtual void OnLost(const absl::Status& why) = 0;
    // Options::max_stall has passed; again after each further one.
    virtual void OnStalled() {}
    // Messages were dropped for want of room since the last call.
    virtual void OnDropped() {}
  };

  // `fd` is one end of a pair of stream sockets, non-blocking. `handler`
  // outlives the link, or its Close().
  Link(UniqueFd fd, const Options& options, Handler& handler);
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;
  // Nothing of a copy in a forked child reaches the other side.
  ~Link();

  // From now on `loop` serves it; before, what is sent waits. REQUIRES: a
  // shared_ptr owns the link. Errors: those of Loop::Watch().
  absl::Status Start(Loop& loop);

  // Ends it. What waits is dropped.
  void Close();

  // Tries to send what waits, for at most `span`. Blocks.
  void FlushFor(absl::Duration span);

  // --- Any thread ---

  // With `instead` in place of the message's own header. False if it was
  // refused, or the link has ended.
  bool Send(const Message& message,
            const std::optional<FrameHeader>& instead = std::nullopt);
  // With `header`, and never refused nor dropped: for what is bounded in some
  // other way.
  void SendAlways(const Message& message, const FrameHeader& header);
  // A frame that is no message; its sizes are set here.
  void SendControl(FrameHeader header, std::string_view channel,
                   std::string_view body);

  // Messages that were dropped for want of room.
  uint64_t dropped() const;
  uint64_t waiting_bytes() const;

 private:
  struct Frame {
    std::array<char, FrameHeader::kSize> header;
    SharedBytes bytes;
    bool has_header = false;  // Instead of the one in `bytes`.
    bool is_message = false;
  };

  static Frame MakeFrame(const Message& message,
                         const std::optional<FrameHeader>& instead);
  bool MakeRoomFor(size_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Push(Frame frame) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Pop(Frame& frame);

  void OnReady(Readiness readiness);
  void Read();
  void Pump();
  void Break();
  void DropQueue();
  bool FillSocket();
  void Ask(bool for_room);
  void CheckStall();
  void Lose(const absl::Status& why);

  const Options options_;
  Handler& handler_;

  mutable absl::Mutex mutex_;
  std::deque<Frame> queue_ ABSL_GUARDED_BY(mutex_);
  size_t waiting_bytes_ ABSL_GUARDED_BY(mutex_) = 0;  // Of messages.
  uint64_t dropped_ ABSL_GUARDED_BY(mutex_) = 0;
  bool pump_posted_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  LoopHandle handle_ ABSL_GUARDED_BY(mutex_);

  // Of the loop's thread.
  const int fork_count_;  // Of the process that it belongs to.
  Loop* loop_ = nullptr;
  Socket socket_;
  FrameReader reader_;
  WatchId watch_ = WatchId::kNone;
  TimerId stall_check_ = TimerId::kNone;
  bool asked_for_room_ = false;
  bool is_broken_ = false;  // Sending has failed: read what is left.
  uint64_t dropped_told_ = 0;
  uint64_t sent_ = 0;  // Bytes that the kernel has taken.
  uint64_t sent_at_check_ = 0;
};

}  // namespace fio::pubsub_internal

#endif  // FIO_CORE_PUBSUB_INTERNAL_LINK_H_
