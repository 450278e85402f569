#include "fio/core/pubsub/nats/internal/nats_urls.h"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "fio/sock/url.h"

namespace fio::nats_internal {
namespace {

constexpr int kDefaultPort = 4222;

// With the bytes that "%XX" stand for.
std::optional<std::string> Unescape(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const char byte = text.front();
    text.remove_prefix(1);
    if (byte != '%') {
      out.push_back(byte);
      continue;
    }
    std::string decoded;
    if (text.size() < 2 ||
        !absl::HexStringToBytes(text.substr(0, 2), &decoded)) {
      return std::nullopt;
    }
    out += decoded;
    text.remove_prefix(2);
  }
  return out;
}

absl::Status Wrong(std::string_view scheme, std::string_view rest,
                   std::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("url ", scheme, rest, ": ", what));
}

// "user:password" or "token". What an earlier url has said stays.
bool SetSecrets(std::string_view text, NatsUrls& urls) {
  const std::pair<std::string_view, std::string_view> parts =
      absl::StrSplit(text, absl::MaxSplits(':', 1));
  std::optional<std::string> first = Unescape(parts.first);
  std::optional<std::string> second = Unescape(parts.second);
  if (!first.has_value() || !second.has_value() || first->empty()) return false;
  if (!urls.user.empty() || !urls.token.empty()) return true;
  if (text.find(':') == text.npos) {
    urls.token = *std::move(first);
  } else {
    urls.user = *std::move(first);
    urls.password = *std::move(second);
  }
  return true;
}

absl::Status Add(std::string_view text, NatsUrls& urls) {
  std::string_view rest = text;
  const bool is_secure = absl::ConsumePrefix(&rest, "tls://");
  if (!is_secure && !absl::ConsumePrefix(&rest, "nats://")) {
    const size_t mark = text.find("://");
    return Wrong(text.substr(0, mark == text.npos ? 0 : mark), "",
                 "it should begin with nats:// or tls://");
  }
  const std::string_view scheme = is_secure ? "tls://" : "nats://";
  const size_t query_at = rest.find('?');
  const size_t at = rest.substr(0, query_at).rfind('@');
  const std::string_view secrets = at == rest.npos ? "" : rest.substr(0, at);
  if (at != rest.npos) rest.remove_prefix(at + 1);
  if (at != rest.npos && !SetSecrets(secrets, urls)) {
    return Wrong(scheme, rest, "the name, password or token is malformed");
  }
  // Url knows no scheme of NATS.
  absl::StatusOr<Url> url =
      Url::Parse(absl::StrCat(is_secure ? "tls://" : "tcp://", rest));
  if (!url.ok()) {
    return Wrong(scheme, rest, Url::WhatIsWrong(absl::StrCat("tls://", rest)));
  }
  if (absl::StrContains(url->host(), ',')) {
    return Wrong(scheme, rest, "each url begins with nats:// or tls://");
  }
  if (url->host().empty()) return Wrong(scheme, rest, "the host is missing");
  if (url->port() == 0) return Wrong(scheme, rest, "port 0 is no server's");
  if (!is_secure && !url->query().empty()) {
    return Wrong(scheme, rest, "only tls:// has keys");
  }
  std::string address(rest.substr(0, rest.find('?')));
  if (!url->port().has_value()) absl::StrAppend(&address, ":", kDefaultPort);
  urls.addresses.push_back(std::move(address));
  if (is_secure && !urls.secure) {
    urls.secure = true;
    if (!url->query().empty()) urls.tls_query = absl::StrCat("?", url->query());
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<NatsUrls> NatsUrls::Parse(std::string_view text) {
  NatsUrls urls;
  // A comma may be in a query, too.
  for (size_t end; !text.empty(); text.remove_prefix(end)) {
    absl::ConsumePrefix(&text, ",");
    end = text.find(",nats://");
    const size_t tls = text.find(",tls://");
    if (tls < end) end = tls;
    if (end > text.size()) end = text.size();
    if (absl::Status status = Add(text.substr(0, end), urls); !status.ok()) {
      return status;
    }
  }
  if (urls.addresses.empty()) {
    return absl::InvalidArgumentError("the url of the NATS server is missing");
  }
  return urls;
}

}  // namespace fio::nats_internal
