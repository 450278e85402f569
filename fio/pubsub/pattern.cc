#include "fio/pubsub/pattern.h"

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "fio/pubsub/internal/glob.h"
#include "fio/pubsub/internal/subject.h"

namespace fio {
namespace {

using pubsub_internal::Glob;
using pubsub_internal::SubjectError;
using pubsub_internal::SubjectMatches;
using pubsub_internal::SubjectPrefixBytes;

// As much of it as a message can bear, printable.
std::string Quote(std::string_view text) {
  constexpr size_t kBytes = 100;
  return absl::StrCat("\"", absl::CHexEscape(text.substr(0, kBytes)),
                      text.size() > kBytes ? "\"..." : "\"");
}

}  // namespace

absl::StatusOr<Pattern> Pattern::Compile(std::string_view text,
                                         PatternMode mode) {
  if (text.size() > kMaxTextBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("compile pattern: its ", text.size(),
                     " bytes are more than ", kMaxTextBytes));
  }
  if (mode == PatternMode::kNats) {
    const std::string_view error = SubjectError(text);
    if (!error.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("compile pattern ", Quote(text), ": ", error));
    }
  }
  return Pattern(text, mode);
}

Pattern::Pattern(std::string_view text, PatternMode mode)
    : text_(text), mode_(mode) {
  if (mode == PatternMode::kRedis) {
    glob_ = Glob::Compile(text);
  } else {
    subject_prefix_bytes_ = SubjectPrefixBytes(text);
  }
}

bool Pattern::Matches(std::string_view name) const {
  return mode_ == PatternMode::kRedis ? glob_.Matches(name)
                                      : SubjectMatches(text_, name);
}

std::string_view Pattern::literal_prefix() const {
  return mode_ == PatternMode::kRedis ? std::string_view(glob_.prefix())
                                      : text().substr(0, subject_prefix_bytes_);
}

}  // namespace fio
