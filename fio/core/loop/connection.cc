#include "fio/core/loop/connection.h"

#include <cerrno>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/move_only_function.h"
#include "fio/base/no_throw.h"
#include "fio/core/loop/connection_end.h"
#include "fio/core/loop/connection_group.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/connections.h"
#include "fio/core/loop/internal/callback_lock.h"
#include "fio/core/loop/internal/connection_extra.h"
#include "fio/core/loop/internal/connection_tell.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_options.h"
#include "fio/core/loop/protocol.h"
#include "fio/sock/environment.h"
#include "fio/sock/io_result.h"
#include "fio/sock/proxy_header.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/transport.h"

namespace fio {

using loop_internal::CallbackLock;
using loop_internal::ConnectionExtra;

void Connection::Open(Connections& connections, Socket socket,
                      uint64_t serial) {
  connections_ = &connections;
  socket_ = std::move(socket);
  socket_.HoldDescriptor(true);
  socket_.AllowHalfOpen();
  static_cast<void>(socket_.TakeRawMoved());  // As in a handshake before.
  last_active_ = connections.now();
  timeout_ms_ = 0;
  flags_ = kWritable;
  SetSerialAndError(serial, 0);
  CountMemory();
}

void Connection::RequireAttach() {
  if (protocol() != nullptr || !is_open()) return;
  const ConnectionExtra* const known = FindExtra();
  if (known != nullptr && (known->detached || known->handshaking)) return;
  extra().must_attach = true;
  ArmIdle();
}

Loop& Connection::loop() { return connections_->loop(); }

// --- Protocol ---

std::unique_ptr<Protocol> Connection::ExchangeProtocol(
    std::unique_ptr<Protocol> protocol) {
  return std::unique_ptr<Protocol>(
      protocol_.exchange(protocol.release(), std::memory_order_acq_rel));
}

bool Connection::Attach(std::unique_ptr<Protocol> protocol) {
  if (protocol == nullptr) {
    Detach();
    return is_open();
  }
  if (!IsServed()) {
    connections_->EndProtocol(
        std::move(protocol), id(),
        {.origin = CloseReason::Origin::kError, .error = EBADF});
    return false;
  }
  Protocol& attached = *protocol;
  std::unique_ptr<Protocol> replaced = ExchangeProtocol(std::move(protocol));
  if (replaced != nullptr) {
    connections_->EndProtocol(std::move(replaced), id(),
                              {.origin = CloseReason::Origin::kReplaced});
  }
  // The end is for the new one to hear, too.
  if (Has(kEndTold)) Set(kReadable | kHungUp);
  Clear(kSuspended | kEndTold | kDataForced);
  if (ConnectionExtra* const extra = FindExtra()) extra->ForgetProtocol();
  Set(kReadyDue);
  Touch();
  ArmIdle();
  connections_->FlushLater(*this);
  DeliverUnread();
  if (Has(kReadable)) connections_->DeliverLater(*this);
  const MonotonicTime began = connections_->BeforeNestedCallback();
  NoThrow([&attached] { return attached.Name(); },
          [&] { attached.OnOpen(*this); });
  connections_->AfterNestedCallback(&attached, began);
  return true;
}

void Connection::Detach() {
  if (!IsServed() || protocol() == nullptr) return;
  connections_->EndProtocol(ExchangeProtocol(nullptr), id(),
                            {.origin = CloseReason::Origin::kReplaced});
  extra().detached = true;
  if (error() != 0) Fail(error());  // Nobody is left to read what came before.
}

bool Connection::Release(MoveOnlyFunction<void(Socket)> take) {
  if (!is_open()) return false;
  extra().release = std::move(take);
  extra().released = true;
  connections_->BuryLater(*this);
  return true;
}

void Connection::Suspend() {
  if (IsServed()) Set(kSuspended);
}

void Connection::Resume() {
  if (!IsServed() || !Has(kSuspended)) return;
  Clear(kSuspended);
  DeliverUnread();
  if (Has(kReadable)) connections_->DeliverLater(*this);
}

// What is left over is not told of by any event.
void Connection::DeliverUnread() {
  if (socket_.unread_bytes() == 0) return;
  Set(kDataForced);
  connections_->DeliverLater(*this);
}

void Connection::Force(Callback callback) {
  if (!IsServed() || protocol() == nullptr) return;
  switch (callback) {
    case Callback::kData:
      Clear(kSuspended);
      Set(kDataForced);
      connections_->DeliverLater(*this);
      break;
    case Callback::kReady:
      Set(kReadyDue);
      connections_->FlushLater(*this);
      break;
    case Callback::kTimeout:
      if (std::exchange(extra().timeout_due, true)) return;
      connections_->loop().Defer([connections = connections_, id = id()] {
        Connection* const connection = connections->Find(id);
        if (connection != nullptr && connection->IsTimeoutDue()) {
          connection->TellTimeout();
        }
      });
      break;
  }
}

// --- Ending ---

void Connection::Close(uint16_t code) {
  if (IsHandshaking()) {
    if (code != 0) extra().code = code;
    FailHandshake(absl::CancelledError(connections_->stopping()
                                           ? "the loop is stopping"
                                           : "the connection was closed"));
    return;
  }
  if (Has(kDead) || socket_.is_closing()) return;
  if (error() == 0 && code != 0) extra().code = code;
  last_active_ = connections_->turn().ReadClock();
  LimitClosing();
  // Otherwise the socket may take what it read last for all there is.
  if (Has(kReadable) && !Has(kEndRead)) static_cast<void>(socket_.Peek());
  if (WantsToLinger()) socket_.LingerAtClose();
  socket_.Close();
  connections_->FlushLater(*this);
}

void Connection::LingerAtClose() {
  if (is_open()) extra().lingers_at_close = true;
}

// Whether the peer is expected to send more, so that closing without a look at
// it would reset the connection.
bool Connection::WantsToLinger() const {
  const ConnectionExtra* const extra = FindExtra();
  const LoopOptions& options = connections_->options();
  return (extra != nullptr && extra->lingers_at_close) ||
         socket_.unread_bytes() > 0 ||
         (connections_->receive_buffer().IsOf(*this) &&
          !connections_->receive_buffer().unread().empty()) ||
         (connections_->stopping() &&
          options.stop_linger > absl::ZeroDuration());
}

// From here on the deadline is that of closing.
void Connection::LimitClosing() {
  const absl::Duration limit = connections_->options().close_limit;
  if (limit == absl::InfiniteDuration()) {
    if (FindExtra() != nullptr) {
      extra().deadline = MonotonicTime::InfiniteFuture();
    }
  } else {
    extra().deadline = last_active_ + limit;
  }
}

// Closing, with something left to do.
void Connection::CloseWhenDrained() {
  ConnectionExtra& extra = this->extra();
  const bool begins = !std::exchange(extra.close_armed, true);
  if (socket_.is_lingering() && !extra.lingers &&
      LingerSpan() > absl::ZeroDuration()) {
    extra.lingers = true;
    extra.unacknowledged = socket_.unacknowledged_bytes();
    last_active_ = connections_->now();
    ArmIdle();
  } else if (begins) {
    ArmIdle();
  }
  if (socket_.is_drained()) {
    connections_->AwaitBytes(*this);
  } else if (!socket_.wants_write()) {
    Set(kReadable);
    connections_->DeliverLater(*this);
  }
}

void Connection::CloseNow(uint16_t code) {
  Close(code);
  if (Has(kDead)) return;
  if (socket_.wants_write()) static_cast<void>(Flush());
  connections_->BuryLater(*this);
}

void Connection::Abort() {
  if (Has(kDead)) return;
  socket_.Abort();
  connections_->BuryLater(*this);
}

void Connection::AbortFor(int error) {
  if (Has(kDead)) return;
  socket_.Abort();
  Fail(error);
}

uint64_t Connection::memory_bytes() const { return socket_.memory_bytes(); }

void Connection::CountMemory() {
  connections_->memory().Add(socket_.CountMemory());
}

void Connection::ShutdownWrite() {
  if (!is_open()) return;
  const IoResult flushed = socket_.ShutdownWrite();
  CountMemory();
  if (flushed.failed()) WriteFailed(flushed.error);
  connections_->FlushLater(*this);
}

void Connection::ShutdownRead() {
  if (is_open()) static_cast<void>(socket_.ShutdownRead());
}

bool Connection::NotifyGone(OnGone gone) {
  if (!is_open() || !gone) return false;
  extra().gone.push_back(std::move(gone));
  return true;
}

void Connection::Unref() {
  if (!is_open() || std::exchange(extra().unref, true)) return;
  connections_->Unref();
}

void Connection::Fail(int error) {
  if (this->error() == 0) SetError(error);
  if (FindExtra() != nullptr) extra().code = 0;
  connections_->BuryLater(*this);
}

void Connection::Shutdown() {
  ConnectionExtra* const known = FindExtra();
  if (known != nullptr && known->shutdown_told) return;
  if (!IsServed()) return;
  absl::Duration stay = absl::ZeroDuration();
  if (protocol() != nullptr && !TellShutdown(stay)) return;
  if (!IsServed()) return;
  if (stay <= absl::ZeroDuration()) {
    Close();
    return;
  }
  extra().shutdown_told = true;
  if (stay == absl::InfiniteDuration()) {
    extra().stays = true;
    connections_->AddStayer();
    return;
  }
  connections_->RunAfter(stay, [connections = connections_, id = id()] {
    Connection* const connection = connections->Find(id);
    if (connection != nullptr) connection->Close();
  });
}

// False if it is told later, or is being told already.
bool Connection::TellShutdown(absl::Duration& stay) {
  if (!connections_->BeginShutdown(id())) return false;
  const bool told = Tell(
      CallbackLock::kTask,
      [this, &stay](Protocol& protocol) { stay = protocol.OnShutdown(*this); });
  connections_->EndShutdown();
  if (!told || Has(kDead)) {
    if (!told) connections_->external_lock().HoldUp(*this);
    if (!told) extra().shutdown_due = true;
    return false;
  }
  if (FindExtra() != nullptr) extra().shutdown_due = false;
  return true;
}

// What the lock of the protocol has held up, but for tasks and the burial.
void Connection::TellWhatIsDue() {
  if (IsTimeoutDue()) TellTimeout();
  if (IsDeadlineDue()) TellDeadline();
  if (FindExtra() != nullptr && FindExtra()->shutdown_due) Shutdown();
  connections_->DeliverLater(*this);
  connections_->FlushLater(*this);
}

// The end of a connection that the table no longer knows; its descriptor is
// still open.
std::unique_ptr<ConnectionExtra> Connection::Bury(const CloseReason& why) {
  connections_->ArmIdle(*this, MonotonicTime::InfiniteFuture());
  // A handshake is told below, and not by what that calls.
  std::unique_ptr<ConnectionExtra> extra(
      static_cast<ConnectionExtra*>(socket_.TakeData().release()));
  socket_.SetShaking(false);  // It may live on.
  if (extra != nullptr) {
    if (extra->group != nullptr) extra->group->Forget(id());
    if (Connection* partner = connections_->FindUnburied(extra->partner)) {
      partner->extra().partner = ConnectionId();
      connections_->FlushLater(*partner);
    }
  }
  connections_->memory().Add(socket_.UncountMemory());
  if (extra == nullptr || !extra->released) socket_.Discard();
  if (extra != nullptr && extra->handshake_done) {
    std::exchange(extra->handshake_done, nullptr)(
        *this, absl::CancelledError(connections_->stopping()
                                        ? "the loop is stopping"
                                        : "the connection has ended"));
  }
  // One whose descriptor was lost is told later, with its protocol.
  if (extra == nullptr || !extra->lost) TellEnds(extra.get(), why);
  if (const std::unique_ptr<Protocol> protocol = ExchangeProtocol(nullptr)) {
    NoThrow([&protocol] { return protocol->Name(); },
            [&] { protocol->OnClose(*this, why); });
    connections_->AfterCallback(protocol.get());
  }
  return extra;
}

bool Connection::AddEnd(ConnectionEnd& end) {
  if (!is_open()) return false;
  end.Unlink();
  end.LinkBefore(extra().ends);
  return true;
}

// One that is told may add none, but remove and destroy others.
void Connection::TellEnds(ConnectionExtra* extra, const CloseReason& reason) {
  if (extra == nullptr) return;
  while (!extra->ends.alone()) {
    auto& end = static_cast<ConnectionEnd&>(*extra->ends.next);
    end.Remove();
    end.OnConnectionEnd(*this, reason);
  }
}

CloseReason Connection::reason() const {
  using Origin = CloseReason::Origin;
  const ConnectionExtra* const extra = FindExtra();
  if (extra != nullptr && extra->released) return {.origin = Origin::kReleased};
  const Origin origin = Has(kEndTold) ? Origin::kPeer : Origin::kLocal;
  CloseReason reason = {.origin = origin};
  if (extra != nullptr && extra->code != 0) {
    reason.code = extra->code;
  } else if (error() != 0) {
    reason = {.origin = Origin::kError, .error = error()};
  }
  if (extra != nullptr) reason.detail = extra->detail;
  return reason;
}

// --- What it is made of ---

ConnectionExtra& Connection::extra() {
  ConnectionExtra* extra = FindExtra();
  if (extra == nullptr) {
    auto made = std::make_unique<ConnectionExtra>();
    extra = made.get();
    socket_.SetData(std::move(made));
  }
  return *extra;
}

bool Connection::is_handshaking() const { return IsHandshaking(); }

ConnectionGroup* Connection::group() const {
  const ConnectionExtra* const extra = FindExtra();
  return extra == nullptr ? nullptr : extra->group;
}

const ProxyHeader* Connection::proxy_header() const {
  const ConnectionExtra* const extra = FindExtra();
  return extra == nullptr ? nullptr : extra->proxy_header.get();
}

void Connection::SetProxyHeader(const ProxyHeader& header) {
  if (!is_open()) return;
  extra().proxy_header = std::make_unique<const ProxyHeader>(header);
}

SocketAddress Connection::local_address() const {
  const ProxyHeader* const header = proxy_header();
  return header != nullptr && header->has_addresses() ? header->destination
                                                      : raw_local_address();
}

SocketAddress Connection::peer_address() const {
  const ProxyHeader* const header = proxy_header();
  return header != nullptr && header->has_addresses() ? header->source
                                                      : raw_peer_address();
}

absl::Status Connection::SetTransport(std::unique_ptr<Transport> transport) {
  if (connections_->receive_buffer().IsOf(*this)) KeepUnread();
  absl::Status set = socket_.SetTransport(std::move(transport));
  if (set.ok()) TransportChanged();
  return set;
}

std::unique_ptr<Transport> Connection::ReplaceTransport(
    std::unique_ptr<Transport> transport) {
  if (connections_->receive_buffer().IsOf(*this)) KeepUnread();
  std::unique_ptr<Transport> replaced =
      socket_.ReplaceTransport(std::move(transport));
  TransportChanged();
  return replaced;
}

// It may hold bytes that no edge tells of.
void Connection::TransportChanged() {
  if (!is_open()) return;
  CountMemory();
  Set(kReadable);
  connections_->DeliverLater(*this);
  connections_->FlushLater(*this);
}

absl::Status Connection::SetEnv(Environment::Key key, void* object,
                                Environment::OnClose on_close) {
  return socket_.SetEnv(key, object, std::move(on_close));
}

}  // namespace fio
