// A RedisConnection talks to a Redis server in its own language, RESP 2 or 3,
// and waits in its calls. Commands can be many before the first reply is read.
//
//   RedisConnection connection(server.path());
//   connection.Add({"PUBLISH", "news", "hello"});
//   connection.Send();
//   EXPECT_EQ(connection.Read().integer, 0);
//
// A connection that fails is a failed check.
//
// Thread safety: none.

#ifndef FIO_TESTS_SERVERS_REDIS_CONNECTION_H_
#define FIO_TESTS_SERVERS_REDIS_CONNECTION_H_

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "fio/base/unique_fd.h"

namespace fio::testing {

struct RedisReply {
  char type = 0;        // RESP's: one of "+-:$*>%_"; a null of RESP 2 is '_'.
  int64_t integer = 0;  // Of ':'.
  std::string text;     // Of '+', '-' and '$'.
  std::vector<RedisReply> items;  // Of '*', '>' and, key by value, '%'.
};

class RedisConnection {
 public:
  // `path` is that of the server's Unix socket.
  explicit RedisConnection(const std::string& path);

  // Sent by the next Send().
  void Add(std::initializer_list<std::string_view> command);
  void Send();

  // What came next, replies and pushes alike; waits for it.
  RedisReply Read();

 private:
  std::string ReadLine();
  std::string ReadBytes(size_t size);
  void Receive();

  UniqueFd fd_;
  std::string to_send_;
  std::string received_;
  size_t read_ = 0;  // Of received_.
};

}  // namespace fio::testing

#endif  // FIO_TESTS_SERVERS_REDIS_CONNECTION_H_
