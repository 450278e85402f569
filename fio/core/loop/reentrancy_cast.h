// Who plays in the matrix of reentrancy_play.h: protocols, transports and the
// like, which check what they are told and let the play act.

#ifndef FIO_CORE_LOOP_REENTRANCY_CAST_H_
#define FIO_CORE_LOOP_REENTRANCY_CAST_H_

#include <cstdint>
#include <memory>
#include <string_view>

#include "fio/core/loop/connection_end.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/loop/reentrancy_places.h"
#include "fio/core/timer/timer.h"
#include "fio/sock/transport.h"

namespace fio::loop_internal {

class Play;

// Something that has to happen once, or once at most, until this and its copies
// die.
class Once {
 public:
  enum class How : uint8_t { kExactly, kAtMost };
  Once(Play& play, std::string_view what, How how = How::kExactly);
  void Happens() const;
  void MayFail() const;  // At most once.

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// Lets the play act when it dies.
class Tells {
 public:
  Tells(Play& play, Place place);
  Tells(Tells&& other) noexcept;
  Tells& operator=(Tells&&) = delete;
  ~Tells();

 private:
  Play* play_;  // Null once it was moved.
  Place place_;
};

// With destructors that anyone may call.
class OwnedEnd : public ConnectionEnd {
 public:
  ~OwnedEnd() override = default;
};
class OwnedTimer : public Timer {
 public:
  ~OwnedTimer() override = default;
};

// Told OnOpen() first, and OnClose() once and last. The subject's lets the play
// act.
std::unique_ptr<Protocol> NewProbe(Play& play, bool is_subjects);
// Echoes.
std::unique_ptr<Protocol> NewBystander();
// Told once.
std::unique_ptr<OwnedEnd> NewEnd(Play& play, bool is_subjects);
// Of the subject: passes everything on, and holds its farewell back once.
std::unique_ptr<Transport> NewPassThrough(Play& play);
// Of the subject: lets the play act, and then `transport`.
std::unique_ptr<Transport> NewWatched(Play& play,
                                      std::unique_ptr<Transport> transport);
std::unique_ptr<OwnedTimer> NewTimer(Play& play);

}  // namespace fio::loop_internal

#endif  // FIO_CORE_LOOP_REENTRANCY_CAST_H_
