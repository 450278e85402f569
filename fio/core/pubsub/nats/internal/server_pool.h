// A ServerPool is the servers that a NatsEngine may connect to: those that it
// was given, and those that the servers tell of.
//
// Thread safety: none.

#ifndef FIO_CORE_PUBSUB_NATS_INTERNAL_SERVER_POOL_H_
#define FIO_CORE_PUBSUB_NATS_INTERNAL_SERVER_POOL_H_

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "absl/types/span.h"

namespace fio::nats_internal {

class ServerPool {
 public:
  // REQUIRES: there is one.
  ServerPool(absl::Span<const std::string> addresses, uint64_t seed);

  // The address that is to be tried next: each once in a round, in an order
  // that is drawn once. Valid until the next call of anything.
  const std::string& Next();
  // Whether Next() begins a round.
  bool IsRoundOver() const { return next_ == 0; }

  // What a server tells of the others: those that were told of before, and not
  // now, go, unless `current` is one of them.
  void Update(absl::Span<const std::string> addresses,
              std::string_view current);

  // Whether there is one besides `current`.
  bool HasOther(std::string_view current) const;
  size_t size() const { return servers_.size(); }

 private:
  struct Server {
    std::string address;
    bool is_told_of;
  };

  void Erase(size_t at);

  std::vector<Server> servers_;
  size_t next_ = 0;
  std::mt19937 random_;
};

}  // namespace fio::nats_internal

#endif  // FIO_CORE_PUBSUB_NATS_INTERNAL_SERVER_POOL_H_
