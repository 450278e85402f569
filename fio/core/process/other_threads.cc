#include "fio/core/process/other_threads.h"

#if defined(__linux__)
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <array>
#include <cerrno>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "fio/base/spin_wait.h"
#include "fio/base/unique_fd.h"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FIO_THREAD_SANITIZER 1
#endif
#elif defined(__SANITIZE_THREAD__)
#define FIO_THREAD_SANITIZER 1
#endif

namespace fio {
namespace {

#if defined(FIO_THREAD_SANITIZER)
constexpr size_t kThreadsOfTools = 1;  // TSan's own, older than ours.
#else
constexpr size_t kThreadsOfTools = 0;
#endif

#if defined(__linux__)

std::string NameOf(std::string_view thread) {
  const UniqueFd file(
      open(absl::StrCat("/proc/self/task/", thread, "/comm").c_str(),
           O_RDONLY | O_CLOEXEC));
  std::array<char, 64> name;
  const ssize_t size =
      file ? read(file.get(), name.data(), name.size()) : ssize_t{-1};
  if (size <= 0) return "?";
  return std::string(absl::StripSuffix(
      std::string_view(name.data(), static_cast<size_t>(size)), "\n"));
}

// unshare(2) fails with EINVAL if there are other threads; otherwise it changes
// nothing.
std::vector<std::string> FindByUnshare() {
  if (unshare(CLONE_THREAD) != 0 && errno == EINVAL) return {"?"};
  return {};
}

std::vector<std::string> FindOnce() {
  DIR* const tasks = opendir("/proc/self/task");
  if (tasks == nullptr) return FindByUnshare();
  const std::string self = absl::StrCat(syscall(SYS_gettid));
  std::vector<std::string> names;
  bool met_self = false;
  while (const dirent* const entry = readdir(tasks)) {
    const std::string_view thread = entry->d_name;
    if (thread.starts_with('.')) continue;
    if (thread == self) {
      met_self = true;
    } else {
      names.push_back(NameOf(thread));
    }
  }
  closedir(tasks);
  return met_self ? names : FindByUnshare();
}

#else

std::vector<std::string> FindOnce() { return {}; }

#endif

}  // namespace

std::vector<std::string> FindOtherThreads() {
  constexpr int kLooks = SpinWait::kYields + 100;
  SpinWait wait;
  for (int i = 0; i < kLooks; ++i) {
    if (FindOnce().size() <= kThreadsOfTools) return {};
    wait.Pause();
  }
  std::vector<std::string> names = FindOnce();
  if (names.size() <= kThreadsOfTools) return {};
  names.erase(names.begin(), names.begin() + kThreadsOfTools);
  return names;
}

}  // namespace fio
