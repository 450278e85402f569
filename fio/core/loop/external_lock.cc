#include "fio/core/loop/external_lock.h"

#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/log/absl_log.h"
#include "absl/time/time.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/connections.h"
#include "fio/core/loop/internal/callback_lock.h"
#include "fio/core/loop/internal/connection_extra.h"
#include "fio/core/loop/internal/ended_protocol.h"
#include "fio/core/loop/loop_handle.h"

namespace fio {

using loop_internal::CallbackLock;
using loop_internal::EndedProtocol;

ExternalLock::ExternalLock(Connections& connections)
    : connections_(connections) {}

ExternalLock::~ExternalLock() = default;

void ExternalLock::RunTask(ConnectionId id, ConnectionTask task) {
  Connection* const connection = connections_.Find(id);
  if (connection == nullptr) {
    task(nullptr);
  } else if (!connection->HasWaitingTasks() &&
             connection->lock_.Enter(CallbackLock::kTask,
                                     connections_.membarrier())) {
    task(connection);
    connection->lock_.Leave(CallbackLock::kTask);
  } else {
    connection->extra().waiting_tasks.push_back(std::move(task));
  }
}

void ExternalLock::HoldUp(Connection& connection, EndedProtocol protocol) {
  protocols_.push_back(std::move(protocol));
  HoldUp(connection);
}

// The thread that has locked it may have forgotten it.
void ExternalLock::HoldUp(Connection& connection) {
  const absl::Duration patience = connections_.options().close_timeout;
  connections_.RunAfter(patience, [this, id = connection.id(), patience] {
    if (!Waits(id)) return;
    ABSL_LOG(ERROR) << id << ": its protocol was locked for " << patience
                    << " and never unlocked; it is closed all the same";
    connections_.FindUnburied(id)->lock_.Break();
    OnUnlocked(id);
  });
}

bool ExternalLock::Waits(ConnectionId id) {
  const Connection* const connection = connections_.FindUnburied(id);
  if (connection == nullptr) return false;
  const loop_internal::ConnectionExtra* const extra = connection->FindExtra();
  return (extra != nullptr && (extra->held_up || extra->shutdown_due)) ||
         absl::c_any_of(protocols_, [id](const EndedProtocol& ended) {
           return ended.id == id;
         });
}

void ExternalLock::OnUnlocked(ConnectionId id) {
  connections_.EndHeldUpProtocols();
  Connection* const connection = connections_.FindUnburied(id);
  if (connection == nullptr) return;
  if (connection->FindExtra() != nullptr &&
      std::exchange(connection->extra().held_up, false)) {
    connections_.BuryAgain(*connection);
    return;
  }
  RunWaitingTasks(id);
  connection->TellWhatIsDue();
}

// As far as nobody locks it again; a burial calls the rest.
void ExternalLock::RunWaitingTasks(ConnectionId id) {
  for (;;) {
    Connection* const connection = connections_.Find(id);
    if (connection == nullptr || !connection->HasWaitingTasks() ||
        !connection->lock_.Enter(CallbackLock::kTask,
                                 connections_.membarrier())) {
      return;
    }
    std::vector<ConnectionTask>& waiting = connection->extra().waiting_tasks;
    ConnectionTask task = std::move(waiting.front());
    waiting.erase(waiting.begin());
    task(connection);
    connection->lock_.Leave(CallbackLock::kTask);
  }
}

std::vector<EndedProtocol> ExternalLock::TakeProtocols() {
  return std::exchange(protocols_, {});
}

}  // namespace fio
