// What is said first on a connection to a Redis server: who we are, and which
// version of the protocol we speak.

#ifndef FIO_CORE_PUBSUB_REDIS_INTERNAL_REDIS_GREETING_H_
#define FIO_CORE_PUBSUB_REDIS_INTERNAL_REDIS_GREETING_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "fio/core/pubsub/redis/internal/redis_command.h"
#include "fio/core/pubsub/redis/internal/redis_url.h"
#include "fio/core/pubsub/redis/redis_reply.h"

namespace fio::redis_internal {

// HELLO, for RESP 3. The caller wipes it.
inline std::string MakeHello(const RedisUrl& url) {
  if (url.password.empty()) return MakeCommand({"HELLO", "3"});
  std::string_view user = url.user;
  if (user.empty()) user = "default";
  return MakeCommand({"HELLO", "3", "AUTH", user, url.password});
}

// AUTH, for RESP 2. REQUIRES: there is a password. The caller wipes it.
inline std::string MakeAuth(const RedisUrl& url) {
  return url.user.empty() ? MakeCommand({"AUTH", url.password})
                          : MakeCommand({"AUTH", url.user, url.password});
}

// Whether the server has no HELLO, or no RESP 3.
inline bool IsOldServer(const RedisReply& reply) {
  return reply.IsError("NOPROTO") ||
         (reply.is_error() && reply.text.starts_with("ERR unknown command"));
}

// Of an answer that is an error. kPermissionDenied: to ask again soon will not
// help.
inline absl::Status ErrorOf(const RedisReply& reply) {
  for (const std::string_view code : {"WRONGPASS", "NOAUTH", "NOPERM"}) {
    if (reply.IsError(code)) return absl::PermissionDeniedError(reply.text);
  }
  // Servers before 6.2 of a password that is wrong, or needs none.
  const std::string_view text = reply.text;
  if (text.starts_with("ERR invalid password") ||
      text.starts_with("ERR Client sent AUTH")) {
    return absl::PermissionDeniedError(text);
  }
  return absl::UnavailableError(text);
}

}  // namespace fio::redis_internal

#endif  // FIO_CORE_PUBSUB_REDIS_INTERNAL_REDIS_GREETING_H_
