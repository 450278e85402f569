#include "fio/core/internal/openings.h"

#include <sys/socket.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/log/absl_log.h"
#include "absl/status/status.h"
#include "fio/core/listen_options.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/core/transport_factory.h"
#include "fio/sock/proxy_header.h"
#include "fio/sock/proxy_transport.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/transport.h"

namespace fio::core_internal {
namespace {

// Whether all connections of a socket that is bound there have that address.
bool IsOfAll(const SocketAddress& local) {
  if (local.family() == AF_UNIX) return true;
  const std::string ip = local.ip();
  return ip != "0.0.0.0" && ip != "::";
}

}  // namespace

// One connection on its way. Whoever has it takes the next step.
class Openings::Opening {
 public:
  using Owner = std::unique_ptr<Opening>;

  Opening(std::shared_ptr<Openings> openings, const SocketAddress& peer)
      : openings_(std::move(openings)),
        peer_(peer),
        local_(openings_->local_) {}
  Opening(const Opening&) = delete;
  Opening& operator=(const Opening&) = delete;
  ~Opening() { openings_->End(); }

  static void Begin(Owner self, Connection& connection);

 private:
  static void TakeHeader(Owner self, Connection& connection,
                         const ProxyTransport* proxy);
  static void StartTransport(Owner self, Connection& connection);
  static void Open(Owner self, Connection& connection);
  static void Fail(Owner self, const absl::Status& why);

  std::unique_ptr<Transport> MakeTransport(Connection& connection) const;
  const ListenOptions& options() const { return *openings_->options_; }

  const std::shared_ptr<Openings> openings_;
  SocketAddress peer_, local_;  // Until a header tells others.
};

void Openings::Opening::Begin(Owner self, Connection& connection) {
  const ListenOptions& options = self->options();
  options.limits.ApplyTo(connection);
  if (!options.proxy.has_value() || !options.proxy->Trusts(self->peer_)) {
    StartTransport(std::move(self), connection);
    return;
  }
  auto transport = std::make_unique<ProxyTransport>(options.proxy->header);
  const ProxyTransport* const proxy = transport.get();
  connection.StartHandshake(
      std::move(transport), options.proxy->timeout,
      [self = std::move(self), proxy](Connection& shaken,
                                      const absl::Status& status) mutable {
        if (status.ok()) {
          TakeHeader(std::move(self), shaken, proxy);
        } else {
          Fail(std::move(self), status);
        }
      });
}

// What follows the header is for the next transport, or for no transport.
void Openings::Opening::TakeHeader(Owner self, Connection& connection,
                                   const ProxyTransport* proxy) {
  const ProxyHeader& header = proxy->header();
  if (header.has_addresses()) {
    self->peer_ = header.source;
    self->local_ = header.destination;
  }
  connection.SetProxyHeader(header);
  connection.SetTransport(nullptr).IgnoreError();
  StartTransport(std::move(self), connection);
}

void Openings::Opening::StartTransport(Owner self, Connection& connection) {
  if (self->options().transport == nullptr) {
    Open(std::move(self), connection);
    return;
  }
  std::unique_ptr<Transport> transport = self->MakeTransport(connection);
  if (!connection.is_open()) {
    Fail(std::move(self), absl::CancelledError("its factory has closed it"));
    return;
  }
  if (transport == nullptr) {
    connection.Abort();
    Fail(std::move(self), absl::InternalError("no transport was made"));
    return;
  }
  const absl::Duration timeout = self->options().handshake_timeout;
  connection.StartHandshake(
      std::move(transport), timeout,
      [self = std::move(self)](Connection& shaken,
                               const absl::Status& status) mutable {
        if (status.ok()) {
          Open(std::move(self), shaken);
        } else {
          Fail(std::move(self), status);
        }
      });
}

std::unique_ptr<Transport> Openings::Opening::MakeTransport(
    Connection& connection) const {
  return options().transport({.role = TransportRequest::Role::kServer,
                              .peer_address = peer_,
                              .local_address = local_,
                              .loop = connection.loop(),
                              .connection = connection.id()});
}

// Others may begin before on_open runs.
void Openings::Opening::Open(Owner self, Connection& connection) {
  const std::shared_ptr<const ListenOptions> options =
      self->openings_->options_;
  self = nullptr;
  options->on_open(connection);
}

void Openings::Opening::Fail(Owner self, const absl::Status& why) {
  const std::shared_ptr<const ListenOptions> options =
      self->openings_->options_;
  const SocketAddress peer = self->peer_;
  self->openings_->failed_.fetch_add(1, std::memory_order_relaxed);
  self = nullptr;
  ABSL_LOG_EVERY_N_SEC(INFO, 1)
      << "a connection of " << peer << " is closed: " << why;
  if (options->on_handshake_failed != nullptr) {
    options->on_handshake_failed(peer, why);
  }
}

Openings::Openings(std::shared_ptr<const ListenOptions> options,
                   const SocketAddress& local, LoopHandle loop)
    : options_(std::move(options)),
      local_(IsOfAll(local) ? local : SocketAddress()),
      loop_(std::move(loop)) {}

bool Openings::Admits(const SocketAddress& peer) const {
  return !options_->proxy.has_value() ||
         options_->proxy->others == ProxyOptions::Others::kPlain ||
         options_->proxy->Trusts(peer);
}

OpenCallback Openings::Begin(const SocketAddress& peer) {
  const bool shakes =
      options_->transport != nullptr ||
      (options_->proxy.has_value() && options_->proxy->Trusts(peer));
  if (!shakes) {
    return [options = options_](Connection& connection) {
      options->limits.ApplyTo(connection);
      options->on_open(connection);
    };
  }
  under_way_.fetch_add(1);
  return [opening = std::make_unique<Opening>(shared_from_this(), peer)](
             Connection& connection) mutable {
    Opening::Begin(std::move(opening), connection);
  };
}

// It looks again after it has said that it waits, since one may have ended in
// between. Then on_room is perhaps called for nothing, which does no harm.
bool Openings::IsFull() {
  const size_t most = options_->max_handshakes;
  if (most == 0 || under_way_ < most) return false;
  awaits_room_ = true;
  if (under_way_ >= most) return true;
  awaits_room_ = false;
  return false;
}

void Openings::End() {
  under_way_.fetch_sub(1);
  if (!awaits_room_.exchange(false)) return;
  loop_.Post([weak = weak_from_this()] {
    const std::shared_ptr<Openings> self = weak.lock();
    if (self != nullptr && self->on_room_) self->on_room_();
  });
}

}  // namespace fio::core_internal
