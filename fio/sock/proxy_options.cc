#include "fio/sock/proxy_options.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "fio/sock/address_range.h"
#include "fio/sock/proxy_header.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"

namespace fio {
namespace {

using Versions = ProxyHeaderOptions::Versions;

// What comes before the length in a header of version 2, and the length.
constexpr size_t kShortestV2 = 16;

std::optional<Versions> ParseVersions(std::string_view text) {
  if (text == "v1") return Versions::kV1;
  if (text == "v2") return Versions::kV2;
  if (text == "any") return Versions::kBoth;
  return std::nullopt;
}

absl::StatusOr<std::vector<AddressRange>> ParseRanges(std::string_view text) {
  std::vector<AddressRange> ranges;
  for (const std::string_view one : absl::StrSplit(text, ',')) {
    const absl::StatusOr<AddressRange> range = AddressRange::Parse(one);
    if (!range.ok()) return range.status();
    ranges.push_back(*range);
  }
  return ranges;
}

}  // namespace

bool ProxyOptions::Trusts(const SocketAddress& peer) const {
  return std::any_of(
      trusted.begin(), trusted.end(),
      [&peer](const AddressRange& range) { return range.Contains(peer); });
}

absl::Status ProxyOptions::Check() const {
  if (trusted.empty()) {
    return absl::InvalidArgumentError(
        "no proxy is trusted: name them in ProxyOptions::trusted, or in the "
        "url, as in proxy_trust=10.0.0.0/8,unix:");
  }
  if (timeout <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError("ProxyOptions::timeout is not positive");
  }
  if (header.versions != Versions::kV1 && header.max_v2_bytes < kShortestV2) {
    return absl::InvalidArgumentError(
        "ProxyOptions::header.max_v2_bytes is less than 16");
  }
  return absl::OkStatus();
}

absl::Status ApplyQuery(const Url& url, std::optional<ProxyOptions>& options) {
  if (const std::optional<std::string_view> text = url.Find("proxy")) {
    const std::optional<Versions> versions = ParseVersions(*text);
    if (!versions.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat("proxy=", absl::CHexEscape(text->substr(0, 64)),
                       " is none of v1, v2, any"));
    }
    if (!options.has_value()) options.emplace();
    options->header.versions = *versions;
  }
  const std::optional<std::string_view> text = url.Find("proxy_trust");
  if (!text.has_value()) return absl::OkStatus();
  if (!options.has_value()) {
    return absl::InvalidArgumentError("proxy_trust is there, but proxy is not");
  }
  absl::StatusOr<std::vector<AddressRange>> ranges = ParseRanges(*text);
  if (!ranges.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("proxy_trust: ", ranges.status().message()));
  }
  options->trusted = *std::move(ranges);
  return absl::OkStatus();
}

}  // namespace fio
