#include "fio/sock/url.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace fio {
namespace {

struct SchemeTraits {
  std::string_view name;
  Url::Kind kind;
  std::optional<uint16_t> default_port;
  bool secure = false;
};

// In the order of Url::Scheme.
constexpr SchemeTraits kSchemes[] = {
    {"tcp", Url::Kind::kStream, {}},
    {"tcp4", Url::Kind::kStream, {}},
    {"tcp6", Url::Kind::kStream, {}},
    {"udp", Url::Kind::kDatagram, {}},
    {"udp4", Url::Kind::kDatagram, {}},
    {"udp6", Url::Kind::kDatagram, {}},
    {"tls", Url::Kind::kStream, {}, true},
    {"http", Url::Kind::kStream, 80},
    {"https", Url::Kind::kStream, 443, true},
    {"ws", Url::Kind::kStream, 80},
    {"wss", Url::Kind::kStream, 443, true},
    {"unix", Url::Kind::kUnix, {}},
};

// The keys that a query may have.
struct KeyTraits {
  std::string_view name;
  bool of_listening;
  bool of_tls;
};
constexpr KeyTraits kKeys[] = {
    {"proxy", true, false},       {"proxy_trust", true, false},
    {"cert", false, true},        {"key", false, true},
    {"ca", false, true},          {"self_signed", true, true},
    {"server_name", false, true}, {"alpn", false, true},
};

// Those of a scheme, with commas between them.
std::string NamesOfKeys(bool secure) {
  std::string names;
  for (const KeyTraits& key : kKeys) {
    if (key.of_tls && !secure) continue;
    absl::StrAppend(&names, names.empty() ? "" : ", ", key.name);
  }
  return names;
}

// The longest name that DNS knows; see RFC 1035, section 2.3.4.
constexpr size_t kMaxHostBytes = 255;

const SchemeTraits& TraitsOf(Url::Scheme scheme) {
  return kSchemes[static_cast<size_t>(scheme)];
}

bool IsHostCharacter(char c) {
  return absl::ascii_isgraph(static_cast<unsigned char>(c)) &&
         !absl::StrContains("/?#@[]\\", c);
}

bool IsQueryCharacter(char c) {
  return absl::ascii_isgraph(static_cast<unsigned char>(c)) &&
         !absl::StrContains("%#", c);
}

bool IsControlCharacter(char c) {
  return absl::ascii_iscntrl(static_cast<unsigned char>(c));
}

// A scope may follow; what it may be is the system's business.
bool IsIpv6(std::string_view host) {
  const std::string address(host.substr(0, host.find('%')));
  in6_addr ignored;
  return inet_pton(AF_INET6, address.c_str(), &ignored) == 1;
}

bool IsDecimal(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isdigit(static_cast<unsigned char>(c));
  });
}

// The beginning of `text`, for a message.
std::string Quoted(std::string_view text) {
  constexpr size_t kLongest = 24;
  return absl::StrCat("'", absl::CHexEscape(text.substr(0, kLongest)),
                      text.size() > kLongest ? "..." : "", "'");
}

std::optional<uint16_t> ParsePort(std::string_view digits) {
  uint32_t port;
  if (!IsDecimal(digits) || digits.size() > 5 ||
      !absl::SimpleAtoi(digits, &port) || port > 65535) {
    return {};
  }
  return static_cast<uint16_t>(port);
}

// Why ParsePort() makes no port of it.
std::string WhyNoPort(std::string_view text) {
  if (text.empty()) return "the port after ':' is missing";
  uint64_t number;
  if (IsDecimal(text) && (!absl::SimpleAtoi(text, &number) || number > 65535)) {
    return absl::StrCat("port ", Quoted(text), " is above 65535");
  }
  return absl::StrCat(Quoted(text),
                      " is no port, which is one to five digits, 0 to 65535");
}

// Why a query may not have this key; empty if it may.
std::string WhatIsWrongWithKey(std::string_view text, bool secure) {
  const auto* key = std::find_if(
      std::begin(kKeys), std::end(kKeys),
      [text](const KeyTraits& traits) { return traits.name == text; });
  if (key == std::end(kKeys)) {
    return absl::StrCat("the query has no key ", Quoted(text), "; there are ",
                        NamesOfKeys(secure));
  }
  return key->of_tls && !secure
             ? absl::StrCat("'", text, "' is for TLS: for tls, https and wss")
             : "";
}

// Why a text is more than host and port; empty if it is not.
std::string WhatIsTooMuch(std::string_view text) {
  const size_t end = text.find_first_of("/#");
  if (end != std::string_view::npos) {
    return absl::StrCat("leave out ", Quoted(text.substr(end)),
                        "; an address has no path or fragment");
  }
  const size_t user = text.find('@');
  if (user == std::string_view::npos) return "";
  return absl::StrCat("leave out ", Quoted(text.substr(0, user + 1)),
                      "; an address has no user");
}

}  // namespace

absl::StatusOr<Url> Url::Parse(std::string_view text) {
  Url url;
  const std::string wrong = url.Set(text);
  if (wrong.empty()) return url;
  return absl::InvalidArgumentError(absl::StrCat(
      "url '", absl::CHexEscape(text.substr(0, 300)), "': ", wrong));
}

std::string Url::WhatIsWrong(std::string_view text) { return Url().Set(text); }

