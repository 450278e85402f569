#include "fio/core/pubsub/nats/internal/nats_info.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace fio::nats_internal {
namespace {

// Takes values from the front of a text. Each call is false if the text is not
// so; then no other is made.
class Json {
 public:
  explicit Json(std::string_view text) : rest_(text) {}

  char Peek() const { return rest_.empty() ? '\0' : rest_.front(); }
  bool AtEnd() const { return rest_.empty(); }

  bool Take(std::string_view what) {
    if (!rest_.starts_with(what)) return false;
    rest_.remove_prefix(what.size());
    return true;
  }

  void SkipSpace() {
    const size_t begin = rest_.find_first_not_of(" \t\r\n");
    rest_.remove_prefix(begin == rest_.npos ? rest_.size() : begin);
  }

  // Whether it is there, with space around it.
  bool TakeMark(char mark) {
    SkipSpace();
    if (Peek() != mark || AtEnd()) return false;
    rest_.remove_prefix(1);
    SkipSpace();
    return true;
  }

  bool TakeBool(bool& out) {
    out = Peek() == 't';
    return Take(out ? "true" : "false");
  }

  bool TakeString(std::string& out);
  // An integer that is not negative; with `out` null any number.
  bool TakeNumber(uint64_t* out);
  bool Skip(int depth);

  // Calls `member` with each key; it takes the value.
  template <typename Member>
  bool TakeObject(Member member) {
    if (!TakeMark('{')) return false;
    if (TakeMark('}')) return true;
    std::string key;
    do {
      if (!TakeString(key) || !TakeMark(':') || !member(key)) return false;
    } while (TakeMark(','));
    return TakeMark('}');
  }

  // Calls `item` for each; it takes the value.
  template <typename Item>
  bool TakeArray(Item item) {
    if (!TakeMark('[')) return false;
    if (TakeMark(']')) return true;
    do {
      if (!item()) return false;
    } while (TakeMark(','));
    return TakeMark(']');
  }

 private:
  bool TakeEscape(std::string& out);
  // The four digits of \u.
  std::optional<uint32_t> TakeUnit();
  size_t TakeDigits();

  std::string_view rest_;
};

void AppendUtf8(uint32_t code, std::string& out) {
  const auto add = [&out](uint32_t byte) {
    out.push_back(static_cast<char>(byte));
  };
  if (code < 0x80) return add(code);
  if (code < 0x800) {
    add(0xC0 | code >> 6);
  } else if (code < 0x10000) {
    add(0xE0 | code >> 12);
    add(0x80 | (code >> 6 & 0x3F));
  } else {
    add(0xF0 | code >> 18);
    add(0x80 | (code >> 12 & 0x3F));
    add(0x80 | (code >> 6 & 0x3F));
  }
  add(0x80 | (code & 0x3F));
}

std::optional<uint32_t> Json::TakeUnit() {
  if (rest_.size() < 4) return std::nullopt;
  uint32_t unit = 0;
  for (const char digit : rest_.substr(0, 4)) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    const char lower =
        digit >= 'A' && digit <= 'F' ? static_cast<char>(digit + 32) : digit;
    const size_t value = kDigits.find(lower);
    if (value == kDigits.npos) return std::nullopt;
    unit = unit << 4 | static_cast<uint32_t>(value);
  }
  rest_.remove_prefix(4);
  return unit;
}

bool Json::TakeEscape(std::string& out) {
  if (AtEnd()) return false;
  constexpr std::string_view kFrom = "\"\\/bfnrt";
  constexpr std::string_view kTo = "\"\\/\b\f\n\r\t";
  const char kind = Peek();
  rest_.remove_prefix(1);
  if (kind != 'u') {
    const size_t at = kFrom.find(kind);
    if (at == kFrom.npos) return false;
    out.push_back(kTo[at]);
    return true;
  }
  std::optional<uint32_t> code = TakeUnit();
  if (!code.has_value()) return false;
  if (*code >= 0xD800 && *code < 0xE000) {
    // A pair, the higher one first, makes one character.
    const bool is_high = *code < 0xDC00;
    const std::optional<uint32_t> low =
        is_high && Take("\\u") ? TakeUnit() : std::nullopt;
    if (!low.has_value() || *low < 0xDC00 || *low >= 0xE000) return false;
    code = 0x10000 + ((*code - 0xD800) << 10) + (*low - 0xDC00);
  }
  AppendUtf8(*code, out);
  return true;
}

