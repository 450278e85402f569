#include "fio/core/internal/connector_set.h"

#include <memory>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/core/connector.h"
#include "fio/core/internal/on_finish.h"
#include "fio/core/loop/loop.h"

namespace fio::core_internal {

absl::Status ConnectorSet::Start(ConnectorId id, std::string_view url,
                                 ConnectorOptions options) {
  options.on_finish =
      OnlyInThisProcess([this, id, on_finish = std::move(options.on_finish)] {
        loop_.Post([this, id] { connectors_.erase(id); });
        CallIfAny(on_finish);
      });
  absl::StatusOr<std::unique_ptr<Connector>> connector =
      Connector::Create(loop_, resolver_, url, std::move(options));
  if (!connector.ok()) return connector.status();
  connectors_[id] = *std::move(connector);
  return absl::OkStatus();
}

bool ConnectorSet::Cancel(ConnectorId id) {
  const auto found = connectors_.find(id);
  if (found == connectors_.end() ||
      found->second->state() == Connector::State::kFinished) {
    return false;
  }
  const std::unique_ptr<Connector> connector = std::move(found->second);
  connectors_.erase(found);
  return true;
}

// Exchanged first, because on_finish may use the map.
void ConnectorSet::Drop() { std::exchange(connectors_, {}).clear(); }

}  // namespace fio::core_internal
