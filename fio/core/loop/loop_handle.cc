#include "fio/core/loop/loop_handle.h"

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/time/time.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/internal/mailbox.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/protocol_lock.h"
#include "fio/defer/task.h"

namespace fio {

// The task that has the loop run another with its connection, or with none if
// it is dropped. It fits a Task.
class LoopHandle::RunWithConnection {
 public:
  RunWithConnection(Loop& loop, ConnectionId id, ConnectionTask task)
      : loop_(loop), id_(id), task_(std::move(task)) {}
  RunWithConnection(RunWithConnection&&) noexcept = default;
  RunWithConnection& operator=(RunWithConnection&&) = delete;
  ~RunWithConnection() {
    if (task_ != nullptr) task_(nullptr);
  }
  void operator()() { loop_.RunTask(id_, std::move(task_)); }

 private:
  Loop& loop_;
  const ConnectionId id_;
  ConnectionTask task_;
};

bool LoopHandle::Post(Task task) const {
  return mailbox_ != nullptr && mailbox_->tasks.Post(std::move(task));
}

void LoopHandle::Post(ConnectionId id, ConnectionTask task) const {
  if (task == nullptr) return;
  if (mailbox_ == nullptr) {
    task(nullptr);
  } else {
    Post(RunWithConnection(mailbox_->loop, id, std::move(task)));
  }
}

void LoopHandle::Wake() const {
  if (mailbox_ == nullptr) return;
  mailbox_->wake_asked = true;
  mailbox_->tasks.Wake();
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