std::string Url::Set(std::string_view text) {
  if (text.starts_with('/')) {
    scheme_ = Scheme::kUnix;
    return SetPath(text);
  }
  if (text.starts_with("ssl://")) return "the scheme for TLS is tls";
  const size_t colon = text.find("://");
  if (colon == std::string_view::npos) {
    return "no '://'; one looks like tcp://127.0.0.1:3000";
  }
  const auto* scheme =
      std::find_if(std::begin(kSchemes), std::end(kSchemes),
                   [name = text.substr(0, colon)](const SchemeTraits& traits) {
                     return traits.name == name;
                   });
  if (scheme == std::end(kSchemes)) {
    return "the scheme is not one of tcp, tcp4, tcp6, udp, udp4, udp6, tls, "
           "http, https, ws, wss, unix";
  }
  scheme_ = static_cast<Scheme>(scheme - kSchemes);
  text.remove_prefix(colon + 3);
  if (scheme_ == Scheme::kUnix) return SetPath(text);
  const size_t mark = text.substr(0, text.find('#')).find('?');
  std::string wrong = SetHostAndPort(text.substr(0, mark));
  if (!wrong.empty() || mark == std::string_view::npos) return wrong;
  return SetQuery(text.substr(mark + 1));
}

std::string Url::SetQuery(std::string_view text) {
  if (kind() == Kind::kDatagram) {
    return absl::StrCat("leave out ", Quoted(absl::StrCat("?", text)),
                        "; a query is for streams over TCP");
  }
  query_ = std::string(text);
  std::vector<std::string_view> keys;
  for (const std::string_view pair : absl::StrSplit(text, '&')) {
    const size_t equals = pair.find('=');
    const std::string_view key = pair.substr(0, equals);
    std::string wrong = WhatIsWrongWithKey(key, is_secure());
    if (!wrong.empty()) return wrong;
    if (std::find(keys.begin(), keys.end(), key) != keys.end()) {
      return absl::StrCat("'", key, "' is there twice");
    }
    keys.push_back(key);
    if (equals == std::string_view::npos || equals + 1 == pair.size()) {
      return absl::StrCat("'", key, "' has no value");
    }
    const std::string_view value = pair.substr(equals + 1);
    if (!std::all_of(value.begin(), value.end(), IsQueryCharacter)) {
      return absl::StrCat("'", key, "' has the value ", Quoted(value),
                          ", with a character that no value has");
    }
  }
  return {};
}

std::optional<std::string_view> Url::Find(std::string_view key) const {
  for (const std::string_view pair : absl::StrSplit(query_, '&')) {
    const size_t equals = pair.find('=');
    if (equals != std::string_view::npos && pair.substr(0, equals) == key) {
      return pair.substr(equals + 1);
    }
  }
  return std::nullopt;
}

std::string_view Url::FindAny(Keys keys) const {
  for (const KeyTraits& key : kKeys) {
    const bool counts =
        keys == Keys::kOfListening ? key.of_listening : key.of_tls;
    if (counts && Find(key.name).has_value()) return key.name;
  }
  return {};
}

std::string Url::SetPath(std::string_view text) {
  if (text.empty() || text == "@") return "the path is missing";
  if (std::any_of(text.begin(), text.end(), IsControlCharacter)) {
    return "a control character in the path";
  }
  path_ = std::string(text);
  return {};
}

std::string Url::SetHostAndPort(std::string_view text) {
  if (default_port().has_value()) absl::ConsumeSuffix(&text, "/");
  std::string too_much = WhatIsTooMuch(text);
  if (!too_much.empty()) return too_much;
  const bool bracketed = text.starts_with('[');
  if (!bracketed && std::count(text.begin(), text.end(), ':') > 1) {
    return "an IPv6 address goes in brackets, as in tcp://[::1]:3000";
  }
  const size_t host_end = bracketed ? text.find(']') : text.find(':');
  if (bracketed && host_end == std::string_view::npos) {
    return "'[' without ']'";
  }
  host_ = std::string(bracketed ? text.substr(1, host_end - 1)
                                : text.substr(0, host_end));
  if (host_.size() > kMaxHostBytes ||
      !std::all_of(host_.begin(), host_.end(), IsHostCharacter)) {
    return "that is no host";
  }
  if (bracketed && !IsIpv6(host_)) {
    return "brackets are for IPv6 addresses";
  }
  if (host_end == std::string_view::npos) return {};
  text.remove_prefix(host_end + (bracketed ? 1 : 0));
  if (text.empty()) return {};
  if (text.front() != ':') {
    return absl::StrCat("what follows ']' is ", Quoted(text),
                        " instead of ':' and a port");
  }
  port_ = ParsePort(text.substr(1));
  return port_.has_value() ? "" : WhyNoPort(text.substr(1));
}

bool Url::is_localhost() const {
  const std::string_view host = absl::StripSuffix(host_, ".");
  return absl::EqualsIgnoreCase(host, "localhost") ||
         absl::EndsWithIgnoreCase(host, ".localhost");
}

Url::Kind Url::kind() const { return TraitsOf(scheme_).kind; }

bool Url::is_secure() const { return TraitsOf(scheme_).secure; }

std::optional<uint16_t> Url::default_port() const {
  return TraitsOf(scheme_).default_port;
}

std::string Url::ToString() const {
  const bool bracketed = absl::StrContains(host_, ':');
  return absl::StrCat(TraitsOf(scheme_).name, "://", path_,
                      bracketed ? "[" : "", host_, bracketed ? "]" : "",
                      port_.has_value() ? absl::StrCat(":", *port_) : "",
                      query_.empty() ? "" : "?", query_);
}

}  // namespace fio
