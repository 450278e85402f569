#include "tests/bench/cpu_time.h"

#include <sys/types.h>
#include <unistd.h>

#include <cstdint>
#include <ctime>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"

namespace fio::bench {

absl::Duration CpuTime(pid_t pid) {
  clockid_t clock;
  timespec time;
  if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &time)) {
    return absl::ZeroDuration();
  }
  return absl::DurationFromTimespec(time);
}

absl::Duration UserTime(pid_t pid) {
  std::ostringstream text;
  text << std::ifstream(absl::StrCat("/proc/", pid, "/stat")).rdbuf();
  // The second field, the name in brackets, may hold anything.
  const std::string stat = text.str();
  const std::vector<std::string> from_second =
      absl::StrSplit(stat.substr(stat.rfind(')') + 1), ' ');
  constexpr size_t kUserTicks = 12;  // The 14th field; see proc(5).
  int64_t ticks = 0;
  if (from_second.size() <= kUserTicks ||
      !absl::SimpleAtoi(from_second[kUserTicks], &ticks)) {
    return absl::ZeroDuration();
  }
  return absl::Seconds(ticks) / sysconf(_SC_CLK_TCK);
}

}  // namespace fio::bench
