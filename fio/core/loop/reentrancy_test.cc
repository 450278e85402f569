// Every place where a user's code runs, and in each of them every operation, on
// the connection that it is about and on another one that has events due in the
// same turn. The tables below are the matrix.

#include <sys/eventfd.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_group.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/loop/protocol_lock.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/poller.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/sock/file_range.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"
#include "fio/testing/loopback_pair.h"
#include "fio/testing/manual_clock.h"
#include "fio/testing/memory_file.h"
#include "fio/testing/simulated_network.h"
#include "fio/testing/world.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using testing::LoopbackPair;
using testing::ManualClock;
using testing::MemoryFile;
using testing::Peer;
using testing::World;

constexpr size_t kBigBytes = size_t{512} << 10;
constexpr size_t kHighBytes = size_t{64} << 10;
constexpr absl::Duration kTimeout = absl::Milliseconds(5);

enum class Place {
  kAdopt,
  kOnOpen,
  kOnData,
  kOnReady,
  kOnHighWater,
  kOnLowWater,
  kOnEnd,
  kOnTimeout,
  kOnDeadline,
  kOnShutdown,
  kOnClose,
  kConnectionTask,
  kTask,
  kTimer,
  kWatch,
  kEnvironment,
  kReleaser,
  kTransportRead,
  kTransportWrite,
  kTransportFlush,
  kTransportBeforeClose,
  kTransportDestroyed,
  kTurnBegin,
  kTurnEnd,
  kForEach,
};

struct NamedPlace {
  Place place;
  const char* name;
};
constexpr NamedPlace kPlaces[] = {
    {Place::kAdopt, "Adopt"},
    {Place::kOnOpen, "OnOpen"},
    {Place::kOnData, "OnData"},
    {Place::kOnReady, "OnReady"},
    {Place::kOnHighWater, "OnHighWater"},
    {Place::kOnLowWater, "OnLowWater"},
    {Place::kOnEnd, "OnEnd"},
    {Place::kOnTimeout, "OnTimeout"},
    {Place::kOnDeadline, "OnDeadline"},
    {Place::kOnShutdown, "OnShutdown"},
    {Place::kOnClose, "OnClose"},
    {Place::kConnectionTask, "ConnectionTask"},
    {Place::kTask, "Task"},
    {Place::kTimer, "Timer"},
    {Place::kWatch, "Watch"},
    {Place::kEnvironment, "Environment"},
    {Place::kReleaser, "Releaser"},
    {Place::kTransportRead, "TransportRead"},
    {Place::kTransportWrite, "TransportWrite"},
    {Place::kTransportFlush, "TransportFlush"},
    {Place::kTransportBeforeClose, "TransportBeforeClose"},
    {Place::kTransportDestroyed, "TransportDestroyed"},
    {Place::kTurnBegin, "TurnBegin"},
    {Place::kTurnEnd, "TurnEnd"},
    {Place::kForEach, "ForEach"},
};

bool IsOfTransport(Place place) {
  return place >= Place::kTransportRead && place <= Place::kTransportDestroyed;
}

// Something that has to happen once, or once at most, until this dies.
class Once {
 public:
  enum class How { kExactly, kAtMost };

  explicit Once(std::string_view what, How how = How::kExactly)
      : state_(std::make_shared<State>(what, how)) {}
  void Happens() const { state_->Happens(); }

 private:
  struct State {
    State(std::string_view what, How how) : what(what), how(how) {}
    State(const State&) = delete;
    State& operator=(const State&) = delete;
    ~State() {
      if (how == How::kExactly) {
        EXPECT_EQ(times, 1) << what;
      }
    }
    void Happens() { EXPECT_EQ(++times, 1) << what; }

    std::string what;
    How how;
    int times = 0;
  };
  std::shared_ptr<State> state_;
};

absl::Cord CordThatTells(size_t bytes, std::function<void()> on_release) {
  auto memory = std::make_shared<std::string>(bytes, 'c');
  const std::string_view view = *memory;
  return absl::MakeCordFromExternal(
      view, [memory, once = Once("the release of a cord"),
             on_release = std::move(on_release)](std::string_view) {
        once.Happens();
        if (on_release) on_release();
      });
}

// --- What the matrix is played on ---

