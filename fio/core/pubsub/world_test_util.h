// Connections of a World that a PubSub serves. Its reactor does not run: the
// World runs their loop.

#ifndef FIO_CORE_PUBSUB_WORLD_TEST_UTIL_H_
#define FIO_CORE_PUBSUB_WORLD_TEST_UTIL_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fio/core/loop/connection.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/pubsub/pub_sub.h"
#include "fio/core/reactor.h"
#include "fio/pubsub/subscribe_options.h"
#include "fio/testing/simulated_network.h"
#include "fio/testing/world.h"
#include "gtest/gtest.h"

namespace fio::pubsub_internal {

class PubSubInWorld : public ::testing::Test {
 protected:
  static constexpr Match kRedis = Match::kRedis;

  // Drops what it receives.
  class Hooks final : public Protocol {
   public:
    void OnData(Connection& connection) override { connection.Received(); }
    void OnClose(Connection& connection, const CloseReason& /*why*/) override {
      if (on_close) on_close(connection);
    }

    std::function<void(Connection&)> on_close;
  };

  struct Opened {
    testing::Peer peer;
    Connection* connection = nullptr;
    Hooks* protocol = nullptr;
  };

  Opened Connect() {
    Opened opened;
    opened.peer = world_.Connect([&opened](Connection& connection) {
      auto protocol = std::make_unique<Hooks>();
      opened.connection = &connection;
      opened.protocol = protocol.get();
      connection.Attach(std::move(protocol));
    });
    return opened;
  }

  std::vector<std::string>
      log_;  // Ends of subscriptions are the last to write.
  testing::World world_;
  Reactor reactor_{{.threads = 1, .workers = 1}};
  PubSub pubsub_{reactor_};
};

}  // namespace fio::pubsub_internal

#endif  // FIO_CORE_PUBSUB_WORLD_TEST_UTIL_H_
