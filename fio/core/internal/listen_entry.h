// A ListenEntry is one listener of a reactor: its sockets, and which process
// and loop accepts on which of them.
//
// Thread safety: immutable. Loops share entries.

#ifndef FIO_CORE_INTERNAL_LISTEN_ENTRY_H_
#define FIO_CORE_INTERNAL_LISTEN_ENTRY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "fio/core/listener.h"
#include "fio/sock/listen_socket.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"

namespace fio {

enum class ListenerId : uint64_t;  // See reactor.h.

namespace core_internal {

// The processes and loops that accept.
struct Servers {
  size_t workers = 1;
  size_t loops = 1;            // Of each worker.
  bool root_is_apart = false;  // The root is not a worker.
};

// Used instead of a worker's index for a root that is not a worker.
inline constexpr size_t kRoot = static_cast<size_t>(-1);

struct ListenEntry {
  enum class Sharing : uint8_t { kPerLoop, kPerWorker, kByAll };

  static Sharing SharingOf(const Url& url, const ListenOptions& options,
                           const Servers& servers);
  // How many sockets `servers` need.
  static size_t CountOf(Sharing sharing, const Servers& servers);

  // Workers accept on it; they may continue when the root closes it.
  bool is_of_workers() const {
    return servers.root_is_apart && !options->root_only;
  }
  bool is_of_root() const {
    return servers.root_is_apart && options->root_only;
  }

  // How many loops of a worker have a socket of their own.
  size_t sockets_of_worker() const {
    return sharing == Sharing::kPerLoop ? servers.loops : size_t{1};
  }
  // The index of the socket of that loop.
  size_t SocketOf(size_t worker, size_t loop) const;

  AcceptWakes wakes() const {
    return sharing == Sharing::kByAll && !is_of_root() ? AcceptWakes::kOne
                                                       : AcceptWakes::kAll;
  }

  std::shared_ptr<const ListenOptions> options;
  Sharing sharing;
  Servers servers;
  SocketAddress address;
  std::vector<std::shared_ptr<ListenSocket>> sockets;
};

using ListenEntries =
    absl::flat_hash_map<ListenerId, std::shared_ptr<const ListenEntry>>;

// The sockets stop listening in every process, if this process has opened them;
// in a worker, the root's sockets continue to listen.
void StopListening(const ListenEntries& entries);

// Calls on_finish of each.
void CallOnFinish(const ListenEntries& entries);

}  // namespace core_internal
}  // namespace fio

#endif  // FIO_CORE_INTERNAL_LISTEN_ENTRY_H_
