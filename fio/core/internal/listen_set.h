// The listeners of a reactor: their sockets, opened by the root, and what
// accepts on them in this process.
//
// Thread safety: none; the thread of the main loop.

#ifndef FIO_CORE_INTERNAL_LISTEN_SET_H_
#define FIO_CORE_INTERNAL_LISTEN_SET_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/core/internal/loop_group.h"
#include "fio/core/listener.h"
#include "fio/core/loop/loop.h"
#include "fio/sock/listen_socket.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"

namespace fio {

enum class ListenerId : uint64_t;  // See reactor.h.

namespace core_internal {

class ListenSet {
 public:
  // Who accepts.
  struct Servers {
    size_t workers = 1;
    size_t loops = 1;  // Of each worker.
    bool root_is_apart = false;
  };

  // Listens, with as many sockets as `servers` need. A socket of `inherited`
  // that has the address is taken instead. Errors: kInvalidArgument without an
  // on_open or for datagrams; those of Resolve() and ListenSocket::Listen().
  // All begin with "listen" and the url.
  absl::StatusOr<ListenerId> Open(const Url& url, ListenOptions options,
                                  const Servers& servers,
                                  std::vector<ListenSocket>& inherited);

  // Which loops of `group` accept: those of a worker, or the root's, if it is
  // apart.
  static constexpr size_t kRoot = static_cast<size_t>(-1);
  // Has the loops accept for all listeners that are meant for `worker`. Errors:
  // those of Listener::Create().
  absl::Status Accept(LoopGroup& group, size_t worker);
  absl::Status Accept(ListenerId id, LoopGroup& group, size_t worker);

  // Null if there is none.
  const SocketAddress* FindAddress(ListenerId id) const;

  // Also before anything accepts. False if there is none.
  bool SetPaused(ListenerId id, bool paused, LoopGroup& group);
  // Ends what accepts, in this process, then calls on_finish, as a task of the
  // main loop; at once if nothing accepts. False if there is none.
  bool Close(ListenerId id, LoopGroup& group);
  // All of them; then `done`, likewise.
  void CloseAll(LoopGroup& group, std::function<void()> done);
  // All of them, where none accepts; on_finish is called here.
  void Drop() { Finish(std::exchange(entries_, {})); }

  // In a child that has inherited the set: what accepts is the parent's.
  void ForgetAccepting() { accepting_.clear(); }

 private:
  enum class Sharing : uint8_t { kPerLoop, kPerWorker, kByAll };
  struct Entry {
    std::shared_ptr<const ListenOptions> options;
    Sharing sharing;
    Servers servers;
    SocketAddress address;
    std::vector<std::shared_ptr<ListenSocket>> sockets;
  };
  // Each only on its loop's thread.
  using Accepting = absl::flat_hash_map<ListenerId, std::unique_ptr<Listener>>;

  using Entries = absl::flat_hash_map<ListenerId, std::shared_ptr<const Entry>>;

  static void Finish(const Entries& entries);
  static Sharing SharingOf(const Url& url, const ListenOptions& options,
                           const Servers& servers);
  static size_t SocketOf(const Entry& entry, size_t worker, size_t loop);
  Accepting& accepting(size_t loop) { return *accepting_[loop]; }
  void EndAccepting(Accepting::iterator listener, size_t index, Loop& loop);

  Entries entries_;
  absl::flat_hash_set<ListenerId> paused_;
  std::vector<std::unique_ptr<Accepting>> accepting_;
  uint64_t last_id_ = 0;
};

}  // namespace core_internal
}  // namespace fio

#endif  // FIO_CORE_INTERNAL_LISTEN_SET_H_
