// PROXY headers over a network with faults.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/loop/test_util.h"
#include "fio/sock/proxy_transport.h"
#include "fio/testing/simulated_network.h"
#include "fio/testing/world.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using loop_internal::Record;
using loop_internal::Recorder;
using testing::Peer;
using testing::World;

constexpr std::string_view kHeader =
    "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n";

// Reads the header, then attaches the recorder, or keeps why not.
void ReadHeader(Connection& connection, Record& record, absl::Status& why) {
  auto transport = std::make_unique<ProxyTransport>();
  const ProxyTransport& proxy = *transport;
  connection.StartHandshake(
      std::move(transport), absl::Seconds(5),
      [&](Connection& shaken, const absl::Status& status) {
        why = status;
        if (!status.ok()) return;
        shaken.SetProxyHeader(proxy.header());
        EXPECT_TRUE(shaken.SetTransport(nullptr).ok());
        EXPECT_EQ(shaken.peer_address().ToString(), "192.0.2.7:56324");
        EXPECT_EQ(shaken.local_address().ToString(), "198.51.100.1:443");
        shaken.Attach(std::make_unique<Recorder>(record));
      });
}

TEST(ProxyWorld, AHeaderIsReadWhateverTheNetworkDoes) {
  const std::string data = absl::StrCat(std::string(3000, 'x'), "end");
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(seed);
    Record record;
    absl::Status why = absl::UnknownError("nothing was told");
    World world({.seed = seed,
                 .network = {.short_read = 0.5,
                             .would_block = 0.3,
                             .interrupted = 0.2,
                             .no_memory = 0.1,
                             .segmented = 0.5}});
    Peer peer = world.Connect(
        [&](Connection& connection) { ReadHeader(connection, record, why); });
    peer.Send(absl::StrCat(kHeader, data));
    peer.ShutdownWrite();
    world.Advance(absl::Seconds(2));
    EXPECT_TRUE(why.ok()) << why;
    EXPECT_EQ(record.data, data);
    EXPECT_EQ(record.Count("end"), 1);
    EXPECT_TRUE(peer.saw_end());
  }
}

TEST(ProxyWorld, AResetOrAnEndInTheHeaderIsTold) {
  for (size_t size = 0; size < kHeader.size(); ++size) {
    for (const bool reset : {false, true}) {
      Record record;
      absl::Status why = absl::UnknownError("nothing was told");
      World world;
      Peer peer = world.Connect(
          [&](Connection& connection) { ReadHeader(connection, record, why); });
      peer.Send(kHeader.substr(0, size));
      world.RunUntilIdle();
      reset ? peer.Reset() : peer.Close();
      world.RunUntilIdle();
      EXPECT_NE(why, absl::UnknownError("nothing was told"));
      EXPECT_FALSE(why.ok());
      EXPECT_EQ(world.loop().connection_count(), 0u);
    }
  }
}

}  // namespace
}  // namespace fio
