#include "fio/core/pubsub/internal/link.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/clock.h"
#include "fio/base/fork_count.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/loop/loop.h"
#include "fio/core/poller/event.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/pubsub/internal/frame_header.h"
#include "fio/pubsub/internal/message_block.h"
#include "fio/pubsub/message.h"
#include "fio/sock/io_result.h"
#include "fio/sock/shared_bytes.h"
#include "fio/sock/socket.h"

namespace fio::pubsub_internal {
namespace {

// What the socket's own queue has at most, so that the rest can be dropped.
constexpr size_t kSocketBytes = size_t{256} << 10;
constexpr size_t kReadBytes = size_t{64} << 10;
// A turn reads at most so many times, so that others come between.
constexpr int kReadsAtOnce = 8;

}  // namespace

Link::Link(UniqueFd fd, const Options& options, Handler& handler)
    : options_(options),
      handler_(handler),
      fork_count_(ForkCount()),
      socket_(std::move(fd), Socket::ShortRead::kSaysNothing),
      reader_(options.frames) {
  socket_.AllowHalfOpen();
  socket_.HoldDescriptor(true);  // Until the loop has let it go.
}

Link::~Link() { Close(); }

absl::Status Link::Start(Loop& loop) {
  loop_ = &loop;
  const absl::StatusOr<WatchId> watch =
      loop.Watch(socket_.fd(), Interest::kReadable, Trigger::kLevel,
                 [this](Readiness readiness) { OnReady(readiness); });
  if (!watch.ok()) return watch.status();
  watch_ = *watch;
  loop.Unref(watch_);
  {
    const absl::MutexLock lock(&mutex_);
    handle_ = loop.handle();
  }
  Pump();
  return absl::OkStatus();
}

void Link::Close() {
  DropQueue();
  if (loop_ != nullptr && fork_count_ == ForkCount()) {
    loop_->Unwatch(std::exchange(watch_, WatchId::kNone));
    loop_->Cancel(std::exchange(stall_check_, TimerId::kNone));
  }
  loop_ = nullptr;  // Need not live as long.
  socket_ = Socket();
}

void Link::FlushFor(absl::Duration span) {
  const Clock& clock = Clock::System();
  const MonotonicTime deadline = clock.Now() + span;
  while (FillSocket()) {
    if (!socket_.FlushUntil(clock, deadline).ok()) return;
  }
}

Link::Frame Link::MakeFrame(const Message& message,
                            const std::optional<FrameHeader>& instead) {
  Frame frame{.header = {}, .bytes = message.frame()};
  if (!instead.has_value()) return frame;
  FrameHeader header = *instead;
  header.channel_size = static_cast<uint32_t>(message.channel().size());
  header.body_size = static_cast<uint32_t>(message.body().size());
  EncodeFrameHeader(header, frame.header.data());
  frame.has_header = true;
  return frame;
}

bool Link::Send(const Message& message,
                const std::optional<FrameHeader>& instead) {
  Frame frame = MakeFrame(message, instead);
  frame.is_message = true;
  const absl::MutexLock lock(&mutex_);
  if (ended_ || !MakeRoomFor(message.size())) return false;
  waiting_bytes_ += message.size();
  Push(std::move(frame));
  return true;
}

void Link::SendAlways(const Message& message, const FrameHeader& header) {
  const absl::MutexLock lock(&mutex_);
  if (!ended_) Push(MakeFrame(message, header));
}

void Link::SendControl(FrameHeader header, std::string_view channel,
                       std::string_view body) {
  const absl::MutexLock lock(&mutex_);
  if (ended_) return;
  Push({.header = {},
        .bytes = MessageBlock::New(header, channel, body).frame()});
}

bool Link::MakeRoomFor(size_t bytes) {
  if (!options_.drops_oldest) {
    return waiting_bytes_ == 0 ||
           waiting_bytes_ + bytes <= options_.max_waiting_bytes;
  }
  while (waiting_bytes_ != 0 &&
         waiting_bytes_ + bytes > options_.max_waiting_bytes) {
    const auto oldest =
        std::find_if(queue_.begin(), queue_.end(),
                     [](const Frame& frame) { return frame.is_message; });
    waiting_bytes_ -= oldest->bytes.size();
    queue_.erase(oldest);
    ++dropped_;
  }
  return true;
}

void Link::Push(Frame frame) {
  queue_.push_back(std::move(frame));
  if (std::exchange(pump_posted_, true)) return;
  // Before Start() there is nobody to tell, and Start() looks itself.
  handle_.Post([link = weak_from_this()] {
    if (const std::shared_ptr<Link> self = link.lock()) self->Pump();
  });
}

bool Link::Pop(Frame& frame) {
  const absl::MutexLock lock(&mutex_);
  if (queue_.empty()) {
    pump_posted_ = false;
    return false;
  }
  frame = std::move(queue_.front());
  queue_.pop_front();
  if (frame.is_message) waiting_bytes_ -= frame.bytes.size();
  return true;
}

void Link::OnReady(Readiness readiness) {
  const std::shared_ptr<Link> self = shared_from_this();
  if (readiness.readable()) Read();
  if (readiness.writable() && asked_for_room_) Pump();
}

void Link::Read() {
  std::array<char, kReadBytes> bytes;
  for (int i = 0; i < kReadsAtOnce && watch_ != WatchId::kNone; ++i) {
    const IoResult read = socket_.Read(absl::MakeSpan(bytes));
    if (read.out_of_memory() || (read.would_block() && !is_broken_)) return;
    if (!read.ok() || read.bytes == 0) return Lose(absl::OkStatus());
    const absl::Status status =
        reader_.Feed({bytes.data(), read.bytes},
                     [this](const FrameHeader& header, Message message) {
                       handler_.OnFrame(header, std::move(message));
                       return watch_ != WatchId::kNone;
                     });
    if (!status.ok() && watch_ != WatchId::kNone) return Lose(status);
    if (read.bytes < bytes.size() && !is_broken_) return;
  }
}

// Moves frames to the socket. False if there are none, and it has sent all.
bool Link::FillSocket() {
  Frame frame;
  while (socket_.pending_bytes() < kSocketBytes && Pop(frame)) {
    if (frame.has_header) {
      (void)socket_.Write(
          std::string_view(frame.header.data(), frame.header.size()));
    }
    (void)socket_.Write(std::move(frame.bytes),
                        frame.has_header ? FrameHeader::kSize : 0);
  }
  return socket_.has_pending();
}

void Link::Pump() {
  const uint64_t dropped_now = dropped();
  if (std::exchange(dropped_told_, dropped_now) != dropped_now) {
    handler_.OnDropped();
  }
  while (watch_ != WatchId::kNone && !is_broken_ && FillSocket()) {
    const IoResult sent = socket_.Flush();
    sent_ += sent.bytes;
    if (sent.failed()) return Break();
    if (sent.ok()) continue;
    return Ask(/*for_room=*/true);
  }
  if (watch_ != WatchId::kNone) Ask(/*for_room=*/false);
}

// The other side takes nothing any more. What it has sent is read first; then
// comes the end. If there is nothing to read, nothing would tell of that.
void Link::Break() {
  if (socket_.is_over()) return Lose(absl::OkStatus());
  is_broken_ = true;
  DropQueue();
  Ask(/*for_room=*/false);
}

void Link::DropQueue() {
  const absl::MutexLock lock(&mutex_);
  ended_ = true;
  queue_.clear();
  waiting_bytes_ = 0;
}

void Link::Ask(bool for_room) {
  if (std::exchange(asked_for_room_, for_room) == for_room) return;
  (void)loop_->Rewatch(watch_,
                       for_room ? Interest::kReadable | Interest::kWritable
                                : Interest::kReadable,
                       Trigger::kLevel);
  loop_->Cancel(std::exchange(stall_check_, TimerId::kNone));
  if (!for_room) return;
  sent_at_check_ = sent_;
  stall_check_ = loop_->RunAfter(options_.max_stall, [this] { CheckStall(); });
  loop_->Unref(stall_check_);
}

void Link::CheckStall() {
  const std::shared_ptr<Link> self = shared_from_this();
  const bool stalled = std::exchange(sent_at_check_, sent_) == sent_;
  stall_check_ = loop_->RunAfter(options_.max_stall, [this] { CheckStall(); });
  loop_->Unref(stall_check_);
  if (stalled) handler_.OnStalled();
}

void Link::Lose(const absl::Status& why) {
  Close();
  handler_.OnLost(why);
}

uint64_t Link::dropped() const {
  const absl::MutexLock lock(&mutex_);
  return dropped_;
}

uint64_t Link::waiting_bytes() const {
  const absl::MutexLock lock(&mutex_);
  return waiting_bytes_;
}

}  // namespace fio::pubsub_internal
