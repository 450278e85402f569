#include "fio/core/internal/worker_link.h"

#include <unistd.h>

#include <functional>
#include <memory>
#include <utility>

#include "absl/log/absl_log.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "fio/core/loop/loop.h"
#include "fio/core/process/worker_end.h"
#include "fio/core/process/worker_event.h"

namespace fio::core_internal {
namespace {

// No event says when a report can be sent.
constexpr absl::Duration kReportRetry = absl::Milliseconds(10);

}  // namespace

WorkerLink::WorkerLink(std::unique_ptr<WorkerEnd> end, Loop& loop)
    : loop_(loop), end_(std::move(end)), wakes_(loop) {}

absl::Status WorkerLink::Watch() {
  if (end_->must_poll()) PollRoot();
  return wakes_.Add(end_->fds());
}

// Without a pidfd, another process may hide the root's death.
void WorkerLink::PollRoot() {
  loop_.RunAfter(WorkerEnd::kPollInterval, [this] {
    wakes_.NoteWoken();
    if (!root_has_died_) PollRoot();
  });
}

void WorkerLink::StartWatchdog(absl::Duration grace,
                               std::function<void()> on_root_death) const {
  const absl::Status guarded =
      end_->StartWatchdog(grace, std::move(on_root_death));
  if (!guarded.ok()) {
    ABSL_LOG(ERROR) << "worker " << end_->place() << ": " << guarded;
  }
}

WorkerEvent WorkerLink::event() const {
  return WorkerEvent(end_->place(), end_->generation(), getpid());
}

WorkerLink::News WorkerLink::Next() {
  WorkerEnd::Request request = end_->Next();
  News news = {.lent = std::move(request.lent),
               .reload = request.reload,
               .root_died = request.root_died};
  if (news.root_died) {
    root_has_died_ = true;
    wakes_.Clear();  // The descriptors stay readable from now on.
  }
  if (std::exchange(asked_, request.stop) != request.stop) {
    news.stop = request.stop;
  }
  return news;
}

void WorkerLink::TellReady() {
  end_->TellReady();
  SendReports();
}

void WorkerLink::TellDrains() {
  end_->TellDrains();
  SendReports();
}

void WorkerLink::SendReports() {
  if (end_->SendReports() || std::exchange(sends_again_, true)) return;
  loop_.RunAfter(kReportRetry, [this] {
    sends_again_ = false;
    SendReports();
  });
}

}  // namespace fio::core_internal
