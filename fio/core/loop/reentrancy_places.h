// The rows of the matrix of reentrancy_play.h: the places where code of users
// runs.

#ifndef FIO_CORE_LOOP_REENTRANCY_PLACES_H_
#define FIO_CORE_LOOP_REENTRANCY_PLACES_H_

#include <cstdint>

#include "absl/types/span.h"

namespace fio::loop_internal {

// Those that end in Dies are destructors of captures.
enum class Place : uint8_t {
  kOnOpen,
  kOnData,
  kOnReady,
  kOnHighWater,
  kOnLowWater,
  kOnEnd,
  kOnTimeout,
  kOnDeadline,
  kOnDrain,
  kOnShutdown,
  kOnClose,
  kProtocolDies,

  kOnOpenOfAdopt,
  kOnOpenOfHandle,
  kOnOpenOfHandleDies,
  kHandshakeDone,
  kHandshakeFailed,
  kHandshakeDoneDies,
  kConnectionEnd,
  kNotifyGone,
  kNotifyGoneDies,
  kRelease,
  kReleaseDies,
  kEnvironment,
  kEnvironmentDies,
  kCordReleased,
  kSharedBytesReleased,
  kForEach,
  kConnectionTask,
  kConnectionTaskDies,

  kTask,
  kTaskDies,
  kTimer,
  kTimerDies,
  kTimerInObject,
  kRepeated,
  kRepeatedDies,
  kOnFinish,
  kWatch,
  kWatchDies,
  kTurnBegin,
  kTurnBeginDies,
  kTurnEnd,
  kTurnEndDies,
  kLocalDies,

  kShake,
  kStatus,
  kRead,
  kWrite,
  kFlush,
  kBeforeClose,
  kTransportDies,
  kInTransport,  // A callback that the transport has of its own.
};

// When a place counts: while the loop runs, or inside of its destructor.
enum class When : uint8_t { kRunning, kLoopDies };

struct NamedPlace {
  Place place;
  const char* name;
  bool comes_running = true;
  bool comes_when_loop_dies = false;
  // Over what it comes by: it needs a handshake.
  bool needs_handshake = false;
};
absl::Span<const NamedPlace> Places();

}  // namespace fio::loop_internal

#endif  // FIO_CORE_LOOP_REENTRANCY_PLACES_H_
