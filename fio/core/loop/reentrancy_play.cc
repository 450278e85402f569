#include "fio/core/loop/reentrancy_play.h"

#include <sys/eventfd.h>
#include <sys/uio.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_end.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/loop/reentrancy_sides.h"
#include "fio/core/loop/reentrancy_stage.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/poller.h"
#include "fio/core/timer/timer.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/sock/io_result.h"
#include "fio/sock/shared_bytes.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"

namespace fio::loop_internal {

namespace {

constexpr absl::Duration kShakeTimeout = absl::Seconds(1);

bool IsOfTransport(Place place) { return place >= Place::kShake; }

}  // namespace

struct Play::Local {
  ~Local() {
    if (play != nullptr) play->At(Place::kLocalDies, nullptr);
  }
  Play* play = nullptr;
};

// --- The play ---

Play::Play(Stage& stage, absl::Span<const Act> acts)
    : stage_(stage),
      all_acts_(acts.begin(), acts.end()),
      left_(all_acts_),
      group_(stage.loop()),
      timer_in_object_(NewTimer(*this)) {}

Play::~Play() { over_ = true; }

void Play::Check(bool right, std::string_view what) {
  if (!right) absl::StrAppend(&wrong_, what, "\n");
}

bool Play::Has(Place place) const {
  return absl::c_any_of(all_acts_,
                        [place](const Act& act) { return act.place == place; });
}

bool Play::Has(When when) const {
  return absl::c_any_of(all_acts_,
                        [when](const Act& act) { return act.when == when; });
}

void Play::At(Place place, Connection* connection) {
  if (over_ || acting_) return;
  const auto act = absl::c_find_if(left_, [this, place](const Act& one) {
    return one.place == place && one.when == when_;
  });
  if (act == left_.end()) return;
  const Act now = *act;
  left_.erase(act);
  Connection* target = connection;
  if (target == nullptr) target = loop().Find(subject_id_);
  if (target == nullptr || now.to_other) target = loop().Find(other_);
  acting_ = true;
  ++inside;
  if (now.operation->to_loop != nullptr) {
    now.operation->to_loop(*this);
  } else if (target != nullptr) {
    now.operation->to_connection(*this, *target);
  }
  --inside;
  acting_ = false;
}

std::unique_ptr<Transport> Play::NewTransport(bool is_subjects) {
  if (!is_subjects) return NewNearSide({});
  NearSideOptions options = {.fails =
                                 Has(Place::kStatus, Place::kHandshakeFailed)};
  if (Has(Place::kInTransport)) {
    options.on_call = [this] { InSocket(Place::kInTransport); };
  }
  return NewWatched(*this, NewNearSide(std::move(options)));
}

void Play::Serve(Connection& connection) {
  if (stage_.over() == Over::kPlain) {
    connection.Attach(NewProtocol());
    return;
  }
  const Once once(*this, "the end of a handshake");
  const bool started = connection.StartHandshake(
      NewTransport(), kShakeTimeout,
      [this, once](Connection& shaken, const absl::Status& status) {
        once.Happens();
        if (status.ok()) shaken.Attach(NewProtocol());
      });
  if (!started) once.MayFail();
}

ConnectionId Play::Adopt() {
  const absl::StatusOr<ConnectionId> id = loop().Adopt(
      stage_.Connect(), [this](Connection& connection) { Serve(connection); });
  return id.value_or(ConnectionId());
}

absl::Cord Play::NewCord(size_t bytes, std::optional<Place> place) {
  auto memory = std::make_shared<std::string>(bytes, 'c');
  const std::string_view view = *memory;
  return absl::MakeCordFromExternal(
      view, [this, memory, place,
             once = Once(*this, "the release of a cord")](std::string_view) {
        once.Happens();
        if (place.has_value()) InSocket(*place);
      });
}

void Play::Turn(int count) {
  for (int i = 0; i < count; ++i) {
    stage_.Turn();
    locks_.clear();
  }
}

void Play::Advance(absl::Duration span) {
  stage_.MoveClock(span);
  Turn(2);
}

void Play::SendAll(std::string_view bytes) {
  for (const std::unique_ptr<FarEnd>& far : stage_.far_ends()) {
    if (far.get() != bystander_far_) far->Send(bytes);
  }
}

void Play::SendToBystander() {
  if (!bystander_far_->can_send()) return;
  const std::string bytes =
      absl::StrCat("bytes from ", sent_to_bystander_.size(), ";");
  sent_to_bystander_ += bytes;
  bystander_far_->Send(bytes);
}

template <typename Call>
void Play::OnEach(Call call) {
  for (const ConnectionId id : {subject_id_, other_}) {
    if (Connection* const connection = loop().Find(id)) call(*connection);
  }
}

// --- The acts of it, in order ---

const std::string& Play::Run() {
  Begin();
  SendAll("ping");
  SendToBystander();
  Turn(2);
  Fill();
  Turn(5);
  Arm();
  if (!Has(When::kLoopDies)) {
    TakeTime();
    EndSubject();
    CheckBystander();
    Stop();
  } else {
    if (Has(Place::kHandshakeFailed, Place::kHandshakeDoneDies) ||
        Has(Place::kOnOpenOfHandleDies)) {
      AdoptSubject();
    }
    Fill();
  }
  EndLoop();
  return wrong_;
}

void Play::Begin() {
  other_ = Adopt();
  third_ = Adopt();
  loop().OnTurnBegin([this, tells = Tells(*this, Place::kTurnBeginDies)] {
    At(Place::kTurnBegin, nullptr);
  });
  loop().OnTurnEnd([this, tells = Tells(*this, Place::kTurnEndDies)] {
    At(Place::kTurnEnd, nullptr);
  });
  loop().Local<Local>().play = this;
  AdoptBystander();
  AdoptSubject();
  for (const ConnectionId one : {subject_id_, other_, third_}) {
    if (Connection* const found = loop().Find(one)) group_.Add(*found);
  }
  Turn(stage_.over() == Over::kPlain ? 1 : 4);
}

void Play::AdoptBystander() {
  Socket socket = stage_.Connect();
  bystander_far_ = stage_.far_ends().back().get();
  const absl::StatusOr<ConnectionId> id =
      loop().Adopt(std::move(socket), [this](Connection& connection) {
        if (stage_.over() == Over::kPlain) {
          connection.Attach(NewBystander());
          return;
        }
        connection.StartHandshake(
            NewTransport(), kShakeTimeout,
            [](Connection& shaken, const absl::Status& status) {
              if (status.ok()) shaken.Attach(NewBystander());
            });
      });
  Check(id.ok() || loop().stopping(), "the bystander was not adopted");
}

void Play::AdoptSubject() {
  const auto open = [this](Connection& connection, Place place) {
    subject_ = &connection;
    subject_id_ = connection.id();
    At(place, &connection);
    Dress(connection);
  };
  if (!Has(Place::kOnOpenOfHandle) && !Has(Place::kOnOpenOfHandleDies)) {
    const absl::StatusOr<ConnectionId> id =
        loop().Adopt(stage_.Connect(), [&open](Connection& connection) {
          open(connection, Place::kOnOpenOfAdopt);
        });
    Check(id.ok() || loop().stopping(), "the subject was not adopted");
    return;
  }
  loop().handle().Adopt(
      stage_.Connect(),
      [open, tells = Tells(*this, Place::kOnOpenOfHandleDies)](
          Connection& connection) {
        open(connection, Place::kOnOpenOfHandle);
      });
}

// With everything that a connection can have.
void Play::Dress(Connection& connection) {
  auto end = loop_internal::NewEnd(*this, true);
  if (!connection.AddEnd(*end)) subject_ = nullptr;
  Keep(std::move(end));
  const Once gone(*this, "NotifyGone()");
  const bool notifies = connection.NotifyGone(
      [this, gone,
       tells = Tells(*this, Place::kNotifyGoneDies)](const CloseReason&) {
        gone.Happens();
        At(Place::kNotifyGone, nullptr);
      });
  if (!notifies) gone.MayFail();
  const Once unset(*this, "the end of an environment");
  connection
      .SetEnv(
          {.type = 1}, this,
          [this, unset, tells = Tells(*this, Place::kEnvironmentDies)](void*) {
            unset.Happens();
            InSocket(Place::kEnvironment);
          })
      .IgnoreError();
  if (stage_.over() == Over::kPlain) {
    if (absl::c_any_of(all_acts_, [](const Act& act) {
          return IsOfTransport(act.place);
        })) {
      connection.SetTransport(NewPassThrough(*this)).IgnoreError();
    }
    connection.Attach(NewProbe(*this, true));
    return;
  }
  const Once shaken(*this, "the end of a handshake");
  const bool starts = connection.StartHandshake(
      NewTransport(true), kShakeTimeout,
      [this, shaken, tells = Tells(*this, Place::kHandshakeDoneDies)](
          Connection& connection, const absl::Status& status) {
        shaken.Happens();
        ++inside;
        At(status.ok() ? Place::kHandshakeDone : Place::kHandshakeFailed,
           &connection);
        --inside;
        if (status.ok()) {
          connection.Attach(NewProbe(*this, true));
        }
      });
  if (starts) return;
  shaken.MayFail();
  connection.Attach(NewProbe(*this, true));
}

// High water, low water, and what releases memory.
void Play::Fill() {
  SendToBystander();
  SendAll("more");
  OnEach([this](Connection& connection) {
    if (connection.id() != subject_id_) {
      connection.Write(NewCord(Stage::kMuchBytes));
      return;
    }
    connection.Write(NewCord(Stage::kMuchBytes, Place::kCordReleased));
    connection.Write(SharedBytes::FromCord(
        NewCord(SharedBytes::kMinSharedCord, Place::kSharedBytesReleased)));
  });
}

// Timers, tasks, watches.
void Play::Arm() {
  event_ = UniqueFd(eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC));
  const absl::StatusOr<WatchId> watch =
      loop().Watch(event_.get(), Interest::kReadable, Trigger::kEdge,
                   [this, tells = Tells(*this, Place::kWatchDies)](Readiness) {
                     At(Place::kWatch, nullptr);
                   });
  Check(watch.ok(), "Watch()");
  if (watch.ok()) watch_ = *watch;
  timer_ = loop().RunAfter(absl::Milliseconds(1),
                           [this, tells = Tells(*this, Place::kTimerDies)] {
                             At(Place::kTimer, nullptr);
                           });
  loop().Arm(*timer_in_object_, absl::Milliseconds(1));
  loop().RunEvery({.callback =
                       [this, tells = Tells(*this, Place::kRepeatedDies)] {
                         At(Place::kRepeated, nullptr);
                         return TimerWheel::Next::kContinue;
                       },
                   .interval = absl::Milliseconds(1),
                   .repetitions = 2,
                   .on_finish =
                       [this, once = Once(*this, "an on_finish")] {
                         once.Happens();
                         At(Place::kOnFinish, nullptr);
                       }});
  loop().Post(subject_id_,
              [this, once = Once(*this, "a task with a connection"),
               tells = Tells(*this, Place::kConnectionTaskDies)](
                  Connection* connection) {
                once.Happens();
                At(Place::kConnectionTask, connection);
              });
  loop().Post([this, tells = Tells(*this, Place::kTaskDies)] {
    At(Place::kTask, nullptr);
  });
  if (Has(When::kLoopDies) && Has(Place::kRelease, Place::kReleaseDies)) {
    ReleaseSubject();
  }
}

