// The sides of testing::HandshakeTransport.

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "fio/core/loop/reentrancy_sides.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"
#include "fio/testing/handshake_side.h"
#include "fio/testing/handshake_transport.h"

namespace fio::loop_internal {

using testing::HandshakeScript;
using testing::HandshakeSide;
using testing::HandshakeTransport;

namespace {

HandshakeScript Script() {
  return {.rounds = 1, .round_bytes = 8, .record_bytes = 4096, .ask_every = 2};
}

class Far final : public FarSide {
 public:
  bool is_open() const override {
    return side_.state() == HandshakeSide::State::kOpen;
  }
  void Receive(std::string_view wire) override { side_.Receive(wire); }
  std::string TakeOutput() override { return side_.TakeOutput(); }
  void Send(std::string_view bytes) override { side_.Send(bytes); }
  std::string TakeReceived() override { return side_.TakeReceived(); }

 private:
  HandshakeSide side_{HandshakeSide::Role::kClient, Script()};
};

}  // namespace

std::unique_ptr<FarSide> NewFarSide() { return std::make_unique<Far>(); }

std::unique_ptr<Transport> NewNearSide(NearSideOptions options) {
  HandshakeTransport::Options near;
  near.script = Script();
  if (options.fails) near.script.fail_in_round = 1;
  if (options.on_call) {
    near.on_call = [on_call = std::move(options.on_call)](
                       Socket*, HandshakeTransport::Call call) {
      if (call == HandshakeTransport::Call::kShake) on_call();
    };
  }
  return std::make_unique<HandshakeTransport>(HandshakeSide::Role::kServer,
                                              near);
}

}  // namespace fio::loop_internal
