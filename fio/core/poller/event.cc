#include "fio/core/poller/event.h"

#include <cstddef>
#include <cstdint>
#include <ostream>
#include <string_view>

namespace fio {
namespace {

struct Name {
  uint32_t bits;
  std::string_view name;
};

// "a|b" of those that `bits` has, or `none`.
template <size_t N>
std::ostream& Print(std::ostream& out, uint32_t bits, const Name (&names)[N],
                    std::string_view none) {
  std::string_view separator;
  for (const Name& name : names) {
    if ((bits & name.bits) == 0) continue;
    out << separator << name.name;
    separator = "|";
  }
  return separator.empty() ? out << none : out;
}

}  // namespace

std::ostream& operator<<(std::ostream& out, Interest interest) {
  static constexpr Name kNames[] = {
      {1, "readable"}, {4, "writable"}, {2, "priority"}};
  return Print(out, interest.bits_, kNames, "");
}

std::ostream& operator<<(std::ostream& out, Readiness readiness) {
  static constexpr Name kNames[] = {{Readiness::kReadable, "readable"},
                                    {Readiness::kWritable, "writable"},
                                    {Readiness::kPriority, "priority"},
                                    {Readiness::kReadClosed, "read closed"},
                                    {Readiness::kHangUp, "hang-up"},
                                    {Readiness::kError, "error"}};
  return Print(out, readiness.bits(), kNames, "nothing");
}

}  // namespace fio
