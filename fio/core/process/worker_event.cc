#include "fio/core/process/worker_event.h"

#include <sys/types.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fio/base/unique_fd.h"

namespace fio {

void WorkerEvent::Pass(Side to, std::string_view name, UniqueFd fd) {
  if (side_ != Side::kNone) return;  // Too late: `fd` is closed.
  std::erase_if(passed_, [to, name](const Passed& each) {
    return each.to == to && each.name == name;
  });
  passed_.push_back({to, std::string(name), std::move(fd)});
}

UniqueFd WorkerEvent::Take(std::string_view name) {
  const auto found = std::find_if(
      passed_.begin(), passed_.end(), [this, name](const Passed& each) {
        return each.to == side_ && each.name == name;
      });
  if (found == passed_.end()) return UniqueFd();
  UniqueFd taken = std::move(found->fd);
  passed_.erase(found);
  return taken;
}

void WorkerEvent::Enter(Side side, pid_t pid) {
  side_ = side;
  pid_ = pid;
  std::erase_if(passed_, [side, pid](const Passed& each) {
    return pid == 0 || each.to != side;
  });
}

}  // namespace fio
