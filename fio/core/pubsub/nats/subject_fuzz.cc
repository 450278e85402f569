#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/log/absl_check.h"
#include "absl/status/statusor.h"
#include "fio/core/pubsub/nats/internal/nats_subject.h"
#include "fio/pubsub/pattern.h"

namespace {

using fio::Pattern;
using fio::PatternMode;
using fio::nats_internal::ChannelOf;
using fio::nats_internal::IsSubject;
using fio::nats_internal::kMaxSubjectBytes;
using fio::nats_internal::SubjectOf;

void CheckIsLegal(std::string_view subject) {
  ABSL_CHECK_LE(subject.size(), kMaxSubjectBytes);
  ABSL_CHECK(!subject.empty());
  ABSL_CHECK_NE(subject.front(), '.');
  ABSL_CHECK_NE(subject.back(), '.');
  ABSL_CHECK_EQ(subject.find(".."), subject.npos);
  for (const char byte : subject) ABSL_CHECK(byte < 0 || byte > ' ');
}

void CheckChannel(std::string_view channel) {
  const std::optional<std::string> subject = SubjectOf(channel);
  if (!subject.has_value()) return;
  CheckIsLegal(*subject);
  ABSL_CHECK(!SubjectOf(*Pattern::Compile(*subject, PatternMode::kNats))
                  ->ends_with(">") ||
             *subject != ">");
  ABSL_CHECK_EQ(IsSubject(channel), *subject == channel);
  ABSL_CHECK(ChannelOf(*subject) == channel);
}

void CheckPattern(std::string_view text, PatternMode mode,
                  std::string_view channel) {
  const absl::StatusOr<Pattern> pattern = Pattern::Compile(text, mode);
  if (!pattern.ok()) return;
  const std::optional<std::string> wanted = SubjectOf(*pattern);
  if (!wanted.has_value()) return;
  CheckIsLegal(*wanted);
  const std::optional<std::string> subject = SubjectOf(channel);
  if (!pattern->Matches(channel) || !subject.has_value()) return;
  ABSL_CHECK(Pattern::Compile(*wanted, PatternMode::kNats)->Matches(*subject));
}

}  // namespace

// The first byte is the length of a pattern, which comes next; the rest is a
// channel, and a subject of somebody else.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data + 1),
                               size - 1);
  const size_t text_size = std::min<size_t>(data[0], bytes.size());
  const std::string_view text = bytes.substr(0, text_size);
  const std::string_view name = bytes.substr(text_size);
  CheckChannel(name);
  CheckPattern(text, PatternMode::kRedis, name);
  CheckPattern(text, PatternMode::kNats, name);
  const std::optional<std::string> channel = ChannelOf(name);
  if (channel.has_value() && name.size() <= kMaxSubjectBytes) {
    ABSL_CHECK(SubjectOf(*channel) == name);
  }
  return 0;
}
