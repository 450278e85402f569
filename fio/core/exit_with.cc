#include "fio/core/exit_with.h"

#include <csignal>
#include <cstdio>
#include <string>

#include "absl/status/status.h"

namespace fio {

int ExitWith(const absl::Status& status) {
  std::signal(SIGPIPE, SIG_IGN);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return 1;
}

}  // namespace fio
