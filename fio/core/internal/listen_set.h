// The listeners of a reactor: their sockets, which the root opens, and their
// options. Forked children have a copy. What accepts in a process are its
// Acceptors.
//
// Thread safety: none; all calls are made on the thread of the main loop.

#ifndef FIO_CORE_INTERNAL_LISTEN_SET_H_
#define FIO_CORE_INTERNAL_LISTEN_SET_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/core/internal/listen_entry.h"
#include "fio/core/listener.h"
#include "fio/sock/listen_defaults.h"
#include "fio/sock/listen_socket.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"

namespace fio::core_internal {

class ListenSet {
 public:
  // With `socket_activation` the sockets that a service manager has opened for
  // this process are taken at the first Open().
  explicit ListenSet(bool socket_activation)
      : takes_inherited_(socket_activation) {}

  // Opens as many listening sockets as `servers` need. A socket of the service
  // manager that has the address is used instead. ListenDefaults completes
  // `url`. Errors: those of TakeListenFds(), Listener::Check(), Resolve() and
  // ListenSocket::Listen(). All but the first begin with "listen" and the url.
  absl::StatusOr<ListenerId> Open(std::string_view url, ListenOptions options,
                                  const Servers& servers);

  const ListenEntries& entries() const { return entries_; }
  // Null if no listener has this id.
  std::shared_ptr<const ListenEntry> Find(ListenerId id) const;
  const SocketAddress* FindAddress(ListenerId id) const;

  // Removes the listener; null if none has this id. The caller ends it.
  std::shared_ptr<const ListenEntry> Take(ListenerId id);
  ListenEntries TakeAll();

  // Whether its listeners are to accept. False if no listener has this id.
  bool SetPaused(ListenerId id, bool paused);
  bool is_paused(ListenerId id) const { return paused_.contains(id); }

  // The sockets of the listeners that workers serve, and the worker of each; 0
  // for sockets that all workers share.
  struct Shared {
    size_t worker;
    std::shared_ptr<const ListenSocket> socket;
  };
  std::vector<Shared> SharedSockets() const;

  // Returns what ends listening on all sockets of the set, in every process,
  // for a worker whose root has died. It may be called at any time, on any
  // thread, also when this set has gone; it takes no lock and allocates
  // nothing. A socket that this process has closed is left alone, and so is one
  // that is added later.
  std::function<void()> StopForRoot() const;

  // When nothing accepts: removes all, stops listening on their sockets and
  // calls each on_finish.
  void Drop();

 private:
  absl::Status TakeInherited();
  absl::StatusOr<ListenEntry> OpenEntry(const Url& url,
                                        const ListenOptions& options,
                                        const Servers& servers);

  bool takes_inherited_;
  ListenDefaults defaults_;
  std::vector<ListenSocket> inherited_;
  ListenEntries entries_;
  absl::flat_hash_set<ListenerId> paused_;
  uint64_t last_id_ = 0;
};

}  // namespace fio::core_internal

#endif  // FIO_CORE_INTERNAL_LISTEN_SET_H_
