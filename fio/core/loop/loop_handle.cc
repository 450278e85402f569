#include "fio/core/loop/loop_handle.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "absl/log/absl_log.h"
#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/time/time.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/connections.h"
#include "fio/core/loop/internal/mailbox.h"
#include "fio/core/loop/protocol_lock.h"
#include "fio/defer/task.h"
#include "fio/sock/shared_bytes.h"
#include "fio/sock/socket.h"

namespace fio {

using loop_internal::Mailbox;

// The task that has the loop run another with its connection, or with null if
// the loop ends before. If it could not be posted, it does neither. It fits a
// Task.
class LoopHandle::RunWithConnection {
 public:
  RunWithConnection(Mailbox& mailbox, ConnectionId id, ConnectionTask task)
      : mailbox_(mailbox), id_(id), task_(std::move(task)) {}
  RunWithConnection(RunWithConnection&&) noexcept = default;
  RunWithConnection& operator=(RunWithConnection&&) = delete;
  ~RunWithConnection() {
    if (task_ == nullptr) return;
    const auto& dropping = mailbox_.dropping;
    if (dropping.runs() && dropping.IsThis()) task_(nullptr);
  }
  void operator()() {
    mailbox_.connections->external_lock().RunTask(id_, std::move(task_));
  }

 private:
  Mailbox& mailbox_;
  const ConnectionId id_;
  ConnectionTask task_;
};

// The task that has the loop adopt a socket. It fits a Task. As long as it
// exists and has not run, the socket is in the mailbox's count.
class LoopHandle::AdoptSocket {
 public:
  AdoptSocket(Mailbox& mailbox, Socket socket, OpenCallback on_open)
      : mailbox_(&mailbox),
        socket_(std::move(socket)),
        on_open_(std::move(on_open)) {
    mailbox_->connection_count.fetch_add(1, std::memory_order_relaxed);
  }
  AdoptSocket(AdoptSocket&& other) noexcept
      : mailbox_(std::exchange(other.mailbox_, nullptr)),
        socket_(std::move(other.socket_)),
        on_open_(std::move(other.on_open_)) {}
  AdoptSocket& operator=(AdoptSocket&&) = delete;
  ~AdoptSocket() {
    if (mailbox_ == nullptr) return;
    mailbox_->connection_count.fetch_sub(1, std::memory_order_relaxed);
  }
  void operator()() {
    Connections& connections = *std::exchange(mailbox_, nullptr)->connections;
    const absl::StatusOr<ConnectionId> id = connections.AdoptCounted(
        std::move(socket_),
        [this](Connection& connection) { on_open_(connection); });
    if (!id.ok()) {
      ABSL_LOG_EVERY_N_SEC(WARNING, 1)
          << "a connection that was handed over is closed: " << id.status();
    }
  }

 private:
  Mailbox* mailbox_;  // Null once it has run.
  Socket socket_;
  OpenCallback on_open_;
};

bool LoopHandle::Post(Task task) const {
  return mailbox_ != nullptr && mailbox_->tasks.Post(std::move(task));
}

bool LoopHandle::Post(ConnectionId id, ConnectionTask task) const {
  static_assert(sizeof(RunWithConnection) <= 64,
                "a task without an allocation");
  return task != nullptr && !expired() &&
         Post(RunWithConnection(*mailbox_, id, std::move(task)));
}

void LoopHandle::Wake() const {
  if (mailbox_ == nullptr) return;
  if (!mailbox_->wake_asked.exchange(true)) mailbox_->SendWake();
}

bool LoopHandle::Adopt(Socket socket, OpenCallback on_open) const {
  static_assert(sizeof(AdoptSocket) <= 64, "a task without an allocation");
  return mailbox_ != nullptr && on_open != nullptr &&
         Post(AdoptSocket(*mailbox_, std::move(socket), std::move(on_open)));
}

size_t LoopHandle::connection_count() const {
  return mailbox_ == nullptr
             ? 0
             : mailbox_->connection_count.load(std::memory_order_relaxed);
}

bool LoopHandle::Has(ConnectionId id) const {
  return mailbox_ != nullptr && mailbox_->table.With(id, [](Connection&) {});
}

bool LoopHandle::expired() const {
  return mailbox_ == nullptr || mailbox_->tasks.closed();
}

// --- By id ---

void LoopHandle::Write(ConnectionId id, std::string_view bytes) const {
  Post(id, [copy = std::string(bytes)](Connection* connection) {
    if (connection != nullptr) connection->Write(copy);
  });
}

void LoopHandle::Write(ConnectionId id, absl::Cord bytes) const {
  Post(id, [bytes = std::move(bytes)](Connection* connection) mutable {
    if (connection != nullptr) connection->Write(std::move(bytes));
  });
}

void LoopHandle::Write(ConnectionId id, SharedBytes bytes) const {
  Post(id, [bytes = std::move(bytes)](Connection* connection) mutable {
    if (connection != nullptr) connection->Write(std::move(bytes));
  });
}

void LoopHandle::Close(ConnectionId id, uint16_t code) const {
  Post(id, [code](Connection* connection) {
    if (connection != nullptr) connection->Close(code);
  });
}

void LoopHandle::Abort(ConnectionId id) const {
  Post(id, [](Connection* connection) {
    if (connection != nullptr) connection->Abort();
  });
}

void LoopHandle::Touch(ConnectionId id) const {
  Post(id, [](Connection* connection) {
    if (connection != nullptr) connection->Touch();
  });
}

void LoopHandle::SetTimeout(ConnectionId id, absl::Duration timeout) const {
  Post(id, [timeout](Connection* connection) {
    if (connection != nullptr) connection->SetTimeout(timeout);
  });
}

void LoopHandle::Resume(ConnectionId id) const {
  Post(id, [](Connection* connection) {
    if (connection != nullptr) connection->Resume();
  });
}

void LoopHandle::ResumeHandshake(ConnectionId id) const {
  Post(id, [](Connection* connection) {
    if (connection != nullptr) connection->ResumeHandshake();
  });
}

void LoopHandle::Force(ConnectionId id, Connection::Callback callback) const {
  Post(id, [callback](Connection* connection) {
    if (connection != nullptr) connection->Force(callback);
  });
}

absl::StatusOr<ProtocolLock> LoopHandle::TryLock(
    ConnectionId id, ProtocolLock::Kind kind) const {
  return ProtocolLock::Try(mailbox_, id, kind);
}

}  // namespace fio
