#include "fio/core/pubsub/nats/internal/nkey.h"

#include <openssl/curve25519.h>
#include <openssl/mem.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"

namespace fio::nats_internal {
namespace {

// A seed is these two, the kind of key it is for, 32 bytes, and a checksum, in
// base32 (RFC 4648). A public key has only the kind before it.
constexpr uint8_t kSeed = 18 << 3;
constexpr uint8_t kUser = 20 << 3;
constexpr size_t kSeedBytes = 2 + 32 + 2;

constexpr std::string_view kBase32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

// CRC-16/XMODEM.
uint16_t Checksum(std::string_view bytes) {
  uint32_t crc = 0;
  for (const char byte : bytes) {
    crc ^= static_cast<uint32_t>(static_cast<uint8_t>(byte)) << 8;
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc << 1) ^ ((crc & 0x8000) != 0 ? 0x1021 : 0);
    }
    crc &= 0xFFFF;
  }
  return static_cast<uint16_t>(crc);
}

std::string ToBase32(std::string_view bytes) {
  std::string out;
  uint32_t bits = 0;
  int count = 0;
  for (const char byte : bytes) {
    bits = bits << 8 | static_cast<uint8_t>(byte);
    for (count += 8; count >= 5; count -= 5) {
      out.push_back(kBase32[bits >> (count - 5) & 31]);
    }
  }
  if (count > 0) out.push_back(kBase32[bits << (5 - count) & 31]);
  return out;
}

std::optional<std::string> FromBase32(std::string_view text) {
  std::string out;
  uint32_t bits = 0;
  int count = 0;
  for (const char digit : text) {
    const size_t value = kBase32.find(digit);
    if (value == kBase32.npos) return std::nullopt;
    bits = bits << 5 | static_cast<uint32_t>(value);
    count += 5;
    if (count < 8) continue;
    count -= 8;
    out.push_back(static_cast<char>(bits >> count & 0xFF));
  }
  return out;
}

}  // namespace

absl::StatusOr<NKey> NKey::Parse(std::string_view text) {
  std::optional<std::string> seed = FromBase32(text);
  const auto byte = [&seed](size_t at) {
    return static_cast<uint8_t>((*seed)[at]);
  };
  if (!seed.has_value() || seed->size() != kSeedBytes ||
      byte(0) != (kSeed | kUser >> 5) ||
      byte(1) != uint8_t{(kUser & 31) << 3} ||
      Checksum(std::string_view(*seed).substr(0, kSeedBytes - 2)) !=
          (byte(kSeedBytes - 2) | byte(kSeedBytes - 1) << 8)) {
    return absl::InvalidArgumentError(
        "NatsOptions::nkey_seed is not the seed of a user, SU...");
  }
  NKey key;
  ED25519_keypair_from_seed(key.public_.data(), key.private_.data(),
                            reinterpret_cast<const uint8_t*>(seed->data()) + 2);
  OPENSSL_cleanse(seed->data(), seed->size());
  return key;
}

NKey::~NKey() { OPENSSL_cleanse(private_.data(), private_.size()); }

std::string NKey::public_key() const {
  std::string bytes(1, static_cast<char>(kUser));
  bytes.append(public_.begin(), public_.end());
  const uint16_t checksum = Checksum(bytes);
  bytes.push_back(static_cast<char>(checksum & 0xFF));
  bytes.push_back(static_cast<char>(checksum >> 8));
  return ToBase32(bytes);
}

std::string NKey::Sign(std::string_view nonce) const {
  std::string signature(64, '\0');
  ABSL_CHECK_EQ(ED25519_sign(reinterpret_cast<uint8_t*>(signature.data()),
                             reinterpret_cast<const uint8_t*>(nonce.data()),
                             nonce.size(), private_.data()),
                1);
  return absl::WebSafeBase64Escape(signature);
}

}  // namespace fio::nats_internal