void Play::TakeTime() {
  SendAll("again");
  SendToBystander();
  OnEach([](Connection& connection) { connection.Write("more"); });
  Turn(1);
  group_.ForEach([this](Connection& connection) {
    if (connection.id() == subject_id_) At(Place::kForEach, &connection);
  });
  if (Has(Place::kTurnBeginDies)) loop().OnTurnBegin(nullptr);
  if (Has(Place::kTurnEndDies)) loop().OnTurnEnd(nullptr);
  Turn(1);
  SendAll("and again");
  Advance(kTimeout);
  Advance(kTimeout);
}

void Play::EndSubject() {
  loop().Drain();
  SendToBystander();
  SendAll("last words");
  for (const std::unique_ptr<FarEnd>& far : stage_.far_ends()) {
    if (far.get() != bystander_far_) far->ShutdownWrite();
  }
  Turn(stage_.over() == Over::kPlain ? 2 : 5);
  for (int i = 0; i < 8 && !IsQuiet(); ++i) Turn();
  Check(IsQuiet(), "what was written does not leave");
  if (Has(Place::kRelease, Place::kReleaseDies)) {
    ReleaseSubject();
  } else if (!Has(Place::kOnShutdown)) {
    // Alone, so that the other one is there to see it.
    Connection* const subject = loop().Find(subject_id_);
    if (subject != nullptr) subject->Close();
  }
  Turn(3);
}

