#include "fio/core/loop/reentrancy_cast.h"

#include <sys/uio.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/loop/reentrancy_places.h"
#include "fio/core/loop/reentrancy_play.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"

namespace fio::loop_internal {

struct Once::State {
  State(Play& play, std::string_view what, How how)
      : play(play), what(what), how(how) {
    ++play.alive;
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    --play.alive;
    if (how == How::kExactly) play.Check(times == 1, what + " has not come");
  }

  Play& play;
  const std::string what;
  How how;
  int times = 0;
};

Once::Once(Play& play, std::string_view what, How how)
    : state_(std::make_shared<State>(play, what, how)) {}

void Once::Happens() const {
  state_->play.Check(++state_->times == 1, state_->what + " came again");
}

void Once::MayFail() const { state_->how = How::kAtMost; }

Tells::Tells(Play& play, Place place) : play_(&play), place_(place) {
  ++play_->alive;
}

Tells::Tells(Tells&& other) noexcept
    : play_(std::exchange(other.play_, nullptr)), place_(other.place_) {}

Tells::~Tells() {
  if (play_ == nullptr) return;
  --play_->alive;
  play_->At(place_, nullptr);
}

// Checks what it is told, and lets the play act.
namespace {

class Probe final : public Protocol {
 public:
  Probe(Play& play, bool is_subject) : play_(play), is_subject_(is_subject) {
    ++play_.alive;
  }
  ~Probe() override {
    play_.Check(closed_, "a protocol was destroyed without OnClose()");
    --play_.alive;
    if (is_subject_) play_.At(Place::kProtocolDies, nullptr);
  }

  void OnOpen(Connection& connection) override {
    play_.Check(!open_ && !closed_, "OnOpen() came late");
    open_ = true;
    connection.SetTimeout(Play::kTimeout);
    connection.SetDeadline(2 * Play::kTimeout);
    Told(Place::kOnOpen, connection);
  }
  void OnData(Connection& connection) override {
    play_.Check(connection.protocol() == this, "OnData() of a former one");
    connection.Write(connection.Received());
    Told(Place::kOnData, connection);
  }
  void OnReady(Connection& connection) override {
    Told(Place::kOnReady, connection);
  }
  void OnHighWater(Connection& connection) override {
    Told(Place::kOnHighWater, connection);
  }
  void OnLowWater(Connection& connection) override {
    Told(Place::kOnLowWater, connection);
  }
  void OnEnd(Connection& connection) override {
    play_.Check(!ended_, "a second OnEnd()");
    ended_ = true;
    Told(Place::kOnEnd, connection);
  }
  void OnTimeout(Connection& connection) override {
    Told(Place::kOnTimeout, connection);
  }
  void OnDeadline(Connection& connection) override {
    Told(Place::kOnDeadline, connection);
  }
  void OnDrain(Connection& connection) override {
    Told(Place::kOnDrain, connection);
  }
  absl::Duration OnShutdown(Connection& connection) override {
    Told(Place::kOnShutdown, connection);
    return absl::ZeroDuration();
  }
  void OnClose(Connection& connection, const CloseReason&) override {
    play_.Check(!closed_, "a second OnClose()");
    play_.Check(play_.inside == 0, "OnClose() inside of a callback");
    closed_ = true;
    ++play_.inside;
    if (is_subject_) play_.At(Place::kOnClose, &connection);
    --play_.inside;
  }

 private:
  void Told(Place place, Connection& connection) {
    play_.Check(open_ && !closed_,
                "a callback before OnOpen() or after OnClose()");
    play_.Check(!runs_, "a callback inside of another");
    runs_ = true;
    ++play_.inside;
    if (is_subject_) play_.At(place, &connection);
    --play_.inside;
    runs_ = false;
  }

  Play& play_;
  const bool is_subject_;
  bool open_ = false;
  bool closed_ = false;
  bool ended_ = false;
  bool runs_ = false;
};

class End final : public OwnedEnd {
 public:
  End(Play& play, bool is_subject) : play_(play), is_subject_(is_subject) {
    ++play_.alive;
  }
  ~End() override { --play_.alive; }

