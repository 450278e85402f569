// Corners of Redis' patterns, and what PSUBSCRIBE of Redis 7.0.15 says of them.
// pattern_redis_test asks a server anew.

#ifndef FIO_PUBSUB_PATTERN_REDIS_TABLE_H_
#define FIO_PUBSUB_PATTERN_REDIS_TABLE_H_

#include <string_view>

namespace fio::testing {

struct RedisCase {
  std::string_view pattern, name;
  bool matches;
};

using std::string_view_literals::operator""sv;

inline constexpr RedisCase kRedisTable[] = {
    // Stars.
    {"abc*", "abc", true},
    {"news.*", "news.", true},
    {"news.*", "news", false},
    {"news.*", "news.art.figurative", true},
    {"a*", "a", true},
    {"a**", "a", true},
    {"*a*a*a*", "aaa", true},
    {"*a*a*a*", "aa", false},
    {"*a*a*a*", "xaxxaxxax", true},
    {"*ab*ab", "ab", false},
    {"*ab*ab", "abab", true},
    {"*ab*ba*", "aba", false},
    {"ab*ba", "aba", false},
    {"ab*ba", "abba", true},
    {"*", "x", true},
    {"**", "x", true},
    {"*a", "baab", false},
    {"*a?b*", "axaab", true},
    {"*a?b*", "aab", true},
    {"*a?b*", "ab", false},
    // Nothing.
    {"*", "", false},
    {"**", "", false},
    {"", "", true},
    {"", "a", false},
    {"?", "", false},
    {"[^a]", "", false},
    {"a", "", false},
    // Sets.
    {"h[ae]llo", "hello", true},
    {"h[ae]llo", "hillo", false},
    {"h[^e]llo", "hallo", true},
    {"h[^e]llo", "hello", false},
    {"h[!e]llo", "hallo", false},
    {"h[!e]llo", "h!llo", true},
    {"h[a-c]llo", "hbllo", true},
    {"h[a-c]llo", "hdllo", false},
    {"h[c-a]llo", "hbllo", true},
    {"h[^c-a]llo", "hbllo", false},
    {"[ae^]", "^", true},
    {"[^^]", "^", false},
    {"[^^]", "a", true},
    {"[a-cx-z]", "y", true},
    {"[a-a]", "a", true},
    {"[-a]", "-", true},
    {"[a-]", "-", false},  // A range up to ']', not closed,
    {"[a-]", "]", true},   // of which this is an end,
    {"[a-]", "_", true},   // and this between the ends.
    {"[a-]]", "_", true},
    {"[a-]]", "a]", false},
    {"[a-b-c]", "-", true},
    {"[*]", "*", true},
    {"[*]", "a", false},
    {"[?]", "?", true},
    {"[[]", "[", true},
    {"[.-0]", "/", true},
    {"[a-\xFF]", "\xFF", true},  // Bytes of ranges are signed.
    {"[a-\xFF]", "b", false},
    {"[a-\xFF]", "A", true},
    {"[a-\xFF]", "\x80", false},
    {"[\x80-\xFF]", "\xC3", true},
    {"[\x80-\x7F]", "\xC3", true},
    // Sets that end at once, or never.
    {"a[]b]c", "a]c", false},
    {"a[]b]c", "abc", false},
    {"[]", "]", false},
    {"[]", "a", false},
    {"*[]*", "a]", false},
    {"[^]", "a", true},
    {"[^]]", "a", false},
    {"[^]]", "a]", true},
    {"a[b", "ab", true},
    {"a[b", "a[b", false},
    {"a[bc", "ac", true},
    {"a[", "a", false},
    {"a[", "a[", false},
    {"a[^", "ax", true},
    {"a[^b", "ab", false},
    {"[a-", "a", true},
    {"[a-", "-", true},
    {"[a-", "b", false},
    {"[a-c", "b", true},
    {"[a\\", "\\", true},
    {"[\\", "\\", true},
    {"[^\\", "\\", false},
    {"[a-\\", "]", true},
    {"*[b", "ab", true},
    // Backslashes.
    {"a\\*b", "a*b", true},
    {"a\\*b", "axb", false},
    {"a\\*b", "a\\*b", false},
    {"a\\", "a\\", true},
    {"a\\", "a", false},
    {"a\\\\", "a\\", true},
    {"a\\\\*", "a\\b", true},
    {"\\a", "a", true},
    {"\\?", "?", true},
    {"\\?", "a", false},
    {"\\[a]", "[a]", true},
    {"\\[a]", "a", false},
    {"*\\*", "a*", true},
    {"*\\*", "a", false},
    {"[\\]]", "]", true},
    {"[a\\]b]", "]", true},
    {"[a\\]b]", "b", true},
    {"[\\^a]", "^", true},
    {"[\\^a]", "b", false},
    {"[\\a-c]", "b", false},  // 'a', '-' and 'c': no range begins so.
    {"[\\a-c]", "-", true},
    {"[a\\-c]", "b", false},
    {"[a-\\]]", "_", false},  // A range up to the backslash; then "]".
    {"[a-\\]]", "_]", true},
    // Bytes, and their case.
    {"?", "\xC3\xA9", false},
    {"??", "\xC3\xA9", true},
    {"[\xC3\xA9]", "\xC3\xA9", false},
    {"*\xA9", "\xC3\xA9", true},
    {"a", "A", false},
    {"[a-z]", "M", false},
    {"a?c", "a\0c"sv, true},
    {"a\0c"sv, "a\0c"sv, true},
    {"a\0c"sv, "a", false},
    {"a\0*"sv, "a\0\0"sv, true},
    {"a*", "a\0b"sv, true},
    {"a", "a\0"sv, false},
    {"[\0a]"sv, "\0"sv, true},
    {"[^\0]"sv, "\0"sv, false},
    {"[\0"sv, "\0"sv, true},
    {"[", "\0"sv, false},
    {"a*", "a.b/c:d e\n", true},
    {"a.c", "abc", false},
    {"{a,b}", "a", false},
    {"(a|b)+$", "(a|b)+$", true},
};

}  // namespace fio::testing

#endif  // FIO_PUBSUB_PATTERN_REDIS_TABLE_H_