void Play::ReleaseSubject() {
  Connection* const subject = loop().Find(subject_id_);
  if (subject == nullptr) return;
  ForgetSubject(*subject);
  subject->Release(
      [this, tells = Tells(*this, Place::kReleaseDies)](Socket socket) {
        At(Place::kRelease, nullptr);
        Keep(std::move(socket));
      });
}

// A connection that shakes hands waits for that.
bool Play::IsQuiet() {
  bool quiet = true;
  OnEach([&quiet](Connection& connection) {
    quiet &= connection.is_handshaking() || connection.pending_calls() == 0;
  });
  return quiet;
}

// As long as the loop was not stopped.
void Play::CheckBystander() {
  const std::string& echo = bystander_far_->received();
  const bool exact = loop().stopping() ? sent_to_bystander_.starts_with(echo)
                                       : sent_to_bystander_ == echo;
  Check(exact, absl::StrCat("the bystander got '", echo, "' for '",
                            sent_to_bystander_, "'"));
}

void Play::Stop() {
  loop().Stop();
  Turn(2);
  for (const std::unique_ptr<FarEnd>& far : stage_.far_ends()) far->Close();
  for (int i = 0; i < 8 && loop().connection_count() > 0; ++i) Turn();
  Check(loop().connection_count() == 0, "a connection does not end");
  loop().Unwatch(watch_);
  Turn(2);
  sockets_.clear();
  Check(group_.size() == 0, "a connection is left in its group");
  Check(stage_.open_descriptors() == 0, "a descriptor is left");
}

void Play::EndLoop() {
  if (Has(When::kLoopDies)) when_ = When::kLoopDies;
  const uint64_t opened = loop().stats().opened;
  const uint64_t closed = loop().stats().closed;
  Check(when_ == When::kLoopDies || opened == closed, "opened is not closed");
  stage_.EndLoop();
  over_ = true;
  timer_in_object_ = nullptr;
  sockets_.clear();
  ends_.clear();
  transports_.clear();
  locks_.clear();
  Check(alive == 0, absl::StrCat(alive, " objects are left"));
  Check(stage_.memory_bytes() == 0,
        absl::StrCat(stage_.memory_bytes(), " bytes are counted"));
}

}  // namespace fio::loop_internal
