#include "fio/sock/listen_defaults.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "fio/sock/url.h"

namespace fio {
namespace {

constexpr uint32_t kFirstPort = 3000;

std::string_view Value(ListenDefaults::GetEnv get_env, const char* name) {
  const char* value = get_env(name);
  return value == nullptr ? "" : value;
}

// `url` with `host` in it, which may be an IPv6 literal without its brackets.
absl::StatusOr<Url> WithHost(const Url& url, std::string_view host) {
  std::string text = url.ToString();
  const bool bare_ipv6 = absl::StrContains(host, ':') && !host.starts_with('[');
  text.insert(text.find("://") + 3,
              bare_ipv6 ? absl::StrCat("[", host, "]") : std::string(host));
  absl::StatusOr<Url> result = Url::Parse(text);
  if (result.ok() && result->port() == url.port() &&
      result->query() == url.query()) {
    return result;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("ADDRESS in the environment is no host: ",
                   result.ok() ? text : result.status().message()));
}

absl::StatusOr<Url> WithPort(const Url& url, std::string_view port) {
  std::string text = url.ToString();
  const size_t query = url.query().empty() ? 0 : url.query().size() + 1;
  text.insert(text.size() - query, absl::StrCat(":", port));
  return Url::Parse(text);
}

}  // namespace

absl::StatusOr<Url> ListenDefaults::Complete(std::string_view text,
                                             GetEnv get_env) {
  absl::StatusOr<Url> url = Url::Parse(text.empty() ? "tcp://" : text);
  if (!url.ok() || url->kind() == Url::Kind::kUnix) return url;
  if (url->host().empty()) {
    std::string_view host = Value(get_env, "ADDRESS");
    if (host.empty() && text.empty()) host = "0.0.0.0";
    if (!host.empty()) url = WithHost(*url, host);
    if (!url.ok()) return url;
  }
  if (url->port().has_value()) return url;
  if (url->default_port().has_value()) {
    return WithPort(*url, absl::StrCat(*url->default_port()));
  }
  uint32_t first = kFirstPort;
  const std::string_view port = Value(get_env, "PORT");
  if (!port.empty()) {
    const absl::StatusOr<Url> parsed = WithPort(*Url::Parse("tcp://"), port);
    if (!parsed.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "PORT in the environment is no port: ", parsed.status().message()));
    }
    first = *parsed->port();
  }
  const uint32_t next = first == 0 ? 0 : first + taken_++;
  return WithPort(*url, absl::StrCat(next));
}

}  // namespace fio
