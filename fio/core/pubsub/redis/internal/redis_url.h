// A RedisUrl is where a Redis server is, and who we are there.

#ifndef FIO_CORE_PUBSUB_REDIS_INTERNAL_REDIS_URL_H_
#define FIO_CORE_PUBSUB_REDIS_INTERNAL_REDIS_URL_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace fio::redis_internal {

struct RedisUrl {
  //   redis://user:password@host:6379/   TCP; 6379 if there is no port
  //   rediss://...?ca=FILE               TLS, with the keys of fio::Url
  //   redis+unix://user:password@/path   a Unix socket
  //
  // User and password are optional, also each by itself (":password@"), and
  // have escapes (%40). Errors: kInvalidArgument; no message has the password.
  // The address itself is not checked.
  static absl::StatusOr<RedisUrl> Parse(std::string_view text);

  RedisUrl() = default;
  RedisUrl(const RedisUrl&) = default;
  RedisUrl& operator=(const RedisUrl&) = default;
  // Leaves nothing of the password in memory.
  ~RedisUrl();

  std::string address;   // For a Connector: "tcp://host:6379".
  std::string user;      // Empty: "default".
  std::string password;  // Empty: we do not say who we are.
};

// Overwrites it, and makes it empty.
void Wipe(std::string& secret);

}  // namespace fio::redis_internal

#endif  // FIO_CORE_PUBSUB_REDIS_INTERNAL_REDIS_URL_H_
