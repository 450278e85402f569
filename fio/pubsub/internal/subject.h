// Subjects are NATS' patterns and names: tokens with dots between them. In a
// pattern a token "*" is any one token, and a last token ">" one or more. Other
// tokens, "a*" as well, stand for themselves. Names have no wildcards: there,
// "*" and ">" are tokens like others.
//
// An empty token, as those of "a..b" and "a.", is no token: no pattern may have
// one, and a name that has one matches nothing, as in nats-server.

#ifndef FIO_PUBSUB_INTERNAL_SUBJECT_H_
#define FIO_PUBSUB_INTERNAL_SUBJECT_H_

#include <cstddef>
#include <string_view>

namespace fio::pubsub_internal {

// What is wrong with the pattern, in words; empty if nothing is. Refuses what
// nats-server does: empty tokens, ">" before the end, and the white space that
// separates the words of its protocol: space, tab, \r and \n.
std::string_view SubjectError(std::string_view pattern);

// How many of the pattern's bytes each match begins with. REQUIRES: the pattern
// has no error.
size_t SubjectPrefixBytes(std::string_view pattern);

// In one pass, without an allocation. REQUIRES: the pattern has no error.
bool SubjectMatches(std::string_view pattern, std::string_view name);

}  // namespace fio::pubsub_internal

#endif  // FIO_PUBSUB_INTERNAL_SUBJECT_H_