class FarEnd {
 public:
  virtual ~FarEnd() = default;
  virtual void Send(std::string_view bytes) = 0;
  virtual void ShutdownWrite() = 0;
  virtual void Close() = 0;
  virtual void Drain() = 0;
};

// A loop, and what is at the other end of its connections.
class Stage {
 public:
  virtual ~Stage() = default;
  virtual Loop& loop() = 0;
  virtual Socket Connect() = 0;
  virtual void Turn() = 0;
  virtual void MoveClock(absl::Duration span) = 0;

  std::vector<std::unique_ptr<FarEnd>>& far_ends() { return far_ends_; }

 private:
  std::vector<std::unique_ptr<FarEnd>> far_ends_;
};

LoopOptions Options() {
  return {.receive_buffer_bytes = 4096,
          .watermarks = {.high_bytes = kHighBytes}};
}

class SimulatedStage final : public Stage {
 public:
  ~SimulatedStage() override {
    EXPECT_EQ(world_.network().open_count(), 0u) << "descriptors are left";
  }
  Loop& loop() override { return world_.loop(); }
  Socket Connect() override {
    std::pair<Socket, Peer> made = world_.MakeConnection();
    far_ends().push_back(std::make_unique<Far>(std::move(made.second)));
    return std::move(made.first);
  }
  void Turn() override { world_.Turn(); }
  void MoveClock(absl::Duration span) override { world_.clock().Advance(span); }

 private:
  class Far final : public FarEnd {
   public:
    explicit Far(Peer peer) : peer_(std::move(peer)) {}
    void Send(std::string_view bytes) override { peer_.Send(bytes); }
    void ShutdownWrite() override { peer_.ShutdownWrite(); }
    void Close() override { peer_.Close(); }
    void Drain() override {}

   private:
    Peer peer_;
  };

  World world_{{.loop = Options()}};
};

class KernelStage final : public Stage {
 public:
  KernelStage() {
    LoopOptions options = Options();
    options.clock = &clock_;
    loop_ = *Loop::Create(options);
  }
  Loop& loop() override { return *loop_; }
  Socket Connect() override {
    LoopbackPair pair = LoopbackPair::Unix();
    far_ends().push_back(std::make_unique<Far>(std::move(pair.far)));
    return std::move(pair.near);
  }
  void Turn() override {
    ASSERT_TRUE(loop_->RunOnce(MonotonicTime::InfinitePast()).ok());
  }
  void MoveClock(absl::Duration span) override { clock_.Advance(span); }

 private:
  class Far final : public FarEnd {
   public:
    explicit Far(Socket socket) : socket_(std::move(socket)) {}
    void Send(std::string_view bytes) override {
      static_cast<void>(socket_.TryWrite(bytes));
    }
    void ShutdownWrite() override {
      static_cast<void>(socket_.ShutdownWrite());
    }
    void Close() override { socket_.Close(); }
    void Drain() override { testing::ReadAvailable(socket_); }

   private:
    Socket socket_;
  };

  ManualClock clock_;
  std::unique_ptr<Loop> loop_;
};

// --- The matrix ---

class Play;

// Checks what it is told, and lets the play act.
class Probe final : public Protocol {
 public:
  Probe(Play& play, bool is_subject) : play_(play), is_subject_(is_subject) {}
  ~Probe() override;

  void OnOpen(Connection& connection) override;
  void OnData(Connection& connection) override;
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
    Told(Place::kOnEnd, connection);
  }
  void OnTimeout(Connection& connection) override {
    Told(Place::kOnTimeout, connection);
  }
  void OnDeadline(Connection& connection) override {
    Told(Place::kOnDeadline, connection);
  }
  absl::Duration OnShutdown(Connection& connection) override {
    Told(Place::kOnShutdown, connection);
    return absl::ZeroDuration();
  }
  void OnClose(Connection& connection, const CloseReason& reason) override;

 private:
  void Told(Place place, Connection& connection);

  Play& play_;
  const bool is_subject_;
  bool open_ = false;
  bool closed_ = false;
  bool runs_ = false;
};

// One run: all places come by, and in one of them something is done.
class Play {
 public:
  struct Operation {
    const char* name;
    void (*perform)(Play&, Connection&);
  };
  static const std::vector<Operation>& Operations();

