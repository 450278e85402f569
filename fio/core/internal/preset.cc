#include "fio/core/internal/preset.h"

#include <functional>
#include <utility>

#include "absl/algorithm/container.h"
#include "fio/base/fork_count.h"
#include "fio/core/internal/on_finish.h"

namespace fio::core_internal {

bool Preset::is_started() const { return started_in_ == ForkCount(); }

void Preset::MarkStarted() { started_in_ = ForkCount(); }

bool Preset::Cancel(ConnectorId id) {
  if (is_started()) return false;
  const auto found = absl::c_find_if(
      connectors_, [id](const Connector& each) { return each.id == id; });
  if (found == connectors_.end()) return false;
  const std::function<void()> on_finish = std::move(found->options.on_finish);
  connectors_.erase(found);
  CallIfAny(on_finish);
  return true;
}

// Empty before the first on_finish, which may add to it.
void Preset::Drop() {
  const Preset dropped = std::exchange(*this, Preset());
  if (dropped.is_started()) return;
  for (const Timer& timer : dropped.timers_) CallIfAny(timer.on_finish);
  for (const Connector& connector : dropped.connectors_) {
    CallIfAny(connector.options.on_finish);
  }
}

}  // namespace fio::core_internal
