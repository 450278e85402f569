// The urls that a NatsEngine is given.
//
// Thread safety: functions without state.

#ifndef FIO_CORE_PUBSUB_NATS_INTERNAL_NATS_URLS_H_
#define FIO_CORE_PUBSUB_NATS_INTERNAL_NATS_URLS_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace fio::nats_internal {

struct NatsUrls {
  // Errors: kInvalidArgument, with the url but its secrets, and what is wrong.
  static absl::StatusOr<NatsUrls> Parse(std::string_view text);

  std::vector<std::string> addresses;  // "host:port" each; at least one.
  std::string user;
  std::string password;
  std::string token;
  bool secure = false;    // One of them is tls://.
  std::string tls_query;  // Of the first that is: "?ca=...", or empty.
};

}  // namespace fio::nats_internal

#endif  // FIO_CORE_PUBSUB_NATS_INTERNAL_NATS_URLS_H_
