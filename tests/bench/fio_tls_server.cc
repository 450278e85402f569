#include <memory>
#include <utility>

#include "absl/log/absl_check.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "fio/fio.h"
#include "tests/bench/servers.h"
#include "tests/bench/tls_servers.h"

namespace fio::bench {
namespace {

class Echo final : public Protocol {
 public:
  void OnData(Connection& connection) override {
    connection.Write(connection.Received());
  }
};

}  // namespace

const TlsCertificate& BenchCertificate() {
  static const TlsCertificate* const certificate = [] {
    auto made = TlsCertificate::SelfSigned({"localhost", "127.0.0.1"});
    ABSL_CHECK_OK(made);
    return new TlsCertificate(*std::move(made));
  }();
  return *certificate;
}

void ServeFioTls(OnListening on_listening) {
  Reactor reactor;
  auto context = TlsContext::Server({.certificates = {BenchCertificate()}});
  ABSL_CHECK_OK(context);
  ListenOptions options;
  options.on_open = [](Connection& connection) {
    connection.SetTimeout(absl::Seconds(60));
    connection.Attach(std::make_unique<Echo>());
  };
  options.transport = TlsFactory(*std::move(context));
  const absl::StatusOr<ListenerId> listener =
      reactor.Listen("tls://127.0.0.1:0", std::move(options));
  ABSL_CHECK_OK(listener);
  on_listening(reactor.ListenAddress(*listener)->port());
  reactor.Run().IgnoreError();
}

}  // namespace fio::bench