 private:
  void OnConnectionEnd(Connection& connection, const CloseReason&) override {
    play_.Check(!told_ || !is_subject_, "a second OnConnectionEnd()");
    play_.Check(play_.inside == 0, "OnConnectionEnd() inside of a callback");
    told_ = true;
    if (!is_subject_) return;
    ++play_.inside;
    play_.At(Place::kConnectionEnd, &connection);
    --play_.inside;
    play_.ForgetSubject(connection);
  }

  Play& play_;
  const bool is_subject_;
  bool told_ = false;
};

// Holds its farewell back once.
class PassThrough final : public Transport {
 public:
  explicit PassThrough(Play& play) : play_(play) { ++play_.alive; }
  ~PassThrough() override {
    --play_.alive;
    play_.InSocket(Place::kTransportDies);
  }
  IoResult Read(Socket& socket, absl::Span<char> out) override {
    play_.InSocket(Place::kRead);
    return Transport::Read(socket, out);
  }
  IoResult Write(Socket& socket, absl::Span<const iovec> pieces) override {
    play_.InSocket(Place::kWrite);
    return Transport::Write(socket, pieces);
  }
  IoResult Flush(Socket& socket) override {
    play_.InSocket(Place::kFlush);
    return Transport::Flush(socket);
  }
  bool BeforeClose(Socket&) override {
    play_.InSocket(Place::kBeforeClose);
    return true;
  }

 private:
  Play& play_;
};

class Watched final : public Transport {
 public:
  Watched(Play& play, std::unique_ptr<Transport> transport)
      : play_(play), transport_(std::move(transport)) {
    ++play_.alive;
  }
  ~Watched() override {
    --play_.alive;
    play_.InSocket(Place::kTransportDies);
  }
  Handshake Shake(Socket& socket) override {
    play_.InSocket(Place::kShake);
    return transport_->Shake(socket);
  }
  absl::Status status() const override {
    play_.InSocket(Place::kStatus);
    return transport_->status();
  }
  std::string_view handshake_name() const override {
    return transport_->handshake_name();
  }
  const void* Info(const void* key) const override {
    return transport_->Info(key);
  }
  IoResult Read(Socket& socket, absl::Span<char> out) override {
    play_.InSocket(Place::kRead);
    return transport_->Read(socket, out);
  }
  bool HasUnread() const override { return transport_->HasUnread(); }
  HeldBytes held_bytes() const override { return transport_->held_bytes(); }
  IoResult Write(Socket& socket, absl::Span<const iovec> pieces) override {
    play_.InSocket(Place::kWrite);
    return transport_->Write(socket, pieces);
  }
  IoResult Flush(Socket& socket) override {
    play_.InSocket(Place::kFlush);
    return transport_->Flush(socket);
  }
  bool BeforeClose(Socket& socket) override {
    play_.InSocket(Place::kBeforeClose);
    return transport_->BeforeClose(socket);
  }

 private:
  Play& play_;
  const std::unique_ptr<Transport> transport_;
};

class TimerInObject final : public OwnedTimer {
 public:
  explicit TimerInObject(Play& play) : play_(play) {}

 private:
  void OnTimer(TimerWheel&) override {
    play_.At(Place::kTimerInObject, nullptr);
  }

  Play& play_;
};

class Bystander final : public Protocol {
 public:
  void OnData(Connection& connection) override {
    connection.Write(connection.Received());
  }
};

}  // namespace

std::unique_ptr<Protocol> NewProbe(Play& play, bool is_subjects) {
  return std::make_unique<Probe>(play, is_subjects);
}

std::unique_ptr<Protocol> NewBystander() {
  return std::make_unique<Bystander>();
}

std::unique_ptr<OwnedEnd> NewEnd(Play& play, bool is_subjects) {
  return std::make_unique<End>(play, is_subjects);
}

std::unique_ptr<Transport> NewPassThrough(Play& play) {
  return std::make_unique<PassThrough>(play);
}

std::unique_ptr<Transport> NewWatched(Play& play,
                                      std::unique_ptr<Transport> transport) {
  return std::make_unique<Watched>(play, std::move(transport));
}

std::unique_ptr<OwnedTimer> NewTimer(Play& play) {
  return std::make_unique<TimerInObject>(play);
}

}  // namespace fio::loop_internal
