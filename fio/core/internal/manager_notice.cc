#include "fio/core/internal/manager_notice.h"

#include <string_view>

#include "absl/log/absl_log.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "fio/core/loop/loop.h"
#include "fio/core/process/service_manager.h"

namespace fio::core_internal {
namespace {

constexpr absl::Duration kRetry = absl::Milliseconds(100);
constexpr int kTries = 900;  // 90 s.

}  // namespace

void ManagerNotice::Tell(std::string_view state) {
  loop_.Cancel(timer_);
  unsent_ = state;
  tries_ = 0;
  Send();
}

void ManagerNotice::Finish() {
  if (unsent_.empty()) return;
  loop_.Cancel(timer_);
  tries_ = kTries;
  Send();
}

void ManagerNotice::Send() {
  const absl::Status told = NotifyServiceManager(unsent_);
  const bool may_pass =
      absl::IsUnavailable(told) || absl::IsResourceExhausted(told);
  if (may_pass && ++tries_ < kTries) {
    timer_ = loop_.RunAfter(kRetry, [this] { Send(); });
    return;
  }
  if (!told.ok()) {
    ABSL_LOG(WARNING) << told << "; the service manager is not told "
                      << unsent_;
  }
  unsent_.clear();
}

}  // namespace fio::core_internal
