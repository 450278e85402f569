// Clients of an echo server on 127.0.0.1, on the caller's thread. They compare
// each byte that comes back with the one that was sent.
//
// Thread safety: none.

#ifndef FIO_TESTS_BENCH_LOAD_H_
#define FIO_TESTS_BENCH_LOAD_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "fio/base/unique_fd.h"

namespace fio::bench {

inline constexpr size_t kMessageBytes = 64;

// A connection to 127.0.0.1:`port`. Blocking calls on it fail with EAGAIN after
// ten seconds. Errors: kUnavailable, kDeadlineExceeded.
absl::StatusOr<UniqueFd> ConnectTo(uint16_t port);

class Load {
 public:
  virtual ~Load() = default;

  // Makes requests for about `span`, at least one round of them, and returns
  // how many were answered: all, none is under way any more. Errors:
  // kUnavailable if a system call fails or the server hangs up, kDataLoss for a
  // byte that was not sent, kDeadlineExceeded if the server is silent for ten
  // seconds. After an error it is of no more use.
  virtual absl::StatusOr<uint64_t> Run(absl::Duration span) = 0;
};

// A closed loop: each connection keeps `depth` messages under way. A request is
// a message. The connections stay from one Run() to the next.
class EchoLoad final : public Load {
 public:
  // Errors: kUnavailable.
  static absl::StatusOr<std::unique_ptr<Load>> Connect(uint16_t port,
                                                       size_t connections,
                                                       size_t depth);

  absl::StatusOr<uint64_t> Run(absl::Duration span) override;

 private:
  struct Client {
    UniqueFd fd;
    uint64_t first = 0;  // Where in the pattern its stream begins.
    uint64_t sent_bytes = 0;
    uint64_t received_bytes = 0;
  };

  explicit EchoLoad(size_t depth) : depth_(depth) {}

  absl::Status Send(Client& client, size_t messages);
  // Returns how many messages have become complete.
  absl::StatusOr<size_t> Receive(Client& client);

  const size_t depth_;
  UniqueFd epoll_;
  std::vector<Client> clients_;
};

// Connections that live for one message, a few at a time: connect, send, await
// the echo and, after our end of stream, the server's. A request is a life.
class LifeLoad final : public Load {
 public:
  explicit LifeLoad(uint16_t port) : port_(port) {}

  // Makes 2,000 at most: each leaves a port that rests for a while.
  absl::StatusOr<uint64_t> Run(absl::Duration span) override;

 private:
  const uint16_t port_;
};

}  // namespace fio::bench

#endif  // FIO_TESTS_BENCH_LOAD_H_
