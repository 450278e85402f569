#include "fio/sock/url.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace fio {
namespace {

constexpr std::pair<std::string_view, Url::Scheme> kSchemes[] = {
    {"tcp", Url::Scheme::kTcp},
    {"tcp4", Url::Scheme::kTcp4},
    {"tcp6", Url::Scheme::kTcp6},
};

// The longest name that DNS knows; see RFC 1035, section 2.3.4.
constexpr size_t kMaxHostBytes = 255;

absl::Status Malformed(std::string_view text, std::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("url '", absl::CHexEscape(text.substr(0, 300)), "': ", why));
}

bool IsHostCharacter(char c) {
  return absl::ascii_isgraph(static_cast<unsigned char>(c)) &&
         !absl::StrContains("/?#@[]\\", c);
}

std::optional<uint16_t> ParsePort(std::string_view digits) {
  const bool decimal = !digits.empty() && digits.size() <= 5 &&
                       std::all_of(digits.begin(), digits.end(), [](char c) {
                         return absl::ascii_isdigit(c);
                       });
  uint32_t port;
  if (!decimal || !absl::SimpleAtoi(digits, &port) || port > 65535) return {};
  return static_cast<uint16_t>(port);
}

}  // namespace

absl::StatusOr<Url> Url::Parse(std::string_view text) {
  const size_t colon = text.find("://");
  if (colon == std::string_view::npos) {
    return Malformed(text, "no '://'; one looks like tcp://127.0.0.1:3000");
  }
  const auto* scheme = std::find_if(
      std::begin(kSchemes), std::end(kSchemes),
      [&](const auto& s) { return s.first == text.substr(0, colon); });
  if (scheme == std::end(kSchemes)) {
    return Malformed(text, "the scheme is not one of tcp, tcp4, tcp6");
  }
  Url url;
  url.scheme_ = scheme->second;
  std::string_view rest = text.substr(colon + 3);
  const bool bracketed = !rest.empty() && rest.front() == '[';
  const size_t host_end = bracketed ? rest.find(']') : rest.find(':');
  if (bracketed && host_end == std::string_view::npos) {
    return Malformed(text, "'[' without ']'");
  }
  url.host_ = std::string(bracketed ? rest.substr(1, host_end - 1)
                                    : rest.substr(0, host_end));
  if (url.host_.size() > kMaxHostBytes ||
      !std::all_of(url.host_.begin(), url.host_.end(), IsHostCharacter)) {
    return Malformed(text, "that is no host");
  }
  if (bracketed && !absl::StrContains(url.host_, ':')) {
    return Malformed(text, "brackets are for IPv6 addresses");
  }
  if (host_end == std::string_view::npos) return url;
  rest.remove_prefix(host_end + (bracketed ? 1 : 0));
  if (rest.empty()) return url;
  url.port_ = rest.front() == ':' ? ParsePort(rest.substr(1)) : std::nullopt;
  if (!url.port_.has_value()) {
    return Malformed(text,
                     "what follows the host is no ':' and port (0 to 65535)");
  }
  return url;
}

std::string Url::ToString() const {
  const auto* scheme =
      std::find_if(std::begin(kSchemes), std::end(kSchemes),
                   [&](const auto& s) { return s.second == scheme_; });
  const bool bracketed = absl::StrContains(host_, ':');
  return absl::StrCat(scheme->first, "://", bracketed ? "[" : "", host_,
                      bracketed ? "]" : "",
                      port_.has_value() ? absl::StrCat(":", *port_) : "");
}

}  // namespace fio