bool Json::TakeString(std::string& out) {
  out.clear();
  if (!Take("\"")) return false;
  while (!AtEnd()) {
    const char byte = Peek();
    rest_.remove_prefix(1);
    if (byte == '"') return true;
    if (byte >= 0 && byte < ' ') return false;
    if (byte != '\\') {
      out.push_back(byte);
    } else if (!TakeEscape(out)) {
      return false;
    }
  }
  return false;
}

size_t Json::TakeDigits() {
  size_t digits = rest_.find_first_not_of("0123456789");
  if (digits == rest_.npos) digits = rest_.size();
  rest_.remove_prefix(digits);
  return digits;
}

bool Json::TakeNumber(uint64_t* out) {
  if (Take("-") && out != nullptr) return false;
  const std::string_view text = rest_;
  const size_t digits = TakeDigits();
  if (digits == 0 || (digits > 1 && text.front() == '0')) return false;
  if (out != nullptr) {
    if (digits > 19) return false;
    *out = 0;
    for (const char digit : text.substr(0, digits)) {
      *out = *out * 10 + static_cast<uint64_t>(digit - '0');
    }
    return Peek() != '.' && Peek() != 'e' && Peek() != 'E';
  }
  if (Take(".") && TakeDigits() == 0) return false;
  if (Take("e") || Take("E")) {
    if (!Take("+")) Take("-");
    return TakeDigits() != 0;
  }
  return true;
}

bool Json::Skip(int depth) {
  if (depth == 0) return false;
  std::string ignored;
  bool ignored_bool = false;
  switch (Peek()) {
    case '{':
      return TakeObject([&](std::string_view) { return Skip(depth - 1); });
    case '[':
      return TakeArray([&] { return Skip(depth - 1); });
    case '"':
      return TakeString(ignored);
    case 't':
    case 'f':
      return TakeBool(ignored_bool);
    case 'n':
      return Take("null");
    default:
      return TakeNumber(nullptr);
  }
}

bool TakeUrls(Json& json, std::vector<std::string>& urls) {
  urls.clear();
  return json.TakeArray([&] {
    return urls.size() < NatsInfo::kMaxServers &&
           json.TakeString(urls.emplace_back());
  });
}

bool TakeMember(Json& json, std::string_view key, NatsInfo& info) {
  if (key == "server_id") return json.TakeString(info.server_id);
  if (key == "server_name") return json.TakeString(info.server_name);
  if (key == "version") return json.TakeString(info.version);
  if (key == "nonce") return json.TakeString(info.nonce);
  if (key == "connect_urls") return TakeUrls(json, info.connect_urls);
  if (key == "max_payload") return json.TakeNumber(&info.max_payload);
  if (key == "headers") return json.TakeBool(info.headers);
  if (key == "auth_required") return json.TakeBool(info.auth_required);
  if (key == "tls_required") return json.TakeBool(info.tls_required);
  if (key == "tls_available") return json.TakeBool(info.tls_available);
  if (key == "ldm") return json.TakeBool(info.lame_duck);
  return json.Skip(NatsInfo::kMaxDepth);
}

}  // namespace

absl::StatusOr<NatsInfo> NatsInfo::Parse(std::string_view text) {
  Json json(text);
  json.SkipSpace();
  NatsInfo info;
  const bool good = json.TakeObject([&](std::string_view key) {
    return TakeMember(json, key, info);
  }) && json.AtEnd();
  if (!good) {
    return absl::InvalidArgumentError(
        absl::StrCat("INFO is not what a server tells: ", text.substr(0, 64)));
  }
  return info;
}

std::string JsonString(std::string_view text) {
  std::string out = "\"";
  for (const char byte : text) {
    if (byte == '"' || byte == '\\') out.push_back('\\');
    if (byte >= 0 && byte < ' ') {
      absl::StrAppendFormat(&out, "\\u%04x", static_cast<int>(byte));
    } else {
      out.push_back(byte);
    }
  }
  out.push_back('"');
  return out;
}

}  // namespace fio::nats_internal
