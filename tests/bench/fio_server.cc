#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "fio/fio.h"
#include "tests/bench/servers.h"

namespace fio::bench {
namespace {

class Echo final : public Protocol {
 public:
  void OnData(Connection& connection) override {
    connection.Write(connection.Received());
  }
};

}  // namespace

void ServeFio(OnListening on_listening) {
  Reactor reactor;
  const absl::StatusOr<ListenerId> listener = reactor.Listen(
      "tcp://127.0.0.1:0", {.on_open = [](Connection& connection) {
        connection.SetTimeout(absl::Seconds(60));
        connection.Attach(std::make_unique<Echo>());
      }});
  if (!listener.ok()) return;
  on_listening(reactor.ListenAddress(*listener)->port());
  reactor.Run().IgnoreError();
}

}  // namespace fio::bench
