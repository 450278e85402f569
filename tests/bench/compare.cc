// fio beside its floor and its peers: TCP echo servers on one thread, straight
// on epoll, on fio, on libuv and on libevent, in one run.
//
//   bazel run -c opt //tests/bench:compare
//   bazel run -c opt //tests/bench:compare -- --rounds=9
//
// comparison.h says how, and what is told.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/bench/comparison.h"
#include "tests/bench/load.h"
#include "tests/bench/servers.h"

namespace fio::bench {
namespace {

std::vector<Case> Cases() {
  const auto echo = [](size_t connections, size_t depth) {
    return Case{absl::StrCat(connections, " x ", depth), "request", "requests",
                [connections, depth](uint16_t port) {
                  return EchoLoad::Connect(port, connections, depth);
                }};
  };
  return {echo(64, 1), echo(64, 16),
          Case{"life", "life", "lives",
               [](uint16_t port) { return std::make_unique<LifeLoad>(port); }}};
}

}  // namespace
}  // namespace fio::bench

int main(int argc, char** argv) {
  using namespace fio::bench;  // NOLINT: all of this program is in there.
  return CompareMain(argc, argv, "Echo servers compared; see --helpfull.",
                     {.servers = {{"raw epoll", ServeRawEpoll},
                                  {"fio", ServeFio},
                                  {"libuv", ServeLibuv},
                                  {"libevent", ServeLibevent}}},
                     Cases());
}
