// A RedisServer is a redis-server of the test's own, on a free port of
// 127.0.0.1 and on a Unix socket. It keeps nothing on disk, so it is empty at
// each start.
//
//   RedisServer server;
//   RedisConnection connection(server.path());
//
// A server that is missing (tools/setup installs it) or does not start is a
// failed check.
//
// Thread safety: none.

#ifndef FIO_TESTS_SERVERS_REDIS_SERVER_H_
#define FIO_TESTS_SERVERS_REDIS_SERVER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fio/base/unique_fd.h"
#include "tests/subprocess.h"

namespace fio::testing {

class RedisServer {
 public:
  // Starts it. `options` are further arguments, as in {"--requirepass",
  // "secret"}. "$PORT" means port(): {"--port", "0", "--tls-port", "$PORT"}.
  explicit RedisServer(std::vector<std::string> options = {});
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;
  // Kills it.
  ~RedisServer();

  // Its addresses, the same for its whole life.
  uint16_t port() const { return port_; }
  const std::string& path() const { return path_; }

  // Ends it as a crash would: its connections end, and new ones are refused
  // until Start(). REQUIRES: it runs.
  void Kill();
  // As kill(2): SIGSTOP and SIGCONT hold it. REQUIRES: it runs.
  void Signal(int signal);
  // Returns when it takes connections. REQUIRES: it was killed.
  void Start();

 private:
  const std::vector<std::string> options_;
  UniqueFd reserved_;  // Bound to port_, so that nobody else is given it.
  uint16_t port_ = 0;
  std::string folder_;
  std::string path_;
  std::optional<Subprocess> process_;
};

}  // namespace fio::testing

#endif  // FIO_TESTS_SERVERS_REDIS_SERVER_H_
