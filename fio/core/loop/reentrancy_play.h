// Every place where code of users runs, and every call that this code may make
// there. A Play is a short life of a loop and some connections in which all
// places come by; in some of them, its acts, an operation is performed.
// Whatever that is: each protocol is told OnOpen() first, and OnClose() once
// and last; what happens once happens once; nothing stays; and another
// connection of the loop loses no byte.
//
// The rows of the matrix are Places(), the columns Operations().

#ifndef FIO_CORE_LOOP_REENTRANCY_PLAY_H_
#define FIO_CORE_LOOP_REENTRANCY_PLAY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/unique_fd.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_end.h"
#include "fio/core/loop/connection_group.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/loop/protocol_lock.h"
#include "fio/core/loop/reentrancy_cast.h"
#include "fio/core/loop/reentrancy_places.h"
#include "fio/core/loop/reentrancy_stage.h"
#include "fio/core/timer/timer.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"

namespace fio::loop_internal {

class Play;

// What is done: to a connection, or to the loop.
struct Operation {
  const char* name;
  void (*to_connection)(Play&, Connection&) = nullptr;
  void (*to_loop)(Play&) = nullptr;
};
absl::Span<const Operation> Operations();

// `operation` is performed when `place` comes by for the first time: to the
// connection whose place it is, or to another one.
struct Act {
  Place place;
  When when = When::kRunning;
  bool to_other = false;
  const Operation* operation = nullptr;
};

class Play {
 public:
  // Of its protocols; the deadline is twice that.
  static constexpr absl::Duration kTimeout = absl::Milliseconds(5);

  Play(Stage& stage, absl::Span<const Act> acts);
  Play(const Play&) = delete;
  Play& operator=(const Play&) = delete;
  ~Play();

  // Once. The stage has no loop afterwards. Returns what is wrong, a line for
  // each; empty if all is right.
  const std::string& Run();
  // Whether all places of the acts have come by.
  bool has_acted() const { return left_.empty(); }

  // --- For what is played ---

  // User code runs at this place; `connection` is what it is about, or null.
  void At(Place place, Connection* connection);
  // The same, inside of the subject's socket.
  void InSocket(Place place) { At(place, subject_); }
  void Check(bool right, std::string_view what);
  int inside = 0;  // Callbacks that run.
  int alive = 0;   // Objects that have to go.

  // --- For operations ---

  Loop& loop() { return stage_.loop(); }
  Stage& stage() { return stage_; }
  ConnectionGroup& group() { return group_; }
  Connection* subject() { return subject_; }
  Connection* third() { return loop().Find(third_); }
  WatchId watch() const { return watch_; }
  TimerId timer() const { return timer_; }
  Timer& timer_in_object() { return *timer_in_object_; }
  void Watches(WatchId watch) { watch_ = watch; }
  int event_fd() const { return event_.get(); }
  std::unique_ptr<Protocol> NewProtocol() { return NewProbe(*this, false); }
  std::unique_ptr<OwnedEnd> NewEnd() {
    return loop_internal::NewEnd(*this, false);
  }
  std::unique_ptr<Transport> NewTransport(bool is_subjects = false);
  // Makes a connection, as the stage has them.
  ConnectionId Adopt();
  void Serve(Connection& connection);
  // Which tells of its release.
  absl::Cord NewCord(size_t bytes, std::optional<Place> place = std::nullopt);
  // Whatever it is, until the end of the turn or of the play.
  void Keep(Socket socket) { sockets_.push_back(std::move(socket)); }
  void Keep(std::unique_ptr<OwnedEnd> end) { ends_.push_back(std::move(end)); }
  void Keep(std::unique_ptr<Transport> transport) {
    transports_.push_back(std::move(transport));
  }
  void Keep(absl::StatusOr<ProtocolLock> lock) {
    if (lock.ok()) locks_.push_back(*std::move(lock));
  }
  // The subject's socket is about to live on without it.
  void ForgetSubject(const Connection& connection) {
    if (&connection == subject_) subject_ = nullptr;
  }

 private:
  struct Local;

  bool Has(Place place) const;
  bool Has(Place one, Place other) const { return Has(one) || Has(other); }
  bool Has(When when) const;
  void Turn(int count = 1);
  void Advance(absl::Duration span);
  void SendAll(std::string_view bytes);
  void SendToBystander();
  template <typename Call>
  void OnEach(Call call);

  void Begin();
  void AdoptBystander();
  void AdoptSubject();
  void Dress(Connection& connection);
  void Fill();
  void Arm();
  void TakeTime();
  void EndSubject();
  void ReleaseSubject();
  bool IsQuiet();
  void Stop();
  void EndLoop();
  void CheckBystander();

  Stage& stage_;
  const std::vector<Act> all_acts_;
  std::vector<Act> left_;  // Of them, to be performed.
  bool acting_ = false;
  When when_ = When::kRunning;
  bool over_ = false;  // Nothing acts any more.
  std::string wrong_;

  ConnectionGroup group_;
  Connection* subject_ = nullptr;  // Until it is gone.
  ConnectionId subject_id_, other_, third_;
  FarEnd* bystander_far_ = nullptr;
  std::string sent_to_bystander_;
  UniqueFd event_;
  WatchId watch_ = WatchId::kNone;
  TimerId timer_ = TimerId::kNone;
  std::unique_ptr<OwnedTimer> timer_in_object_;
  std::vector<Socket> sockets_;
  std::vector<std::unique_ptr<OwnedEnd>> ends_;
  std::vector<std::unique_ptr<Transport>> transports_;
  std::vector<ProtocolLock> locks_;
};

}  // namespace fio::loop_internal

#endif  // FIO_CORE_LOOP_REENTRANCY_PLAY_H_
