// What the matrix of reentrancy_play.h goes over, if it goes over a handshake:
// both sides of a transport. A test is linked with what makes them: with
// reentrancy_handshake.cc, or in fio/core/tls with TLS.

#ifndef FIO_CORE_LOOP_REENTRANCY_SIDES_H_
#define FIO_CORE_LOOP_REENTRANCY_SIDES_H_

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "fio/sock/transport.h"

namespace fio::loop_internal {

// The side of a client, in memory. It bears whatever comes.
class FarSide {
 public:
  FarSide() = default;
  FarSide(const FarSide&) = delete;
  FarSide& operator=(const FarSide&) = delete;
  virtual ~FarSide() = default;

  // Whether its handshake is over, and nothing has failed.
  virtual bool is_open() const = 0;
  // What is on the wire.
  virtual void Receive(std::string_view wire) = 0;
  virtual std::string TakeOutput() = 0;
  // The bytes of the application. REQUIRES for sending: is_open().
  virtual void Send(std::string_view bytes) = 0;
  virtual std::string TakeReceived() = 0;
};

std::unique_ptr<FarSide> NewFarSide();

struct NearSideOptions {
  bool fails = false;  // It refuses the client.
  // Called in its handshake, inside of its call. Null for nothing.
  std::function<void()> on_call = nullptr;
};
// The side of a server.
std::unique_ptr<Transport> NewNearSide(NearSideOptions options);

}  // namespace fio::loop_internal

#endif  // FIO_CORE_LOOP_REENTRANCY_SIDES_H_