  Play(Stage& stage, Place place, const Operation& operation, bool on_other)
      : stage_(stage),
        place_(place),
        operation_(operation),
        on_other_(on_other),
        group_(stage.loop()) {}

  void Run();

  // --- For probes ---

  // User code runs at this place; `connection` may be null.
  void At(Place place, Connection* connection) {
    if (place != place_ || acted_) return;
    Connection* const target = on_other_ ? loop().Find(other_) : connection;
    if (target == nullptr) return;
    acted_ = true;
    operation_.perform(*this, *target);
  }
  // The same, inside of the subject's socket.
  void InSocket(Place place) { At(place, subject_); }
  void Subject(Connection* connection) { subject_ = connection; }

  // --- For operations ---

  Loop& loop() { return stage_.loop(); }
  Stage& stage() { return stage_; }
  ConnectionGroup& group() { return group_; }
  Connection* third() { return loop().Find(third_); }
  WatchId watch() const { return watch_; }
  TimerId timer() const { return timer_; }
  std::unique_ptr<Protocol> NewProtocol() {
    return std::make_unique<Probe>(*this, false);
  }
  ConnectionId Adopt() {
    const absl::StatusOr<ConnectionId> id = loop().Adopt(
        stage_.Connect(),
        [this](Connection& connection) { connection.Attach(NewProtocol()); });
    return id.value_or(ConnectionId());
  }
  void Keep(Socket socket) { released_.push_back(std::move(socket)); }
  void Keep(absl::StatusOr<ProtocolLock> lock) {
    if (lock.ok()) locks_.push_back(*std::move(lock));
  }

  int depth = 0;   // Callbacks that run.
  int probes = 0;  // Alive.

 private:
  class HookedTransport;

  void Turn(int count = 1) {
    for (int i = 0; i < count; ++i) {
      stage_.Turn();
      locks_.clear();
      for (auto& far : stage_.far_ends()) far->Drain();
    }
  }
  void Advance(absl::Duration span) {
    stage_.MoveClock(span);
    Turn(3);
  }
  template <typename Call>
  void OnEach(Call call) {
    for (const ConnectionId id : {subject_id_, other_}) {
      if (Connection* const connection = loop().Find(id)) call(*connection);
    }
  }

  void Begin();
  void Exchange();
  void Fill();
  void RunTasks();
  void End();

  Stage& stage_;
  const Place place_;
  const Operation& operation_;
  const bool on_other_;
  bool acted_ = false;

  ConnectionGroup group_;
  Connection* subject_ = nullptr;  // Until it is gone.
  ConnectionId subject_id_, other_, third_;
  UniqueFd event_;
  WatchId watch_ = WatchId::kNone;
  TimerId timer_ = TimerId::kNone;
  std::vector<Socket> released_;
  std::vector<ProtocolLock> locks_;
};

Probe::~Probe() {
  EXPECT_TRUE(closed_) << "destroyed without OnClose()";
  --play_.probes;
}

void Probe::Told(Place place, Connection& connection) {
  EXPECT_TRUE(open_ && !closed_) << "place " << static_cast<int>(place);
  EXPECT_FALSE(runs_) << "inside of another callback";
  runs_ = true;
  ++play_.depth;
  if (is_subject_) play_.At(place, &connection);
  --play_.depth;
  runs_ = false;
}

void Probe::OnOpen(Connection& connection) {
  ++play_.probes;
  EXPECT_FALSE(open_);
  open_ = true;
  connection.SetTimeout(kTimeout);
  connection.SetDeadline(2 * kTimeout);
  Told(Place::kOnOpen, connection);
}

void Probe::OnData(Connection& connection) {
  EXPECT_EQ(connection.protocol(), this);
  connection.Write(connection.Received());
  Told(Place::kOnData, connection);
}

void Probe::OnClose(Connection& connection, const CloseReason& /*reason*/) {
  EXPECT_FALSE(closed_) << "a second OnClose()";
  EXPECT_EQ(play_.depth, 0) << "inside of a callback";
  if (!open_) ++play_.probes;
  closed_ = true;
  ++play_.depth;
  if (is_subject_) play_.At(Place::kOnClose, &connection);
  --play_.depth;
}

