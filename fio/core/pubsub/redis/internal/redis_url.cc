#include "fio/core/pubsub/redis/internal/redis_url.h"

#include <string.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace fio::redis_internal {
namespace {

absl::Status Wrong(std::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("url of a Redis server: ", what));
}

// False if an escape is none.
bool Unescape(std::string_view text, std::string& out) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    int value = 0;
    if (text.size() - i < 3 ||
        !absl::ascii_isxdigit(static_cast<unsigned char>(text[i + 1])) ||
        !absl::ascii_isxdigit(static_cast<unsigned char>(text[i + 2])) ||
        !absl::SimpleHexAtoi(text.substr(i + 1, 2), &value)) {
      return false;
    }
    out += static_cast<char>(value);
    i += 2;
  }
  return true;
}

// Takes "user:password@" from the front of `rest`, if it is there.
bool TakeUser(std::string_view& rest, RedisUrl& url) {
  const size_t end = rest.substr(0, rest.find_first_of("/?")).rfind('@');
  if (end == rest.npos) return true;
  const std::string_view who = rest.substr(0, end);
  const size_t colon = who.find(':');
  rest.remove_prefix(end + 1);
  if (!Unescape(who.substr(0, colon), url.user)) return false;
  return colon == who.npos || Unescape(who.substr(colon + 1), url.password);
}

// "host:port/?query" as the address of a stream.
absl::StatusOr<std::string> Address(std::string_view scheme,
                                    std::string_view rest) {
  const size_t question = rest.find('?');
  std::string_view host = rest.substr(0, question);
  const std::string_view query =
      question == rest.npos ? "" : rest.substr(question);
  const size_t slash = host.find('/');
  if (slash != host.npos) {
    if (slash + 1 != host.size()) {
      return Wrong("channels are in no database; leave its number out");
    }
    host.remove_suffix(1);
  }
  if (host.empty()) return Wrong("the host is missing");
  // Behind the brackets of an IPv6 literal, if there are any.
  const size_t bracket = host.rfind(']');
  const bool has_port =
      host.find(':', bracket == host.npos ? 0 : bracket) != host.npos;
  return absl::StrCat(scheme, "://", host, has_port ? "" : ":6379", query);
}

}  // namespace

void Wipe(std::string& secret) {
  explicit_bzero(secret.data(), secret.size());
  secret.clear();
}

RedisUrl::~RedisUrl() { Wipe(password); }

absl::StatusOr<RedisUrl> RedisUrl::Parse(std::string_view text) {
  RedisUrl url;
  std::string_view rest = text;
  std::string_view scheme;
  const bool is_unix = absl::ConsumePrefix(&rest, "redis+unix://");
  if (!is_unix) {
    if (absl::ConsumePrefix(&rest, "redis://")) {
      scheme = "tcp";
    } else if (absl::ConsumePrefix(&rest, "rediss://")) {
      scheme = "tls";
    } else {
      return Wrong("it begins with redis://, rediss:// or redis+unix://");
    }
  }
  if (!TakeUser(rest, url)) return Wrong("a % that begins no escape");
  if (!url.user.empty() && url.password.empty()) {
    return Wrong("a user without a password");
  }
  if (is_unix) {
    if (rest.empty()) return Wrong("the path is missing");
    url.address = absl::StrCat("unix://", rest);
    return url;
  }
  absl::StatusOr<std::string> address = Address(scheme, rest);
  if (!address.ok()) return address.status();
  url.address = *std::move(address);
  return url;
}

}  // namespace fio::redis_internal
