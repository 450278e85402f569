#include "fio/core/process/internal/child_process.h"

#include <sys/types.h>
#include <sys/wait.h>

#include <cerrno>
#include <string>

#include "absl/strings/str_cat.h"

namespace fio::process_internal {

bool IsOurChild(pid_t pid) {
  siginfo_t info;
  return waitid(P_PID, static_cast<id_t>(pid), &info,
                WEXITED | WNOHANG | WNOWAIT) == 0;
}

void Reap(pid_t pid) {
  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) continue;
}

std::string DescribeEnd(int status) {
  if (WIFSIGNALED(status)) return absl::StrCat("signal ", WTERMSIG(status));
  return absl::StrCat("exit code ", WEXITSTATUS(status));
}

}  // namespace fio::process_internal
