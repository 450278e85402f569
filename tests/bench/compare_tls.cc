// fio's TLS beside its floor: an echo server straight on epoll with the same
// library and certificate, in one run.
//
//   bazel run -c opt //tests/bench:compare_tls
//
// comparison.h says how, and what is told.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/bench/comparison.h"
#include "tests/bench/load.h"
#include "tests/bench/tls_load.h"
#include "tests/bench/tls_servers.h"

namespace fio::bench {
namespace {

std::vector<Case> Cases() {
  const auto echo = [](std::string name, size_t connections, size_t bytes) {
    return Case{std::move(name), "request", "requests",
                [connections, bytes](uint16_t port) {
                  return ConnectTlsEcho(port, connections, bytes);
                }};
  };
  const auto lives = [](std::string name, TlsLife life) {
    return Case{std::move(name), "life", "lives",
                [life](uint16_t port) { return NewTlsLives(port, life); }};
  };
  return {echo("64 x 64 B", 64, 64), echo("4 x 64 KiB", 4, 64 << 10),
          lives("life, full handshake", TlsLife::kFull),
          lives("life, resumed", TlsLife::kResumed)};
}

}  // namespace
}  // namespace fio::bench

int main(int argc, char** argv) {
  using namespace fio::bench;  // NOLINT: all of this program is in there.
  BenchCertificate();          // Before the fork.
  return CompareMain(
      argc, argv, "TLS echo servers compared; see --helpfull.",
      {.servers = {{"raw TLS", ServeRawTls}, {"fio TLS", ServeFioTls}}},
      Cases());
}
