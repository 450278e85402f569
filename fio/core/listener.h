// A Listener accepts connections on one address and hands them to one loop.
//
// Thread safety: none. It belongs to the thread of its loop.

#ifndef FIO_CORE_LISTENER_H_
#define FIO_CORE_LISTENER_H_

#include <memory>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/loop.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/sock/listen_socket.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"

namespace fio {

struct ListenOptions {
  // Called for each accepted connection, before anything else is told of it. It
  // attaches a protocol or closes.
  absl::AnyInvocable<void(Connection&)> on_open = nullptr;

  // Of the listening socket, and what accepted ones inherit from it.
  ListenSocketOptions socket = {};
};

class Listener {
 public:
  // Listens on the first address of `url` that can be bound; blocks while a
  // name is resolved. `loop` outlives the listener. Errors: kInvalidArgument
  // without an on_open or for datagrams; those of Resolve() and ListenOnAny().
  // All begin with "listen" and the url.
  static absl::StatusOr<std::unique_ptr<Listener>> Create(
      Loop& loop, const Url& url, ListenOptions options);

  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  // As Close(). REQUIRES: not called from on_open.
  ~Listener();

  // Accepts no more, at once; connections that wait in the kernel are reset. It
  // may be called from on_open, which is then not called again.
  void Close();

  // With the real port, also after Close().
  const SocketAddress& local_address() const { return local_address_; }

 private:
  Listener(Loop& loop, ListenSocket socket, ListenOptions options)
      : loop_(loop),
        local_address_(socket.local_address()),
        on_open_(std::move(options.on_open)),
        socket_(std::make_unique<ListenSocket>(std::move(socket))) {}

  absl::Status Watch();
  void AcceptWaiting();
  void Pause(int error);

  Loop& loop_;
  const SocketAddress local_address_;
  absl::AnyInvocable<void(Connection&)> on_open_;
  std::unique_ptr<ListenSocket> socket_;  // Null once closed.
  WatchId watch_ = WatchId::kNone;
  TimerId pause_ = TimerId::kNone;
};

}  // namespace fio

#endif  // FIO_CORE_LISTENER_H_
