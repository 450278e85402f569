// A Glob is a compiled pattern of Redis' PSUBSCRIBE. It works byte by byte:
//
//   *         any bytes, none included
//   ?         any one byte
//   [a-cx]    one byte of a set: single bytes and ranges, in either order
//   [^a-c]    one byte that is not in the set
//   \*        the byte behind the backslash, in a set, too
//
// The corners are those of Redis 7.0 on x86-64: a set ends at the first ']', so
// "[]" matches nothing and "[^]" any byte; a set that is not closed ends with
// the pattern; a backslash that ends the pattern is a byte like others; bytes
// of ranges are signed, so "[a-\xFF]" is 0xFF and 0 to 'a'; an empty name
// matches the empty pattern alone.
//
// A Glob takes up to ten times the bytes of its text.
//
// Thread safety: as a std::string.

#ifndef FIO_PUBSUB_INTERNAL_GLOB_H_
#define FIO_PUBSUB_INTERNAL_GLOB_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fio::pubsub_internal {

class Glob {
 public:
  // Matches the empty name.
  Glob() = default;

  // Every text is a pattern. REQUIRES: `text` has at most 65,535 bytes.
  static Glob Compile(std::string_view text);

  // The bytes that each match begins with.
  const std::string& prefix() const { return prefix_; }

  // Neither recurses nor allocates; see MatchSteps() for what it costs.
  bool Matches(std::string_view name) const;

  // How many times Matches(name) compares an element of the pattern with a
  // byte: at most once for each pair of the two, since what lies between two
  // stars is found at the first place and never sought again.
  size_t MatchSteps(std::string_view name) const;

 private:
  friend class GlobReader;

  using ByteSet = std::array<uint64_t, 4>;

  // Matches one byte.
  struct Element {
    enum class Kind : uint8_t { kByte, kAny, kSet };
    Kind kind = Kind::kAny;
    uint8_t byte = 0;  // Of kByte.
    uint16_t set = 0;  // Of kSet, in sets_.
  };

  // The elements from one star to the next.
  struct Run {
    uint32_t begin = 0;
    uint32_t size = 0;
  };

  template <typename Counter>
  bool Match(std::string_view name, Counter& steps) const;
  template <typename Counter>
  bool MatchesAt(const Run& run, const char* bytes, Counter& steps) const;
  // Takes all up to the end of the first match, if there is one.
  template <typename Counter>
  bool Find(const Run& run, std::string_view& name, Counter& steps) const;
  // The first part of `name` that could begin a match. Empty if there is none.
  std::string_view SkipToFirst(const Run& run, std::string_view name) const;

  std::string prefix_;
  std::vector<Element> elements_;  // Of all runs, in order.
  std::vector<Run> runs_ = {Run()};
  std::vector<ByteSet> sets_;  // Each once.
};

}  // namespace fio::pubsub_internal

#endif  // FIO_PUBSUB_INTERNAL_GLOB_H_
