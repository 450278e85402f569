// The sides of fio/core/loop/reentrancy_sides.h over TLS.

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "fio/core/loop/reentrancy_sides.h"
#include "fio/sock/transport.h"
#include "fio/tls/tls_choice.h"
#include "fio/tls/tls_memory_client.h"
#include "fio/tls/tls_options.h"
#include "fio/tls/tls_test_util.h"
#include "fio/tls/tls_transport.h"

namespace fio::loop_internal {

using tls_testing::CertificateFor;
using tls_testing::Context;
using tls_testing::MemoryClient;
using tls_testing::Server;

namespace {

class Far final : public FarSide {
 public:
  bool is_open() const override { return client_.is_open(); }
  void Receive(std::string_view wire) override { client_.Receive(wire); }
  std::string TakeOutput() override { return client_.TakeOutput(); }
  void Send(std::string_view bytes) override { client_.Send(bytes); }
  std::string TakeReceived() override { return client_.TakeReceived(); }

 private:
  MemoryClient client_;
};

// Of names that the client does not ask for.
Context Refusing() {
  return Server({.certificates = {CertificateFor("else.test")},
                 .unknown_name = TlsUnknownName::kRefuse});
}

Context Calling(std::function<void()> on_call) {
  return Server({.choose = [on_call = std::move(on_call)](const TlsClientHello&,
                                                          TlsChoice choice) {
    on_call();
    std::move(choice).UseOwn();
  }});
}

Context ContextOf(NearSideOptions options) {
  static const auto* const serving = new Context(Server());
  static const auto* const refusing = new Context(Refusing());
  if (options.on_call) return Calling(std::move(options.on_call));
  return options.fails ? *refusing : *serving;
}

}  // namespace

std::unique_ptr<FarSide> NewFarSide() { return std::make_unique<Far>(); }

// The far end ends its stream without a word.
std::unique_ptr<Transport> NewNearSide(NearSideOptions options) {
  return std::make_unique<TlsTransport>(
      ContextOf(std::move(options)),
      TlsTransportOptions{.truncation_is_end = true});
}

}  // namespace fio::loop_internal