// Holds its farewell back once.
class Play::HookedTransport final : public Transport {
 public:
  explicit HookedTransport(Play& play) : play_(play) {}
  ~HookedTransport() override { play_.InSocket(Place::kTransportDestroyed); }

  IoResult Read(Socket& socket, absl::Span<char> out) override {
    play_.InSocket(Place::kTransportRead);
    return Transport::Read(socket, out);
  }
  IoResult Write(Socket& socket, absl::Span<const iovec> pieces) override {
    play_.InSocket(Place::kTransportWrite);
    return Transport::Write(socket, pieces);
  }
  IoResult Flush(Socket& socket) override {
    play_.InSocket(Place::kTransportFlush);
    return Transport::Flush(socket);
  }
  bool BeforeClose(Socket&) override {
    play_.InSocket(Place::kTransportBeforeClose);
    return true;
  }

 private:
  Play& play_;
};

void Play::Begin() {
  other_ = Adopt();
  third_ = Adopt();
  loop().OnTurnBegin(
      [this] { At(Place::kTurnBegin, loop().Find(subject_id_)); });
  loop().OnTurnEnd([this] { At(Place::kTurnEnd, loop().Find(subject_id_)); });
  const absl::StatusOr<ConnectionId> id =
      loop().Adopt(stage_.Connect(), [this](Connection& connection) {
        Subject(&connection);
        subject_id_ = connection.id();
        At(Place::kAdopt, &connection);
        if (IsOfTransport(place_)) {
          connection.SetTransport(std::make_unique<HookedTransport>(*this))
              .IgnoreError();
        }
        connection
            .SetEnv({.type = 1}, this,
                    [this, once = Once("the end of an environment")](void*) {
                      once.Happens();
                      InSocket(Place::kEnvironment);
                    })
            .IgnoreError();
        connection.Attach(std::make_unique<Probe>(*this, true));
      });
  ASSERT_TRUE(id.ok()) << id.status();
  for (const ConnectionId one : {subject_id_, other_, third_}) {
    if (Connection* const found = loop().Find(one)) group_.Add(*found);
  }
  Turn(2);
}

void Play::Exchange() {
  for (auto& far : stage_.far_ends()) far->Send("ping");
  Turn(3);
}

// High water, low water, and a release.
void Play::Fill() {
  OnEach([this](Connection& connection) {
    const bool is_subject = connection.id() == subject_id_;
    connection.Write(CordThatTells(kBigBytes, [this, is_subject] {
      if (is_subject) InSocket(Place::kReleaser);
    }));
  });
  for (auto& far : stage_.far_ends()) far->Send("more");
  Turn(16);
}

void Play::RunTasks() {
  event_ = UniqueFd(eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC));
  watch_ = *loop().Watch(
      event_.get(), Interest::kReadable, Trigger::kEdge,
      [this](Readiness) { At(Place::kWatch, loop().Find(subject_id_)); });
  timer_ = loop().RunAfter(absl::Milliseconds(1), [this] {
    At(Place::kTimer, loop().Find(subject_id_));
  });
  loop().Post(subject_id_, [this, once = Once("a posted connection task")](
                               Connection* connection) {
    once.Happens();
    At(Place::kConnectionTask, connection);
  });
  loop().Post([this, once = Once("a posted task")] {
    once.Happens();
    At(Place::kTask, loop().Find(subject_id_));
  });
  for (auto& far : stage_.far_ends()) far->Send("again");
  OnEach([](Connection& connection) { connection.Write("more"); });
  Turn(2);
  group_.ForEach([this](Connection& connection) {
    if (connection.id() == subject_id_) At(Place::kForEach, &connection);
  });
  Turn(2);
  for (auto& far : stage_.far_ends()) far->Send("and again");
  Advance(kTimeout);
  Advance(absl::Seconds(1));
}

