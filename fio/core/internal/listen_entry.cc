#include "fio/core/internal/listen_entry.h"

#include <cstddef>

#include "fio/core/internal/on_finish.h"
#include "fio/core/listener.h"
#include "fio/sock/url.h"

namespace fio::core_internal {

ListenEntry::Sharing ListenEntry::SharingOf(const Url& url,
                                            const ListenOptions& options,
                                            const Servers& servers) {
  const bool is_roots = options.root_only && servers.root_is_apart;
  if (url.kind() == Url::Kind::kUnix || is_roots) return Sharing::kByAll;
  return options.balance == AcceptBalance::kLeastConnections
             ? Sharing::kPerWorker
             : Sharing::kPerLoop;
}

size_t ListenEntry::CountOf(Sharing sharing, const Servers& servers) {
  switch (sharing) {
    case Sharing::kPerLoop:
      return servers.workers * servers.loops;
    case Sharing::kPerWorker:
      return servers.workers;
    case Sharing::kByAll:
      break;
  }
  return 1;
}

// A worker that called Listen() itself has its own sockets.
size_t ListenEntry::SocketOf(size_t worker, size_t loop) const {
  if (servers.workers == 1) worker = 0;  // This one's own.
  switch (sharing) {
    case Sharing::kPerLoop:
      return worker % servers.workers * servers.loops + loop;
    case Sharing::kPerWorker:
      return worker % servers.workers;
    case Sharing::kByAll:
      break;
  }
  return 0;
}

void StopListening(const ListenEntries& entries) {
  for (const auto& [id, entry] : entries) {
    for (const auto& socket : entry->sockets) socket->StopListening();
  }
}

void CallOnFinish(const ListenEntries& entries) {
  for (const auto& [id, entry] : entries) {
    CallIfAny(entry->options->on_finish);
  }
}

}  // namespace fio::core_internal
