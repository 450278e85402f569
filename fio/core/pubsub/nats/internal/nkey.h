// An NKey proves to a NATS server who we are, by Ed25519 (RFC 8032): the server
// knows the public key, and we sign what it draws for each connection.
//
// Thread safety: as a std::string. The private key is wiped with the object.

#ifndef FIO_CORE_PUBSUB_NATS_INTERNAL_NKEY_H_
#define FIO_CORE_PUBSUB_NATS_INTERNAL_NKEY_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace fio::nats_internal {

class NKey {
 public:
  // `seed` is a user's, as the tools of NATS write it: "SU...". Errors:
  // kInvalidArgument, without the seed.
  static absl::StatusOr<NKey> Parse(std::string_view seed);

  NKey(const NKey&) = default;
  NKey& operator=(const NKey&) = default;
  ~NKey();

  // "U...".
  std::string public_key() const;
  // The signature in base64, as CONNECT has it.
  std::string Sign(std::string_view nonce) const;

 private:
  NKey() = default;

  std::array<uint8_t, 32> public_ = {};
  std::array<uint8_t, 64> private_ = {};
};

}  // namespace fio::nats_internal

#endif  // FIO_CORE_PUBSUB_NATS_INTERNAL_NKEY_H_
