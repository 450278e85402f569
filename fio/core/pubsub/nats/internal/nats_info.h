// What a NATS server tells of itself in the JSON of an INFO line.
//
// The JSON is read strictly, by a parser that knows no more than this needs: it
// checks all of the text (RFC 8259), keeps the keys below, and skips others.
//
// Thread safety: as a std::string.

#ifndef FIO_CORE_PUBSUB_NATS_INTERNAL_NATS_INFO_H_
#define FIO_CORE_PUBSUB_NATS_INTERNAL_NATS_INFO_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace fio::nats_internal {

struct NatsInfo {
  // More than this of one array is an error, as is deeper nesting.
  static constexpr size_t kMaxServers = 1024;
  static constexpr int kMaxDepth = 8;

  // Errors: kInvalidArgument if the text is no JSON, no object, or one of the
  // keys has a value of another type. Of a key that is there twice the last
  // one counts.
  static absl::StatusOr<NatsInfo> Parse(std::string_view json);

  std::string server_id;
  std::string server_name;
  std::string version;
  std::string nonce;
  std::vector<std::string> connect_urls;  // "host:port" each.
  uint64_t max_payload = 0;               // 0: it does not say.
  bool headers = false;
  bool auth_required = false;
  bool tls_required = false;
  bool tls_available = false;
  bool lame_duck = false;  // It will end soon.
};

// `text` as a string of JSON, with its quotes. Bytes that are no UTF-8 stay as
// they are.
std::string JsonString(std::string_view text);

}  // namespace fio::nats_internal

#endif  // FIO_CORE_PUBSUB_NATS_INTERNAL_NATS_INFO_H_
