#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_split.h"
#include "fio/pubsub/internal/glob.h"
#include "fio/pubsub/pattern.h"

namespace {

using fio::Pattern;
using fio::PatternMode;

// The languages once more: slow, recursive, straight from the text.

// Whether the set that `pattern` begins with, behind its '[', has the byte;
// takes the set.
bool TakeSet(std::string_view& pattern, char byte) {
  bool inverted = false;
  bool found = false;
  size_t at = 0;
  if (at < pattern.size() && pattern[at] == '^') {
    inverted = true;
    ++at;
  }
  for (; at < pattern.size() && pattern[at] != ']'; ++at) {
    signed char low = static_cast<signed char>(pattern[at]);
    signed char high = low;
    if (low == '\\' && at + 1 < pattern.size()) {
      low = high = static_cast<signed char>(pattern[++at]);
    } else if (at + 2 < pattern.size() && pattern[at + 1] == '-') {
      high = static_cast<signed char>(pattern[at += 2]);
    }
    const auto value = static_cast<signed char>(byte);
    found |= (low <= value && value <= high) || (high <= value && value <= low);
  }
  pattern.remove_prefix(std::min(at + 1, pattern.size()));
  return found != inverted;
}

bool SlowGlob(std::string_view pattern, std::string_view name) {
  if (pattern.empty()) return name.empty();
  if (pattern[0] == '*') {
    return SlowGlob(pattern.substr(1), name) ||
           (!name.empty() && SlowGlob(pattern, name.substr(1)));
  }
  if (name.empty()) return false;
  const char byte = name[0];
  const std::string_view rest = name.substr(1);
  if (pattern[0] == '?') return SlowGlob(pattern.substr(1), rest);
  if (pattern[0] == '[') {
    pattern.remove_prefix(1);
    return TakeSet(pattern, byte) && SlowGlob(pattern, rest);
  }
  if (pattern[0] == '\\' && pattern.size() > 1) pattern.remove_prefix(1);
  return pattern[0] == byte && SlowGlob(pattern.substr(1), rest);
}

using TokenIterator = std::vector<std::string_view>::const_iterator;

bool SlowSubject(TokenIterator want, TokenIterator want_end,
                 TokenIterator token, TokenIterator end) {
  if (want == want_end || token == end) return want == want_end && token == end;
  if (*want == ">") return true;
  return (*want == "*" || *want == *token) &&
         SlowSubject(want + 1, want_end, token + 1, end);
}

bool SlowMatches(const Pattern& pattern, std::string_view name) {
  if (pattern.mode() == PatternMode::kRedis) {
    // A star matches nothing, but in an empty name.
    if (name.empty()) return pattern.text().empty();
    return SlowGlob(pattern.text(), name);
  }
  const std::vector<std::string_view> want =
      absl::StrSplit(pattern.text(), '.');
  const std::vector<std::string_view> tokens = absl::StrSplit(name, '.');
  if (std::find(tokens.begin(), tokens.end(), "") != tokens.end()) return false;
  return SlowSubject(want.begin(), want.end(), tokens.begin(), tokens.end());
}

void Check(std::string_view text, PatternMode mode, std::string_view name) {
  const absl::StatusOr<Pattern> pattern = Pattern::Compile(text, mode);
  if (!pattern.ok()) {
    ABSL_CHECK(absl::IsInvalidArgument(pattern.status()));
    ABSL_CHECK_LT(pattern.status().message().size(), 500u);
    ABSL_CHECK(mode == PatternMode::kNats || text.size() > 65'535);
    return;
  }
  // A copy that ends where its memory ends.
  const std::unique_ptr<char[]> copy(new char[name.size()]);
  name.copy(copy.get(), name.size());
  const bool matches = pattern->Matches({copy.get(), name.size()});
  if (matches) ABSL_CHECK(name.starts_with(pattern->literal_prefix()));
  // Each star multiplies what the slow one tries.
  constexpr size_t kSlowBytes = 20;
  constexpr int kSlowStars = 5;
  if (text.size() <= kSlowBytes && name.size() <= kSlowBytes &&
      std::count(text.begin(), text.end(), '*') <= kSlowStars) {
    ABSL_CHECK_EQ(matches, SlowMatches(*pattern, name));
  }
  if (mode == PatternMode::kRedis) {
    ABSL_CHECK_LE(fio::pubsub_internal::Glob::Compile(text).MatchSteps(name),
                  text.size() * name.size());
  }
}

}  // namespace

// The first byte is the length of the pattern, which comes next; the rest is
// the name. Both modes get them.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data + 1),
                               size - 1);
  const size_t text_size = std::min<size_t>(data[0], bytes.size());
  const std::string_view text = bytes.substr(0, text_size);
  const std::string_view name = bytes.substr(text_size);
  Check(text, PatternMode::kRedis, name);
  Check(text, PatternMode::kNats, name);
  return 0;
}
