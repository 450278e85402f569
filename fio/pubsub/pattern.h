// A Pattern stands for the names of many channels, in the language of Redis or
// in that of NATS:
//
//   const auto pattern = Pattern::Compile("news.*", PatternMode::kRedis);
//   if (!pattern.ok()) return pattern.status();
//   pattern->Matches("news.sports");  // true
//
// Both compare bytes: case matters, a name may have any bytes, zeros included,
// and a character of UTF-8 is as many as it has. Names are not checked.
//
// A Pattern keeps its text, and in Redis' mode up to ten times as many bytes.
//
// Thread safety: as a std::string; const calls need no lock.

#ifndef FIO_PUBSUB_PATTERN_H_
#define FIO_PUBSUB_PATTERN_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "fio/pubsub/internal/glob.h"

namespace fio {

enum class PatternMode : uint8_t {
  // What PSUBSCRIBE of Redis 7.0 matches, in every corner: '*' is any bytes,
  // dots and none included, '?' any one byte, "[a-c]" and "[^a-c]" one byte of
  // those, or of the others, and '\' takes the meaning from the byte behind it.
  // Every text is a pattern. One difference: a server with the mend of
  // CVE-2024-31228 matches nothing with more than 1,000 stars.
  kRedis,
  // What a subscription of NATS matches: names are tokens with dots between
  // them, "*" is any one token, and ">", at the end only, one or more. So "a.*"
  // matches "a.b" but not "a", "a." or "a.b.c", and "a.>" matches "a.b" and
  // "a.b.c". A name with an empty token, as "a..b", matches nothing.
  kNats,
};

class Pattern {
 public:
  static constexpr size_t kMaxTextBytes = 65'535;

  // Errors: kInvalidArgument if `text` is longer than kMaxTextBytes; in kNats
  // also if it has an empty token or none, a ">" before its last token, or
  // a space, tab, \r or \n. The message names the call and the pattern or its
  // length.
  static absl::StatusOr<Pattern> Compile(std::string_view text,
                                         PatternMode mode);

  // Neither allocates nor recurses, and reads nothing beyond `name`. In kNats
  // it passes the name once. In kRedis only what lies between two stars is
  // tried at more than one place, so a match mostly costs about as many
  // comparisons as the name has bytes, and never more than the bytes of the two
  // multiplied. The longest pattern can take a third of a second for a name as
  // long: refuse long ones where strangers choose both.
  bool Matches(std::string_view name) const;

  std::string_view text() const { return text_; }
  PatternMode mode() const { return mode_; }

  // The bytes that every name begins with that matches: "news." of "news.*" in
  // both modes, "a*" of "a\*?" in kRedis. Of a pattern without wildcards it is
  // the only name that matches. Lives as long as the pattern is unchanged.
  std::string_view literal_prefix() const;

  // The same text in the same mode.
  friend bool operator==(const Pattern& a, const Pattern& b) {
    return a.mode_ == b.mode_ && a.text_ == b.text_;
  }

 private:
  Pattern(std::string_view text, PatternMode mode);

  std::string text_;
  PatternMode mode_;
  pubsub_internal::Glob glob_;       // Of kRedis.
  size_t subject_prefix_bytes_ = 0;  // Of kNats.
};

}  // namespace fio

#endif  // FIO_PUBSUB_PATTERN_H_