void Play::End() {
  for (auto& far : stage_.far_ends()) {
    far->Send("last words");
    far->ShutdownWrite();
  }
  Turn(16);
  OnEach([](Connection& connection) {
    EXPECT_EQ(connection.pending_bytes(), 0u) << "it does not go on";
    EXPECT_EQ(connection.pending_calls(), 0u);
  });
  // Alone, so that the other one is there to see it.
  Connection* const subject = loop().Find(subject_id_);
  if (subject != nullptr && place_ != Place::kOnShutdown) subject->Close();
  Turn(2);
  loop().Stop();
  Turn(5);
  for (auto& far : stage_.far_ends()) far->Close();
  Turn(5);
  EXPECT_EQ(loop().connection_count(), 0u) << "it does not end";
  Turn(3);
  loop().Unwatch(watch_);
  EXPECT_EQ(group_.size(), 0u);
  EXPECT_EQ(probes, 0) << "protocols are left";
  loop().OnTurnBegin(nullptr);
  loop().OnTurnEnd(nullptr);
}

void Play::Run() {
  Begin();
  Exchange();
  Fill();
  RunTasks();
  End();
  EXPECT_TRUE(acted_) << "this place was never reached";
  released_.clear();
}

const std::vector<Play::Operation>& Play::Operations() {
  using C = Connection;
  using P = Play;
  static const auto* const operations = new std::vector<Operation>{
      {"Nothing", [](P&, C&) {}},
      {"Close", [](P&, C& c) { c.Close(); }},
      {"CloseWithCode", [](P&, C& c) { c.Close(7); }},
      {"Abort", [](P&, C& c) { c.Abort(); }},
      {"CloseThenAbort",
       [](P&, C& c) {
         c.Close();
         c.Abort();
       }},
      {"Attach", [](P& p, C& c) { c.Attach(p.NewProtocol()); }},
      {"AttachTwice",
       [](P& p, C& c) {
         c.Attach(p.NewProtocol());
         c.Attach(p.NewProtocol());
       }},
      {"AttachNull", [](P&, C& c) { c.Attach(nullptr); }},
      {"Detach", [](P&, C& c) { c.Detach(); }},
      {"DetachThenAttach",
       [](P& p, C& c) {
         c.Detach();
         c.Attach(p.NewProtocol());
       }},
      {"Release",
       [](P& p, C& c) {
         if (c.is_open() && c.id() != p.other_) p.Subject(nullptr);
         c.Release([&p, once = Once("a release", Once::How::kAtMost)](
                       Socket socket) {
           once.Happens();
           p.Keep(std::move(socket));
         });
       }},
      {"ReleaseThenAdopt",
       [](P& p, C& c) {
         if (c.is_open() && c.id() != p.other_) p.Subject(nullptr);
         c.Release([&p](Socket socket) {
           p.loop()
               .Adopt(std::move(socket),
                      [&p](C& adopted) { adopted.Attach(p.NewProtocol()); })
               .status()
               .IgnoreError();
         });
       }},
      {"WriteSmall", [](P&, C& c) { c.Write("small"); }},
      {"WriteTwice",
       [](P&, C& c) {
         c.Write("small");
         c.Write("small");
       }},
      {"WriteLarge", [](P&, C& c) { c.Write(std::string(kBigBytes, 'l')); }},
      {"WriteCord",
       [](P&, C& c) { c.Write(CordThatTells(3 * kHighBytes, nullptr)); }},
      {"WriteFile",
       [](P&, C& c) {
         c.Write(*FileRange::Own(MemoryFile(std::string(kHighBytes, 'f'))));
       }},
      {"WriteThenClose",
       [](P&, C& c) {
         c.Write(CordThatTells(kBigBytes, [&c] { c.Write("x"); }));
         c.Close();
       }},
      {"WriteThenAbort",
       [](P&, C& c) {
         c.Write("small");
         c.Write(CordThatTells(10, [&c] { c.Abort(); }));
         c.Abort();
         EXPECT_EQ(c.is_open(), false);
       }},
      {"TryWrite", [](P&, C& c) { static_cast<void>(c.TryWrite("now")); }},
      {"WriteThenTryWrite",
       [](P&, C& c) {
         c.Write("small");
         static_cast<void>(c.TryWrite("now"));
       }},
      {"Flush", [](P&, C& c) { c.Flush(); }},
      {"WriteThenFlush",
       [](P&, C& c) {
         c.Write("small");
         c.Flush();
       }},
      {"ShutdownWrite", [](P&, C& c) { c.ShutdownWrite(); }},
      {"ShutdownWriteThenTryWrite",
       [](P&, C& c) {
         c.ShutdownWrite();
         EXPECT_FALSE(c.TryWrite("late").ok());
       }},
      {"ShutdownRead", [](P&, C& c) { c.ShutdownRead(); }},
      {"Suspend", [](P&, C& c) { c.Suspend(); }},
      {"SuspendThenResume",
       [](P&, C& c) {
         c.Suspend();
         c.Resume();
       }},
      {"ForceData", [](P&, C& c) { c.Force(C::Callback::kData); }},
      {"ForceReady", [](P&, C& c) { c.Force(C::Callback::kReady); }},
      {"ForceTimeout", [](P&, C& c) { c.Force(C::Callback::kTimeout); }},
      {"ForceAllThenAbort",
       [](P&, C& c) {
         c.Force(C::Callback::kData);
         c.Force(C::Callback::kReady);
         c.Force(C::Callback::kTimeout);
         c.Abort();
       }},
      {"SetTimeout", [](P&, C& c) { c.SetTimeout(absl::Milliseconds(1)); }},
      {"SetNoTimeout", [](P&, C& c) { c.SetTimeout(absl::ZeroDuration()); }},
      {"SetDeadline", [](P&, C& c) { c.SetDeadline(absl::ZeroDuration()); }},
      {"ClearDeadline",
       [](P&, C& c) { c.SetDeadline(absl::InfiniteDuration()); }},
      {"Touch", [](P&, C& c) { c.Touch(); }},
      {"Read",
       [](P&, C& c) {
         char buffer[100];
         c.Read(absl::MakeSpan(buffer));
       }},
      {"SetEnv",
       [](P&, C& c) {
         c.SetEnv({.type = 2}, &c,
                  [once = Once("the end of a new environment")](void*) {
                    once.Happens();
                  })
             .IgnoreError();
       }},
      {"OverwriteEnv",
       [](P&, C& c) {
         c.SetEnv({.type = 1}, &c,
                  [once = Once("the end of a new environment")](void*) {
                    once.Happens();
                  })
             .IgnoreError();
       }},
      {"RemoveEnv", [](P&, C& c) { c.RemoveEnv({.type = 1}).IgnoreError(); }},
      {"SetEnvThenUnset",
       [](P&, C& c) {
         const Once once("the end of an environment", Once::How::kAtMost);
         c.SetEnv({.type = 3}, &c, [once](void*) { once.Happens(); })
             .IgnoreError();
         c.UnsetEnv({.type = 3}).IgnoreError();
       }},
      {"SetTransport",
       [](P&, C& c) {
         c.SetTransport(std::make_unique<Transport>()).IgnoreError();
       }},
      {"SetNoTransport", [](P&, C& c) { c.SetTransport(nullptr).IgnoreError(); }},
      {"LinkWith",
       [](P& p, C& c) {
         C* const third = p.third();
         if (third != nullptr && third->is_open() && c.is_open()) {
           c.LinkWith(*third);
         }
       }},
      {"LinkWithThenAbortIt",
       [](P& p, C& c) {
         C* const third = p.third();
         if (third != nullptr && third->is_open() && c.is_open()) {
           c.LinkWith(*third);
           third->Abort();
         }
       }},
      {"SetWatermarksThenWritePastThem",
       [](P&, C& c) {
         c.SetWatermarks({.high_bytes = 1, .limit_bytes = 2});
         EXPECT_FALSE(c.Write("xxx"));
         EXPECT_FALSE(c.is_open());
       }},
      {"GroupAdd",
       [](P& p, C& c) {
         p.group().Remove(c);
         p.group().Add(c);
       }},
      {"GroupRemove", [](P& p, C& c) { p.group().Remove(c); }},
      {"GroupCloseAll", [](P& p, C&) { p.group().CloseAll(); }},
      {"GroupAbortAll", [](P& p, C&) { p.group().AbortAll(); }},
      {"Post",
       [](P& p, C&) {
         p.loop().Post([once = Once("a task")] { once.Happens(); });
       }},
      {"PostToConnection",
       [](P& p, C& c) {
         p.loop().Post(c.id(), [once = Once("a task")](C* connection) {
           once.Happens();
           if (connection != nullptr) connection->Write("posted");
         });
       }},
      {"PostThenAbort",
       [](P& p, C& c) {
         p.loop().Post(c.id(), [once = Once("a task")](C* connection) {
           once.Happens();
           EXPECT_EQ(connection, nullptr);
         });
         c.Abort();
       }},
      {"Defer",
       [](P& p, C&) {
         p.loop().Defer([once = Once("a task")] { once.Happens(); });
       }},
      {"RunAfter",
       [](P& p, C&) {
         p.loop().RunAfter(absl::ZeroDuration(),
                           [once = Once("a timer")] { once.Happens(); });
       }},
      {"RunEvery",
       [](P& p, C&) {
         const TimerId id = p.loop().RunEvery(
             {.callback = [] { return TimerWheel::Next::kContinue; },
              .interval = absl::Milliseconds(1),
              .repetitions = 3,
              .on_finish = [once = Once("an on_finish")] { once.Happens(); }});
         EXPECT_NE(id, TimerId::kNone);
       }},
      {"Cancel", [](P& p, C&) { p.loop().Cancel(p.timer()); }},
      {"Adopt", [](P& p, C&) { p.Adopt(); }},
      {"AdoptMany",
       [](P& p, C&) {
         for (int i = 0; i < 20; ++i) p.Adopt();
       }},
      {"AdoptWithoutProtocol",
       [](P& p, C&) {
         p.loop()
             .Adopt(p.stage().Connect(), [](C&) {})
             .status()
             .IgnoreError();
       }},
      {"Unwatch", [](P& p, C&) { p.loop().Unwatch(p.watch()); }},
      {"LockTasks",
       [](P& p, C& c) {
         p.Keep(p.loop().handle().TryLock(c.id(), ProtocolLock::Kind::kTask));
       }},
      {"LockWrites",
       [](P& p, C& c) {
         p.Keep(p.loop().handle().TryLock(c.id(), ProtocolLock::Kind::kWrite));
       }},
      {"LockThenClose",
       [](P& p, C& c) {
         p.Keep(p.loop().handle().TryLock(c.id(), ProtocolLock::Kind::kWrite));
         p.Keep(p.loop().handle().TryLock(c.id(), ProtocolLock::Kind::kTask));
         c.Close();
       }},
      {"LockThenAttach",
       [](P& p, C& c) {
         p.Keep(p.loop().handle().TryLock(c.id(), ProtocolLock::Kind::kWrite));
         p.Keep(p.loop().handle().TryLock(c.id(), ProtocolLock::Kind::kTask));
         c.Attach(p.NewProtocol());
       }},
      {"FlushAll", [](P& p, C&) { p.loop().FlushAll(); }},
      {"Unref", [](P&, C& c) { c.Unref(); }},
      {"Stop", [](P& p, C&) { p.loop().Stop(); }},
      {"StopAtOnce", [](P& p, C&) { p.loop().Stop(absl::ZeroDuration()); }},
  };
  return *operations;
}

enum class Below { kWorld, kKernel };

class Reentrancy
    : public ::testing::TestWithParam<std::tuple<NamedPlace, Below>> {};

TEST_P(Reentrancy, EveryOperationOnItselfAndOnAnother) {
  const auto& [named, below] = GetParam();
  for (const Play::Operation& operation : Play::Operations()) {
    for (const bool on_other : {false, true}) {
      SCOPED_TRACE(absl::StrCat(operation.name, " in ", named.name,
                                on_other ? " of another" : " of itself"));
      std::unique_ptr<Stage> stage;
      if (below == Below::kWorld) {
        stage = std::make_unique<SimulatedStage>();
      } else {
        stage = std::make_unique<KernelStage>();
      }
      Play(*stage, named.place, operation, on_other).Run();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Matrix, Reentrancy,
    ::testing::Combine(::testing::ValuesIn(kPlaces),
                       ::testing::Values(Below::kWorld, Below::kKernel)),
    [](const ::testing::TestParamInfo<std::tuple<NamedPlace, Below>>& info) {
      return absl::StrCat(
          std::get<0>(info.param).name,
          std::get<1>(info.param) == Below::kWorld ? "InAWorld" : "OnSockets");
    });

}  // namespace
}  // namespace fio
