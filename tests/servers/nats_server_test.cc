#include "tests/servers/nats_server.h"

#include "gtest/gtest.h"
#include "tests/servers/nats_connection.h"

namespace fio::testing {
namespace {

TEST(NatsServer, CarriesMessages) {
  const NatsServer server;
  NatsConnection one(server.port());
  NatsConnection two(server.port());
  one.Send("SUB a.* 1\r\n");
  one.Sync();
  two.Publish("a.b", "hello\r\nyou");
  EXPECT_EQ(one.ReadMessage(), "a.b hello\r\nyou");
}

TEST(NatsServer, ComesBackAtItsPort) {
  NatsServer server;
  NatsConnection before(server.port());
  server.Kill();
  EXPECT_EQ(before.ReadLine(), "END");
  server.Start();
  NatsConnection after(server.port());
  after.Sync();
}

TEST(NatsServer, TakesOptions) {
  const NatsServer server({"--auth", "secret"});
  NatsConnection connection(server.port(), R"(,"auth_token":"secret")");
  connection.Sync();
}

}  // namespace
}  // namespace fio::testing
