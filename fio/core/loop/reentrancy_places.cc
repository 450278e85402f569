#include "fio/core/loop/reentrancy_places.h"

#include "absl/types/span.h"

namespace fio::loop_internal {

absl::Span<const NamedPlace> Places() {
  static constexpr NamedPlace kPlaces[] = {
      {Place::kOnOpen, "OnOpen"},
      {Place::kOnData, "OnData"},
      {Place::kOnReady, "OnReady"},
      {Place::kOnHighWater, "OnHighWater"},
      {Place::kOnLowWater, "OnLowWater"},
      {Place::kOnEnd, "OnEnd"},
      {Place::kOnTimeout, "OnTimeout"},
      {Place::kOnDeadline, "OnDeadline"},
      {Place::kOnDrain, "OnDrain"},
      {Place::kOnShutdown, "OnShutdown"},
      {Place::kOnClose, "OnClose", true, true},
      {Place::kProtocolDies, "~Protocol", true, true},
      {Place::kOnOpenOfAdopt, "Adopt's on_open"},
      {Place::kOnOpenOfHandle, "LoopHandle::Adopt's on_open"},
      {Place::kOnOpenOfHandleDies, "~on_open", true, true},
      {Place::kHandshakeDone, "handshake done", true, false, true},
      {Place::kHandshakeFailed, "handshake failed", true, true, true},
      {Place::kHandshakeDoneDies, "~done", true, true, true},
      {Place::kConnectionEnd, "OnConnectionEnd", true, true},
      {Place::kNotifyGone, "NotifyGone", true, true},
      {Place::kNotifyGoneDies, "~NotifyGone", true, true},
      {Place::kRelease, "Release", true, true},
      {Place::kReleaseDies, "~Release", true, true},
      {Place::kEnvironment, "environment", true, true},
      {Place::kEnvironmentDies, "~environment", true, true},
      {Place::kCordReleased, "cord", true, true},
      {Place::kSharedBytesReleased, "SharedBytes", true, true},
      {Place::kForEach, "ConnectionGroup::ForEach"},
      {Place::kConnectionTask, "connection task", true, true},
      {Place::kConnectionTaskDies, "~connection task", true, true},
      {Place::kTask, "task"},
      {Place::kTaskDies, "~task", true, true},
      {Place::kTimer, "timer"},
      {Place::kTimerDies, "~timer", true, true},
      {Place::kTimerInObject, "Timer"},
      {Place::kRepeated, "repeated timer"},
      {Place::kRepeatedDies, "~repeated timer", true, true},
      {Place::kOnFinish, "on_finish", true, true},
      {Place::kWatch, "watch"},
      {Place::kWatchDies, "~watch", true, true},
      {Place::kTurnBegin, "OnTurnBegin"},
      {Place::kTurnBeginDies, "~OnTurnBegin", true, true},
      {Place::kTurnEnd, "OnTurnEnd"},
      {Place::kTurnEndDies, "~OnTurnEnd", true, true},
      {Place::kLocalDies, "~Local", false, true},
      {Place::kShake, "Transport::Shake", true, false, true},
      {Place::kStatus, "Transport::status", true, false, true},
      {Place::kRead, "Transport::Read"},
      {Place::kWrite, "Transport::Write"},
      {Place::kFlush, "Transport::Flush"},
      {Place::kBeforeClose, "Transport::BeforeClose"},
      {Place::kTransportDies, "~Transport", true, true},
      {Place::kInTransport, "callback of the transport", true, false, true},
  };
  return kPlaces;
}

}  // namespace fio::loop_internal
