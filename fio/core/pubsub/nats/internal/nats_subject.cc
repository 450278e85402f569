#include "fio/core/pubsub/nats/internal/nats_subject.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/strip.h"
#include "fio/pubsub/pattern.h"

namespace fio::nats_internal {
namespace {

// Whether a token that has it can't be one of a subject.
bool IsForbidden(char byte) {
  return (byte >= 0 && byte <= ' ') || byte == '\x7F';
}

// The bytes that an escaped token has as "%XX".
bool IsEscaped(char byte) {
  return IsForbidden(byte) || byte == '%' || byte == '*' || byte == '>';
}

bool IsToken(std::string_view token) {
  return !token.empty() && token != "*" && token != ">" &&
         !token.starts_with(kEscaped) &&
         std::none_of(token.begin(), token.end(), IsForbidden);
}

constexpr std::string_view kDigits = "0123456789ABCDEF";

void AppendToken(std::string_view token, std::string& out) {
  if (IsToken(token)) {
    out.append(token);
    return;
  }
  out.append(kEscaped);
  for (const char byte : token) {
    if (!IsEscaped(byte)) {
      out.push_back(byte);
      continue;
    }
    out.push_back('%');
    out.push_back(kDigits[static_cast<unsigned char>(byte) >> 4]);
    out.push_back(kDigits[static_cast<unsigned char>(byte) & 15]);
  }
}

// False if AppendToken() makes no such token.
bool AppendChannelToken(std::string_view token, std::string& out) {
  const std::string_view subject_token = token;
  if (!absl::ConsumePrefix(&token, kEscaped)) {
    out.append(token);
    return IsToken(token);
  }
  const size_t begin = out.size();
  while (!token.empty()) {
    char byte = token.front();
    token.remove_prefix(1);
    if (byte == '%') {
      if (token.size() < 2) return false;
      const size_t high = kDigits.find(token[0]);
      const size_t low = kDigits.find(token[1]);
      if (high == kDigits.npos || low == kDigits.npos) return false;
      byte = static_cast<char>(high << 4 | low);
      token.remove_prefix(2);
    }
    out.push_back(byte);
  }
  std::string again;
  AppendToken(std::string_view(out).substr(begin), again);
  return again == subject_token;
}

// Calls `call` with each token, of which there is at least one, until it
// returns false.
template <typename Call>
bool ForEachToken(std::string_view tokens, Call call) {
  while (true) {
    const size_t dot = tokens.find('.');
    if (!call(tokens.substr(0, dot))) return false;
    if (dot == tokens.npos) return true;
    tokens.remove_prefix(dot + 1);
  }
}

void AppendDot(std::string& out, bool& is_first) {
  if (!std::exchange(is_first, false)) out.push_back('.');
}

std::optional<std::string> IfItFits(std::string subject) {
  if (subject.size() > kMaxSubjectBytes) return std::nullopt;
  return subject;
}

// Whether a pattern of Redis stands for one name only, itself.
bool IsLiteral(std::string_view glob) {
  return glob.find_first_of("*?[\\") == glob.npos;
}

std::optional<std::string> SubjectOfGlob(const Pattern& pattern) {
  if (IsLiteral(pattern.text())) return SubjectOf(pattern.text());
  const std::string_view prefix = pattern.literal_prefix();
  const size_t dot = prefix.rfind('.');
  if (dot == prefix.npos) return ">";
  std::optional<std::string> subject = SubjectOf(prefix.substr(0, dot));
  if (subject.has_value()) subject->append(".>");
  return subject;
}

}  // namespace

bool IsSubject(std::string_view channel) {
  return ForEachToken(channel, IsToken);
}

std::optional<std::string> SubjectOf(std::string_view channel) {
  std::string subject;
  bool is_first = true;
  ForEachToken(channel, [&](std::string_view token) {
    AppendDot(subject, is_first);
    AppendToken(token, subject);
    return subject.size() <= kMaxSubjectBytes;
  });
  return IfItFits(std::move(subject));
}

std::optional<std::string> ChannelOf(std::string_view subject) {
  std::string channel;
  bool is_first = true;
  const bool good = ForEachToken(subject, [&](std::string_view token) {
    AppendDot(channel, is_first);
    return AppendChannelToken(token, channel);
  });
  if (!good) return std::nullopt;
  return channel;
}

std::optional<std::string> SubjectOf(const Pattern& pattern) {
  if (pattern.mode() == PatternMode::kRedis) return SubjectOfGlob(pattern);
  std::string subject;
  bool is_first = true;
  ForEachToken(pattern.text(), [&](std::string_view token) {
    AppendDot(subject, is_first);
    if (token == "*" || token == ">") {
      subject.append(token);
    } else {
      AppendToken(token, subject);
    }
    return subject.size() <= kMaxSubjectBytes;
  });
  return IfItFits(std::move(subject));
}

}  // namespace fio::nats_internal
