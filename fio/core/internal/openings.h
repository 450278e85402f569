// The Openings of a Listener: its connections between accept and on_open. Each
// reads the PROXY header, if its peer is a trusted proxy, does the handshake of
// its transport, and is then given to on_open, or fails. They go on when the
// Listener has gone.
//
//   if (openings->Admits(peer)) {
//     loop.Adopt(std::move(socket), openings->Begin(peer));
//   }
//
// Thread safety: any thread may call the counts. The Listener's thread calls
// the rest, but what Begin() returns runs on the thread of the loop that serves
// the connection.

#ifndef FIO_CORE_INTERNAL_OPENINGS_H_
#define FIO_CORE_INTERNAL_OPENINGS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "fio/core/listen_options.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/sock/socket_address.h"

namespace fio::core_internal {

class Openings : public std::enable_shared_from_this<Openings> {
 public:
  // `local` is where the Listener listens, `loop` its loop.
  Openings(std::shared_ptr<const ListenOptions> options,
           const SocketAddress& local, LoopHandle loop);
  Openings(const Openings&) = delete;
  Openings& operator=(const Openings&) = delete;
  ~Openings() = default;

  // Whether a peer with that address may connect: if all must be proxies, only
  // those that are trusted.
  bool Admits(const SocketAddress& peer) const;

  // What opens an accepted connection of `peer`. If it is destroyed unused,
  // nothing is told.
  OpenCallback Begin(const SocketAddress& peer);

  // Whether as many as may be are under way. After it has returned true,
  // `on_room` is called once, in a task of the Listener's loop, when one has
  // ended.
  bool IsFull();
  // Null: nobody is told any more.
  void SetOnRoom(std::function<void()> on_room) {
    on_room_ = std::move(on_room);
  }

  size_t under_way() const { return under_way_; }
  uint64_t failed() const { return failed_; }

 private:
  class Opening;

  void End();

  const std::shared_ptr<const ListenOptions> options_;
  const SocketAddress local_;  // None if connections may have others.
  const LoopHandle loop_;
  std::atomic<size_t> under_way_{0};
  std::atomic<uint64_t> failed_{0};
  std::atomic<bool> awaits_room_{false};
  std::function<void()> on_room_;
};

}  // namespace fio::core_internal

#endif  // FIO_CORE_INTERNAL_OPENINGS_H_
