// A ServerProcess is a forked child that runs one server, and counts itself.
//
// Thread safety: none. Start() forks: the caller has one thread.

#ifndef FIO_TESTS_BENCH_SERVER_PROCESS_H_
#define FIO_TESTS_BENCH_SERVER_PROCESS_H_

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tests/bench/counters.h"
#include "tests/bench/servers.h"

namespace fio::bench {

// What a process has used.
struct Usage {
  absl::Duration cpu;
  absl::Duration user;  // The part in user mode, by the tick.
  Counts counts;
};

class ServerProcess {
 public:
  using Serve = void (*)(OnListening on_listening);

  // Returns once the server listens. It runs on `cpu` alone, if that is not
  // negative, and ends with this process at the latest. Errors: kInternal.
  static absl::StatusOr<std::unique_ptr<ServerProcess>> Start(std::string name,
                                                              Serve serve,
                                                              int cpu);

  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;
  // Kills it and awaits its end.
  ~ServerProcess();

  const std::string& name() const { return name_; }
  uint16_t port() const { return port_; }
  Usage ReadUsage() const;

 private:
  explicit ServerProcess(std::string name);

  const std::string name_;
  Counters& counters_;  // In memory that the child shares.
  pid_t pid_ = -1;
  uint16_t port_ = 0;
};

// Confines this process, or the child that calls it, to one CPU; false if the
// system refuses.
bool RunOnCpu(int cpu);

}  // namespace fio::bench

#endif  // FIO_TESTS_BENCH_SERVER_PROCESS_H_
