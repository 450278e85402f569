#include "fio/base/concurrency.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/log/absl_log.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "fio/base/unique_fd.h"

namespace fio {
namespace {

constexpr int kNoLimit = std::numeric_limits<int>::max();

// 64 bits, in which the negative of every int is at home.
int64_t Share(int64_t asked, int64_t other, int64_t cores) {
  if (asked > 0) return asked;
  if (asked < 0) return cores / -asked;
  return other < 0 ? -other : 1;
}

int64_t DefaultThreads(int64_t cores) { return cores > 3 ? cores - 1 : cores; }

int Clamped(int64_t count, int most) {
  return static_cast<int>(std::clamp<int64_t>(count, 1, most));
}

// Empty if there is no such file. Reads of files, unlike those of sockets, are
// not interrupted by signals.
std::string ReadFile(const std::string& path) {
  const UniqueFd file =
      UniqueFd::Created(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string text;
  if (!file) return text;
  char part[4096];
  ssize_t count;
  while ((count = read(file.get(), part, sizeof(part))) > 0) {
    text.append(part, count);
  }
  return text;
}

// A quota of "max" or -1 is none.
int QuotaCores(std::string_view quota_us, std::string_view period_us) {
  int64_t quota;
  int64_t period;
  if (!absl::SimpleAtoi(quota_us, &quota) || quota <= 0) return kNoLimit;
  if (!absl::SimpleAtoi(period_us, &period) || period <= 0) return kNoLimit;
  const int64_t cores = quota / period + (quota % period != 0 ? 1 : 0);
  return static_cast<int>(std::min<int64_t>(cores, kNoLimit));
}

// The limit that one cgroup has of its own, be it of version 2 or 1.
int CgroupCores(const std::string& folder) {
  const std::string max = ReadFile(absl::StrCat(folder, "/cpu.max"));
  const std::pair<std::string_view, std::string_view> quota_and_period =
      absl::StrSplit(max, absl::MaxSplits(' ', 1));
  return std::min(QuotaCores(quota_and_period.first, quota_and_period.second),
                  QuotaCores(ReadFile(folder + "/cpu.cfs_quota_us"),
                             ReadFile(folder + "/cpu.cfs_period_us")));
}

// False for a path as it is outside of our container or cgroup namespace. Then
// our cgroup is, in most containers, what is mounted as the root.
bool IsBelow(const std::string& mount, std::string_view path) {
  return path.starts_with('/') &&
         !absl::c_linear_search(absl::StrSplit(path, '/'), "..") &&
         access(absl::StrCat(mount, path).c_str(), F_OK) == 0;
}

// The tightest limit from the cgroup `path` up to the mount.
int CgroupCoresUpFrom(std::string_view path, const std::string& mount) {
  int cores = CgroupCores(mount);
  if (!IsBelow(mount, path)) return cores;
  std::string folder = absl::StrCat(mount, path);
  while (folder.size() > mount.size()) {
    cores = std::min(cores, CgroupCores(folder));
    folder.resize(folder.rfind('/'));
  }
  return cores;
}

// A line is "0::/path" for version 2 and "4:cpu,cpuacct:/path" for version 1,
// where each group of controllers has a mount of its own. Where both versions
// are mounted, the cpu controller is in one of them.
int CoresOfLine(std::string_view line, const std::string& root) {
  const std::vector<std::string_view> fields =
      absl::StrSplit(line, absl::MaxSplits(':', 2));
  if (fields.size() != 3) return kNoLimit;
  const std::string_view controllers = fields[1];
  const std::string_view path = fields[2];
  if (controllers.empty()) return CgroupCoresUpFrom(path, root);
  if (!absl::c_linear_search(absl::StrSplit(controllers, ','), "cpu")) {
    return kNoLimit;
  }
  // Mostly two names of the same.
  return std::min(
      CgroupCoresUpFrom(path, root + "/cpu"),
      CgroupCoresUpFrom(path, absl::StrCat(root, "/", controllers)));
}

int CgroupLimit(const CoreSources& sources) {
  int cores = kNoLimit;
  const std::string lines = ReadFile(sources.cgroup_of_process);
  for (const std::string_view line : absl::StrSplit(lines, '\n')) {
    cores = std::min(cores, CoresOfLine(line, sources.cgroup_root));
  }
  return cores;
}

int AffinityCores(const CoreSources& sources) {
  constexpr size_t kMostSets = 1024;  // A million CPUs.
  for (size_t sets = 1; sets <= kMostSets; sets *= 2) {
    std::vector<cpu_set_t> mask(sets);
    const size_t size = sets * sizeof(cpu_set_t);
    if (sources.sched_getaffinity(0, size, mask.data()) == 0) {
      return CPU_COUNT_S(size, mask.data());
    }
    if (errno != EINVAL) break;  // EINVAL: the kernel knows of more CPUs.
  }
  return static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
}

}  // namespace

Concurrency ResolveConcurrency(int threads, int workers, int cores) {
  const int64_t shared = std::max(cores, 1);
  const bool is_default = threads == 0 && workers == 0;
  const int64_t t =
      is_default ? DefaultThreads(shared) : Share(threads, workers, shared);
  const int64_t w = Share(workers, threads, shared);
  if (t > Concurrency::kMaxThreads || w > Concurrency::kMaxWorkers) {
    ABSL_LOG_FIRST_N(WARNING, 1)
        << "ResolveConcurrency(" << threads << ", " << workers << ", " << cores
        << "): " << t << " threads and " << w << " workers; at most "
        << Concurrency::kMaxThreads << " and " << Concurrency::kMaxWorkers;
  }
  return {.threads = Clamped(t, Concurrency::kMaxThreads),
          .workers = Clamped(w, Concurrency::kMaxWorkers)};
}

int AvailableCores(const CoreSources& sources) {
  return std::max(1, std::min(AffinityCores(sources), CgroupLimit(sources)));
}

}  // namespace fio
