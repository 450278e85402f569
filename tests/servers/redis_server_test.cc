#include "tests/servers/redis_server.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>

#include "fio/base/unique_fd.h"
#include "gtest/gtest.h"
#include "tests/servers/redis_connection.h"

namespace fio::testing {
namespace {

// 0, or an errno.
int ConnectToPort(const RedisServer& server) {
  const UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(server.port());
  const int result =
      connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address));
  return result == 0 ? 0 : errno;
}

TEST(RedisServer, AnswersInOrder) {
  const RedisServer server;
  RedisConnection connection(server.path());
  connection.Add({"PING"});
  connection.Add({"SET", "a", "1\r\n2"});
  connection.Add({"GET", "a"});
  connection.Add({"GET", "b"});
  connection.Add({"MGET", "b", "a"});
  connection.Add({"NONSENSE"});
  connection.Send();
  EXPECT_EQ(connection.Read().text, "PONG");
  EXPECT_EQ(connection.Read().text, "OK");
  EXPECT_EQ(connection.Read().text, "1\r\n2");
  EXPECT_EQ(connection.Read().type, '_');
  const RedisReply array = connection.Read();
  ASSERT_EQ(array.items.size(), 2u);
  EXPECT_EQ(array.items[0].type, '_');
  EXPECT_EQ(array.items[1].text, "1\r\n2");
  EXPECT_EQ(connection.Read().type, '-');
}

TEST(RedisServer, ComesBackEmptyAtItsAddresses) {
  RedisServer server;
  EXPECT_EQ(ConnectToPort(server), 0);
  {
    RedisConnection connection(server.path());
    connection.Add({"SET", "a", "1"});
    connection.Send();
    EXPECT_EQ(connection.Read().text, "OK");
  }
  server.Kill();
  EXPECT_EQ(ConnectToPort(server), ECONNREFUSED);
  server.Start();
  EXPECT_EQ(ConnectToPort(server), 0);
  RedisConnection connection(server.path());
  connection.Add({"DBSIZE"});
  connection.Send();
  EXPECT_EQ(connection.Read().integer, 0);
}

TEST(RedisServer, TakesOptions) {
  const RedisServer server({"--requirepass", "secret"});
  RedisConnection connection(server.path());
  connection.Add({"PING"});
  connection.Add({"AUTH", "secret"});
  connection.Send();
  EXPECT_EQ(connection.Read().type, '-');
  EXPECT_EQ(connection.Read().text, "OK");
}

}  // namespace
}  // namespace fio::testing
