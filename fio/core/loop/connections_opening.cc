#include <atomic>
#include <cerrno>
#include <memory>
#include <optional>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/connection_table.h"
#include "fio/core/loop/connections.h"
#include "fio/core/loop/internal/ended_protocol.h"
#include "fio/core/loop/internal/mailbox.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/poller.h"
#include "fio/sock/socket.h"

namespace fio {

absl::StatusOr<ConnectionId> Connections::Adopt(
    Socket socket, absl::FunctionRef<void(Connection&)> on_open,
    Registered registered) {
  ABSL_DCHECK(thread_.IsThis())
      << "Loop::Adopt: from another thread; see LoopHandle::Adopt()";
  mailbox_.connection_count.fetch_add(1, std::memory_order_relaxed);
  return AdoptCounted(std::move(socket), on_open, registered);
}

// Of a socket that is in the mailbox's count already.
absl::StatusOr<ConnectionId> Connections::AdoptCounted(
    Socket socket, absl::FunctionRef<void(Connection&)> on_open,
    Registered registered) {
  return OpenCounted(
      std::move(socket),
      [this, on_open](Connection& connection) {
        const ConnectionId id = connection.id();
        on_open(connection);
        // It is gone if its descriptor was closed, and another of that number
        // adopted.
        Connection* const opened = table_.Find(id);
        if (opened != nullptr) opened->RequireAttach();
      },
      registered);
}

absl::StatusOr<ConnectionId> Connections::OpenCounted(
    Socket socket, absl::FunctionRef<void(Connection&)> on_open,
    Registered registered) {
  absl::StatusOr<ConnectionId> id =
      Open(std::move(socket), on_open, registered);
  if (!id.ok()) {
    mailbox_.connection_count.fetch_sub(1, std::memory_order_relaxed);
  }
  return id;
}

absl::StatusOr<ConnectionId> Connections::Open(
    Socket socket, absl::FunctionRef<void(Connection&)> on_open,
    Registered registered) {
  if (stopping_) {
    return absl::FailedPreconditionError(
        "adopt a socket: the loop is stopping");
  }
  const int fd = socket.fd();
  if (fd < 0) {
    return absl::InvalidArgumentError("adopt a socket: there is none");
  }
  DropStale(fd);
  const std::optional<ConnectionTable::Entry> entry = table_.Allocate(fd);
  if (!entry.has_value()) {
    if (registered == Registered::kYes) poller_.RemoveForClose(fd, 0);
    return absl::ResourceExhaustedError(
        absl::StrCat("adopt fd ", fd, ": no memory for a connection"));
  }
  const ConnectionId id(fd, entry->serial);
  absl::Status added = Register(id, registered);
  if (!added.ok()) {
    table_.Free(fd);
    return added;
  }
  counters_.opened.Add(1);
  Connection& connection = entry->connection;
  connection.Open(*this, std::move(socket), id.serial());
  on_open(connection);
  return id;
}

absl::Status Connections::Register(ConnectionId id, Registered registered) {
  const Token token = ConnectionTable::TokenOf(id);
  constexpr Interest kAll =
      Interest::kReadable | Interest::kWritable | Interest::kPriority;
  if (registered == Registered::kNo) {
    return poller_.Add(id.fd(), token, kAll, Trigger::kEdge);
  }
  absl::Status modified = poller_.Modify(id.fd(), token, kAll, Trigger::kEdge);
  if (!modified.ok()) poller_.RemoveForClose(id.fd(), token);
  return modified;
}

absl::StatusOr<ConnectionId> Connections::Adopt(
    absl::StatusOr<Socket> socket, std::unique_ptr<Protocol> protocol) {
  absl::StatusOr<ConnectionId> id;
  if (!socket.ok()) {
    id = socket.status();
  } else {
    mailbox_.connection_count.fetch_add(1, std::memory_order_relaxed);
    id = OpenCounted(
        *std::move(socket),
        [&protocol](Connection& connection) {
          if (protocol != nullptr) {
            connection.Attach(std::exchange(protocol, nullptr));
          }
        },
        Registered::kNo);
  }
  if (protocol != nullptr) {
    EndProtocol(std::move(protocol), ConnectionId(),
                {.origin = CloseReason::Origin::kError, .error = EBADF});
  }
  return id;
}

}  // namespace fio
