#include "fio/core/loop/internal/turn_clock.h"

#include "absl/log/absl_log.h"
#include "absl/time/time.h"
#include "fio/core/loop/protocol.h"

namespace fio::loop_internal {
namespace {

constexpr absl::Duration kReportPause = absl::Seconds(1);

}  // namespace

void TurnClock::Report(const Protocol* protocol, absl::Duration took) {
  if (last_ < next_report_) return;
  next_report_ = last_ + kReportPause;
  ABSL_LOG(WARNING) << "a callback of "
                    << (protocol == nullptr ? "a task, timer or watch"
                                            : protocol->Name())
                    << " has stalled its loop for " << took;
}

}  // namespace fio::loop_internal
