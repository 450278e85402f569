// A RedisServer is a redis-server of the test's own, on a Unix socket in a
// folder of its own. It keeps nothing on disk and is empty at the start.
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

#include <optional>
#include <string>
#include <vector>

#include "tests/subprocess.h"

namespace fio::testing {

class RedisServer {
 public:
  // Returns when it takes connections. `options` are further arguments, as in
  // {"--requirepass", "secret"}.
  explicit RedisServer(const std::vector<std::string>& options = {});
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;
  // Kills it, and removes its folder.
  ~RedisServer();

  // Of its socket; short enough for one, with bytes to spare.
  const std::string& path() const { return path_; }
  Subprocess& process() { return *process_; }

 private:
  void Start(const std::vector<std::string>& options);

  std::string folder_;
  std::string path_;
  std::optional<Subprocess> process_;
};

}  // namespace fio::testing

#endif  // FIO_TESTS_SERVERS_REDIS_SERVER_H_
