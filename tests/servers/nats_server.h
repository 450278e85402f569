// A NatsServer is a nats-server of the test's own, on a free port of 127.0.0.1.
//
//   NatsServer server;
//   NatsConnection connection(server.port());
//
// A server that is missing (tools/setup installs it) or does not start is a
// failed check.
//
// Thread safety: none.

#ifndef FIO_TESTS_SERVERS_NATS_SERVER_H_
#define FIO_TESTS_SERVERS_NATS_SERVER_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fio/base/unique_fd.h"
#include "tests/subprocess.h"

namespace fio::testing {

class NatsServer {
 public:
  // Starts it. `options` are further arguments, as in {"--auth", "secret"}.
  explicit NatsServer(std::vector<std::string> options = {});
  NatsServer(const NatsServer&) = delete;
  NatsServer& operator=(const NatsServer&) = delete;
  // Kills it.
  ~NatsServer();

  // The same for its whole life.
  uint16_t port() const { return port_; }
  // "nats://127.0.0.1:port".
  std::string url() const;

  pid_t pid() const { return process_->pid(); }
  // REQUIRES: it runs.
  void Signal(int signal) { process_->Signal(signal); }
  // Ends it as a crash would: its connections end, and new ones are refused
  // until Start(). REQUIRES: it runs.
  void Kill();
  // Returns when it takes connections. REQUIRES: it was killed.
  void Start();

  // Waits for a line of its log that has `text`.
  void AwaitLog(const std::string& text);

 private:
  const std::vector<std::string> options_;
  UniqueFd reserved_;  // Bound to port_, so that nobody else is given it.
  uint16_t port_ = 0;
  std::optional<Subprocess> process_;
};

// A port of 127.0.0.1 that is free, and stays so while `reserved` lives:
// another socket with SO_REUSEADDR, as that of a server, can be bound to it.
uint16_t ReserveNatsPort(UniqueFd& reserved);

}  // namespace fio::testing

#endif  // FIO_TESTS_SERVERS_NATS_SERVER_H_
