// Channels of fio as subjects of NATS, and back.
//
// A channel is any bytes; a subject is tokens with dots between them, without
// spaces and control characters, and none of them empty. A channel whose tokens
// all could be those of a subject is that subject, so others on the same server
// know it by its name: "news.sports". Any other token becomes kEscaped and what
// follows with "%XX" for each byte that a subject can't have:
//
//   "a b.*..c"  is  "%_a%20b.%_%2A.%_.c"
//
// A token that is "*" or ">", that is empty or that begins with kEscaped is
// such a token, too. Each channel has one subject, and no two the same.
//
// Thread safety: functions without state.

#ifndef FIO_CORE_PUBSUB_NATS_INTERNAL_NATS_SUBJECT_H_
#define FIO_CORE_PUBSUB_NATS_INTERNAL_NATS_SUBJECT_H_

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "fio/pubsub/pattern.h"

namespace fio::nats_internal {

inline constexpr std::string_view kEscaped = "%_";

// A server takes lines of 4,096 bytes with the names and numbers in it.
inline constexpr size_t kMaxSubjectBytes = 4000;

// Nothing if the subject would be longer than kMaxSubjectBytes.
std::optional<std::string> SubjectOf(std::string_view channel);

// Whether SubjectOf(channel) is `channel` itself: no copy is needed.
bool IsSubject(std::string_view channel);

// The channel of which it is the subject. Nothing if it is that of none: a
// token begins with kEscaped and goes on as none of ours.
std::optional<std::string> ChannelOf(std::string_view subject);

// A subject with wildcards that the subjects of all channels match that
// `pattern` matches, and others perhaps: what arrives is to be compared with
// the pattern. Of kRedis it is the tokens that are whole before the first
// wildcard, and then ">", which is all if there are none: "news.*" asks for
// "news.>", but "news*" for ">".
std::optional<std::string> SubjectOf(const Pattern& pattern);

}  // namespace fio::nats_internal

#endif  // FIO_CORE_PUBSUB_NATS_INTERNAL_NATS_SUBJECT_H_
