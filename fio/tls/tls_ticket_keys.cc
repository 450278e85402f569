#include "fio/tls/tls_ticket_keys.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/log/absl_log.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "fio/base/clock.h"
#include "fio/tls/internal/boringssl.h"
#include "fio/tls/internal/secret_file.h"

namespace fio {

using tls_internal::IfThere;

namespace {

constexpr absl::Duration kMostRotation = absl::Hours(7 * 24);
constexpr std::string_view kMagic = "fio-ticket-keys-2";
constexpr std::string_view kNextStride = "next stride";
constexpr int64_t kPeriodsOfAStride = 4096;
constexpr int64_t kMostStrides = int64_t{1} << 16;

int64_t StrideOf(int64_t period) { return period / kPeriodsOfAStride; }

absl::Status Invalid(std::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("TlsTicketKeys: ", why));
}

absl::Status Check(const TlsTicketKeysOptions& options) {
  if (options.rotation < absl::Seconds(1) || options.rotation > kMostRotation) {
    return Invalid("rotation is less than a second, or more than seven days");
  }
  return absl::OkStatus();
}

void Expand(const std::array<uint8_t, 32>& secret, std::string_view label,
            uint8_t* out, size_t size) {
  ABSL_CHECK_EQ(
      HKDF_expand(out, size, EVP_sha256(), secret.data(), secret.size(),
                  reinterpret_cast<const uint8_t*>(label.data()), label.size()),
      1);
}

std::string Hex(const std::array<uint8_t, 32>& secret) {
  return absl::BytesToHexString(
      {reinterpret_cast<const char*>(secret.data()), secret.size()});
}

bool ParseSecret(std::string_view digits, std::array<uint8_t, 32>& secret) {
  std::string bytes;
  if (digits.size() != 2 * secret.size() ||
      !std::all_of(digits.begin(), digits.end(), absl::ascii_isxdigit) ||
      !absl::HexStringToBytes(digits, &bytes)) {
    return false;
  }
  std::memcpy(secret.data(), bytes.data(), secret.size());
  tls_internal::Wipe(bytes);
  return true;
}

}  // namespace

absl::StatusOr<std::shared_ptr<TlsTicketKeys>> TlsTicketKeys::Create(
    TlsTicketKeysOptions options) {
  if (absl::Status status = Check(options); !status.ok()) return status;
  if (options.clock == nullptr) options.clock = &Clock::System();
  std::shared_ptr<TlsTicketKeys> keys(new TlsTicketKeys(std::move(options)));
  if (absl::Status status = keys->Begin(); !status.ok()) return status;
  return keys;
}

TlsTicketKeys::TlsTicketKeys(TlsTicketKeysOptions options)
    : options_(std::move(options)) {}

TlsTicketKeys::~TlsTicketKeys() {
  OPENSSL_cleanse(&secrets_, sizeof(secrets_));
  OPENSSL_cleanse(&current_, sizeof(current_));
  OPENSSL_cleanse(&previous_, sizeof(previous_));
}

absl::Status TlsTicketKeys::Begin() {
  const absl::MutexLock lock(&mutex_);
  secrets_.period = PeriodNow() - 1;
  for (Secret* const one : {&secrets_.of_period, &secrets_.of_next_stride}) {
    RAND_bytes(one->data(), one->size());
  }
  if (!options_.file.empty()) {
    absl::Status begun = BeginWithFile();
    if (!begun.ok()) return begun;
  }
  DeriveKeys();
  if (!Advance() || options_.file.empty()) return absl::OkStatus();
  return Save(IfThere::kReplace);
}

// Of two processes that begin at the same time, the secret of the first counts.
absl::Status TlsTicketKeys::BeginWithFile() {
  absl::Status loaded = Load();
  if (!absl::IsNotFound(loaded)) return loaded;
  absl::Status saved = Save(IfThere::kKeep);
  return absl::IsAlreadyExists(saved) ? Load() : saved;
}

absl::Status TlsTicketKeys::Load() {
  absl::StatusOr<std::string> text =
      ReadFile(options_.file, tls_internal::Readers::kNotEverybody);
  if (!text.ok()) return text.status();
  const bool parsed = Parse(*text);
  tls_internal::Wipe(*text);
  if (parsed) return absl::OkStatus();
  return Invalid(absl::StrCat(options_.file, " has no keys of tickets, or of ",
                              "another rotation: remove it"));
}

int64_t TlsTicketKeys::PeriodNow() const {
  return std::max<int64_t>(absl::ToUnixSeconds(options_.clock->WallNow()) /
                               absl::ToInt64Seconds(options_.rotation),
                           0);
}

