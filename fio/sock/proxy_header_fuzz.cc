#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/sock/proxy_header.h"
#include "fio/sock/proxy_tlvs.h"

namespace {

using fio::MakeProxyHeader;
using fio::ProxyHeader;
using fio::ProxyHeaderOptions;
using fio::ProxyHeaderResult;
using Kind = fio::ProxyHeaderResult::Kind;

// Of a copy that ends where its memory ends.
ProxyHeaderResult ParseCopy(std::string_view bytes,
                            const ProxyHeaderOptions& options) {
  const std::unique_ptr<char[]> copy(new char[bytes.size()]);
  bytes.copy(copy.get(), bytes.size());
  return fio::ParseProxyHeader({copy.get(), bytes.size()}, options);
}

void CheckSame(const ProxyHeaderResult& a, const ProxyHeaderResult& b) {
  ABSL_CHECK(a.kind == b.kind);
  ABSL_CHECK_EQ(a.bytes, b.bytes);
  ABSL_CHECK(a.header == b.header);
  ABSL_CHECK_EQ(a.error, b.error);
}

// Each prefix needs more, truly, or has the answer of the whole.
void CheckPrefixes(std::string_view bytes, const ProxyHeaderOptions& options,
                   const ProxyHeaderResult& whole) {
  bool decided = false;
  for (size_t size = 0; size < bytes.size(); ++size) {
    const ProxyHeaderResult part = ParseCopy(bytes.substr(0, size), options);
    if (part.kind != Kind::kNeedsMore) {
      CheckSame(part, whole);
      decided = true;
      // Behind a header all answers are alike; some of them will do.
      if (size > options.max_bytes() + 8) break;
      continue;
    }
    ABSL_CHECK(!decided);
    ABSL_CHECK_GT(part.bytes, size);
    ABSL_CHECK_LE(part.bytes, options.max_bytes());
    if (whole.kind == Kind::kHeader) ABSL_CHECK_LE(part.bytes, whole.bytes);
  }
}

// What was accepted can be said again, and says the same.
void CheckRoundTrip(const ProxyHeader& header) {
  const absl::StatusOr<std::string> made = MakeProxyHeader(header);
  ABSL_CHECK_OK(made.status());
  ProxyHeaderOptions options;
  options.max_v2_bytes = made->size();
  const ProxyHeaderResult again = ParseCopy(*made, options);
  ABSL_CHECK(again.kind == Kind::kHeader) << again.error;
  ABSL_CHECK_EQ(again.bytes, made->size());
  ABSL_CHECK(again.header == header);
  ABSL_CHECK(*MakeProxyHeader(again.header) == *made);
}

void CheckTlvs(const fio::ProxyTlvs& tlvs) {
  fio::ProxyTlvs copy;
  for (const fio::ProxyTlv& tlv : tlvs) {
    ABSL_CHECK(tlvs.Find(tlv.type).has_value());
    ABSL_CHECK_OK(copy.Add(tlv.type, tlv.value));
  }
  ABSL_CHECK(copy == tlvs);
  ABSL_CHECK(tlvs.ssl().has_value() ==
             tlvs.Find(fio::ProxyTlvs::kSsl).has_value());
}

}  // namespace

// The first byte chooses the options, the rest is what arrives.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data + 1),
                               size - 1);
  ProxyHeaderOptions options;
  options.versions =
      static_cast<ProxyHeaderOptions::Versions>(1 + (data[0] & 3) % 3);
  constexpr size_t kLimits[] = {536, 16, 60, 300};
  options.max_v2_bytes = kLimits[(data[0] >> 2) & 3];

  const ProxyHeaderResult whole = ParseCopy(bytes, options);
  CheckPrefixes(bytes, options, whole);
  switch (whole.kind) {
    case Kind::kNeedsMore:
      ABSL_CHECK_GT(whole.bytes, bytes.size());
      ABSL_CHECK_LE(whole.bytes, options.max_bytes());
      break;
    case Kind::kHeader:
      ABSL_CHECK_LE(whole.bytes, bytes.size());
      ABSL_CHECK_LE(whole.bytes, options.max_bytes());
      CheckSame(ParseCopy(bytes.substr(0, whole.bytes), options), whole);
      CheckRoundTrip(whole.header);
      CheckTlvs(whole.header.tlvs);
      break;
    case Kind::kInvalid:
      ABSL_CHECK(absl::IsInvalidArgument(whole.error));
      ABSL_CHECK(whole.error.message().starts_with("PROXY header, byte "));
      ABSL_CHECK_LT(whole.error.message().size(), 500u);
      break;
  }
  return 0;
}
