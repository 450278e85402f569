#include "fio/core/loop/reentrancy_stage.h"

#include <sys/socket.h>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/log/absl_check.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/reentrancy_sides.h"
#include "fio/sock/socket.h"
#include "fio/testing/loopback_pair.h"
#include "fio/testing/manual_clock.h"
#include "fio/testing/simulated_network.h"
#include "fio/testing/world.h"

namespace fio::loop_internal {
namespace {

using testing::LoopbackPair;
using testing::ManualClock;
using testing::Peer;
using testing::World;

class InWorld final : public Stage {
 public:
  explicit InWorld(Over over)
      : Stage(over),
        owned_(std::make_unique<World>(testing::WorldOptions{
            .loop = Options(), .network = {.window_bytes = 8192}})),
        world_(owned_.get()) {
    loop_ = &world_->loop();
  }

  Socket Connect() override {
    std::pair<Socket, Peer> made = world_->MakeConnection();
    far_ends().push_back(std::make_unique<Far>(over(), std::move(made.second)));
    return std::move(made.first);
  }
  void RunTurn() override { world_->Turn(); }
  void MoveClock(absl::Duration span) override {
    world_->clock().Advance(span);
  }
  void EndLoop() override { owned_ = nullptr; }
  size_t open_descriptors() const override {
    return world_->network().open_count();
  }

 private:
  class Far final : public FarEnd {
   public:
    Far(Over over, Peer peer) : FarEnd(over), peer_(std::move(peer)) {}
    void ShutdownWrite() override { peer_.ShutdownWrite(); }
    void Close() override { peer_.Close(); }

   private:
    void SendRaw(std::string_view bytes) override { peer_.Send(bytes); }
    std::string TakeRaw() override { return peer_.TakeReceived(); }

    Peer peer_;
  };

  std::unique_ptr<World> owned_;
  World* const world_;  // Also while it is destroyed.
};

class OnKernel final : public Stage {
 public:
  explicit OnKernel(Over over) : Stage(over) {
    LoopOptions options = Options();
    options.clock = &clock_;
    owned_ = *Loop::Create(options);
    loop_ = owned_.get();
  }

  Socket Connect() override {
    LoopbackPair pair = LoopbackPair::Unix();
    constexpr int kLeast = 0;  // What the kernel allows: some KiB.
    ABSL_CHECK_EQ(setsockopt(pair.near.fd(), SOL_SOCKET, SO_SNDBUF, &kLeast,
                             sizeof(kLeast)),
                  0);
    far_ends().push_back(std::make_unique<Far>(over(), std::move(pair.far)));
    return std::move(pair.near);
  }
  void RunTurn() override {
    ABSL_CHECK_OK(owned_->RunOnce(MonotonicTime::InfinitePast()));
  }
  void MoveClock(absl::Duration span) override { clock_.Advance(span); }
  void EndLoop() override { owned_ = nullptr; }

 private:
  class Far final : public FarEnd {
   public:
    Far(Over over, Socket socket) : FarEnd(over), socket_(std::move(socket)) {}
    void ShutdownWrite() override {
      static_cast<void>(socket_.ShutdownWrite());
    }
    void Close() override { socket_.Close(); }

   private:
    void SendRaw(std::string_view bytes) override {
      static_cast<void>(socket_.TryWrite(bytes));
    }
    std::string TakeRaw() override { return testing::ReadAvailable(socket_); }

    Socket socket_;
  };

  ManualClock clock_;
  std::unique_ptr<Loop> owned_;
};

}  // namespace

FarEnd::FarEnd(Over over)
    : side_(over == Over::kHandshake ? NewFarSide() : nullptr) {}

bool FarEnd::can_send() const { return side_ == nullptr || side_->is_open(); }

void FarEnd::Send(std::string_view bytes) {
  if (side_ == nullptr) {
    SendRaw(bytes);
  } else if (can_send()) {
    side_->Send(bytes);
    Pump();
  }
}

void FarEnd::Pump() {
  const std::string raw = TakeRaw();
  if (side_ == nullptr) {
    received_ += raw;
    return;
  }
  side_->Receive(raw);
  received_ += side_->TakeReceived();
  const std::string output = side_->TakeOutput();
  if (!output.empty()) SendRaw(output);
}

void Stage::Turn() {
  for (const std::unique_ptr<FarEnd>& far : far_ends_) far->Pump();
  RunTurn();
  for (const std::unique_ptr<FarEnd>& far : far_ends_) far->Pump();
}

LoopOptions Stage::Options() {
  return {.receive_buffer_bytes = 1024,
          .watermarks = {.high_bytes = kHighBytes},
          .process_memory = &memory_};
}

std::unique_ptr<Stage> NewStage(Below below, Over over) {
  if (below == Below::kWorld) return std::make_unique<InWorld>(over);
  return std::make_unique<OnKernel>(over);
}

}  // namespace fio::loop_internal