// "fio-ticket-keys-2 PERIOD SECONDS SECRET SECRET": the period then, how
// long it is, the secret of the one before and that of the next stride, in
// hexadecimal digits.
bool TlsTicketKeys::Parse(std::string_view text) {
  const std::vector<std::string_view> words =
      absl::StrSplit(absl::StripAsciiWhitespace(text), ' ');
  int64_t period = 0, seconds = 0;
  if (words.size() != 5 || words[0] != kMagic ||
      !absl::SimpleAtoi(words[1], &period) || period < 0 ||
      !absl::SimpleAtoi(words[2], &seconds) ||
      seconds != absl::ToInt64Seconds(options_.rotation)) {
    return false;
  }
  Secrets read = {.period = period - 1};
  const bool good = ParseSecret(words[3], read.of_period) &&
                    ParseSecret(words[4], read.of_next_stride);
  if (good) secrets_ = read;
  OPENSSL_cleanse(&read, sizeof(read));
  return good;
}

absl::Status TlsTicketKeys::Save(IfThere if_there) const {
  std::string text = absl::StrCat(kMagic, " ", secrets_.period + 1, " ",
                                  absl::ToInt64Seconds(options_.rotation), " ",
                                  Hex(secrets_.of_period), " ",
                                  Hex(secrets_.of_next_stride), "\n");
  absl::Status saved = WriteSecretFile(options_.file, text, if_there);
  tls_internal::Wipe(text);
  return saved;
}

// To the period of now; one that is ahead waits. True if the secrets have
// changed.
bool TlsTicketKeys::Advance() {
  const int64_t before = PeriodNow() - 1;
  const int64_t ahead = secrets_.period - before;
  if (ahead == 0 || ahead == 1) return false;
  const int64_t strides = StrideOf(before) - StrideOf(secrets_.period);
  if (ahead > 1 || strides > kMostStrides) {
    ABSL_LOG(WARNING) << "TlsTicketKeys: the clock has gone "
                      << (ahead > 1 ? "back" : "far ahead")
                      << ": the keys begin anew " << options_.file;
    BeginStride(secrets_, StrideOf(before), "begun anew");
  }
  GoTo(secrets_, before);
  DeriveKeys();
  return true;
}

// The first period of a stride. REQUIRES: it is not the one that it has.
void TlsTicketKeys::BeginStride(Secrets& secrets, int64_t stride,
                                std::string_view label) {
  secrets.period = stride * kPeriodsOfAStride;
  secrets.of_period = Derive(secrets.of_next_stride, label);
  secrets.of_next_stride = Derive(secrets.of_period, kNextStride);
}

// REQUIRES: not back.
void TlsTicketKeys::GoTo(Secrets& secrets, int64_t period) {
  while (StrideOf(secrets.period) < StrideOf(period)) {
    BeginStride(secrets, StrideOf(secrets.period) + 1, "first secret");
  }
  for (; secrets.period < period; ++secrets.period) {
    secrets.of_period = Derive(secrets.of_period, "next secret");
  }
}

void TlsTicketKeys::DeriveKeys() {
  previous_ = KeyOf(secrets_.of_period);
  Secrets current = secrets_;
  GoTo(current, current.period + 1);
  current_ = KeyOf(current.of_period);
  OPENSSL_cleanse(&current, sizeof(current));
}

void TlsTicketKeys::Rotate() {
  if (!Advance() || options_.file.empty()) return;
  const absl::Status saved = Save(IfThere::kReplace);
  ABSL_LOG_IF(WARNING, !saved.ok()) << "TlsTicketKeys: " << saved;
}

TlsTicketKeys::Secret TlsTicketKeys::Derive(const Secret& secret,
                                            std::string_view label) {
  Secret derived;
  Expand(secret, label, derived.data(), derived.size());
  return derived;
}

TlsTicketKeys::Key TlsTicketKeys::KeyOf(const Secret& secret) {
  Key key;
  Expand(secret, "name", key.name.data(), key.name.size());
  Expand(secret, "cipher", key.cipher.data(), key.cipher.size());
  Expand(secret, "mac", key.mac.data(), key.mac.size());
  return key;
}

TlsTicketKeys::Key TlsTicketKeys::Current() {
  const absl::MutexLock lock(&mutex_);
  Rotate();
  return current_;
}

std::optional<TlsTicketKeys::Key> TlsTicketKeys::Find(std::string_view name) {
  const absl::MutexLock lock(&mutex_);
  Rotate();
  const auto is_of = [name](const Key& key) {
    return name.size() == key.name.size() &&
           std::memcmp(name.data(), key.name.data(), name.size()) == 0;
  };
  if (is_of(current_)) return current_;
  if (is_of(previous_)) return previous_;
  return std::nullopt;
}

}  // namespace fio
