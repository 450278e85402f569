#include "fio/core/tls/tls_slot.h"

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "fio/tls/tls_context.h"

namespace fio {
namespace {

absl::StatusOr<std::shared_ptr<const TlsContext>> Ask(
    const TlsSlot::Source& source) {
  absl::StatusOr<std::shared_ptr<const TlsContext>> context = source();
  if (context.ok() && *context == nullptr) {
    return absl::InvalidArgumentError("TlsSlot: its source gives no context");
  }
  return context;
}

}  // namespace

absl::StatusOr<std::shared_ptr<TlsSlot>> TlsSlot::Create(Source source) {
  if (source == nullptr) {
    return absl::InvalidArgumentError("TlsSlot: it has no source");
  }
  absl::StatusOr<std::shared_ptr<const TlsContext>> context = Ask(source);
  if (!context.ok()) return context.status();
  return std::shared_ptr<TlsSlot>(
      new TlsSlot(std::move(source), *std::move(context)));
}

TlsSlot::TlsSlot(Source source, std::shared_ptr<const TlsContext> context)
    : source_(std::move(source)), current_(std::move(context)) {}

std::shared_ptr<const TlsContext> TlsSlot::current() const {
  const absl::MutexLock lock(&mutex_);
  return current_;
}

absl::Status TlsSlot::Reload() {
  const absl::MutexLock one_at_a_time(&reloading_);
  absl::StatusOr<std::shared_ptr<const TlsContext>> context = Ask(source_);
  if (!context.ok()) return context.status();
  const absl::MutexLock lock(&mutex_);
  current_.swap(*context);
  return absl::OkStatus();
}

}  // namespace fio
