// The columns of the matrix: every call that user code may make, and some that
// are dangerous one after another.

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_end.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/loop/protocol_lock.h"
#include "fio/core/loop/reentrancy_play.h"
#include "fio/core/loop/reentrancy_stage.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/poller.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/sock/file_range.h"
#include "fio/sock/io_result.h"
#include "fio/sock/shared_bytes.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"
#include "fio/testing/memory_file.h"

namespace fio::loop_internal {
namespace {

using C = Connection;
using P = Play;
using testing::MemoryFile;

constexpr absl::Duration kMs = absl::Milliseconds(1);

void Release(P& play, C& connection) {
  if (!connection.is_open()) return;
  play.ForgetSubject(connection);
  const Once once(play, "a release");
  connection.Release([&play, once](Socket socket) {
    once.Happens();
    play.Keep(std::move(socket));
  });
}

void ReleaseThenAdopt(P& play, C& connection) {
  if (!connection.is_open()) return;
  play.ForgetSubject(connection);
  connection.Release([&play](Socket socket) {
    play.loop()
        .Adopt(std::move(socket),
               [&play](C& adopted) { adopted.Attach(play.NewProtocol()); })
        .status()
        .IgnoreError();
  });
}

void Link(P& play, C& connection, bool abort) {
  C* const third = play.third();
  if (third == nullptr || !third->is_open() || !connection.is_open()) return;
  connection.LinkWith(*third);
  if (abort) third->Abort();
}

void Shake(P& play, C& connection, std::unique_ptr<Transport> transport) {
  const Once once(play, "the end of a handshake");
  const bool started = connection.StartHandshake(
      std::move(transport), 2 * kMs,
      [&play, once](C& shaken, const absl::Status& status) {
        once.Happens();
        if (status.ok() && shaken.protocol() == nullptr) {
          shaken.Attach(play.NewProtocol());
        }
      });
  if (!started) once.MayFail();
}

void SetEnv(P& play, C& connection, int64_t type) {
  const Once once(play, "the end of a new environment", Once::How::kAtMost);
  connection
      .SetEnv({.type = type}, &connection, [once](void*) { once.Happens(); })
      .IgnoreError();
}

void NotifyGone(P& play, C& connection) {
  const Once once(play, "another NotifyGone()");
  if (!connection.NotifyGone([once](const CloseReason&) { once.Happens(); })) {
    once.MayFail();
  }
}

// A task that comes or does not, and is destroyed in any case.
auto NewTask(P& play) {
  return [once = Once(play, "a task", Once::How::kAtMost)] { once.Happens(); };
}

void Post(P& play, ConnectionId id) {
  const Once once(play, "a task with a connection");
  const bool posted = play.loop().Post(id, [once](C* connection) {
    once.Happens();
    if (connection != nullptr) connection->Write("posted");
  });
  if (!posted) once.MayFail();
}

void RunEvery(P& play) {
  play.loop().RunEvery(
      {.callback = [] { return TimerWheel::Next::kContinue; },
       .interval = kMs,
       .repetitions = 3,
       .on_finish = [once = Once(play, "an on_finish")] { once.Happens(); }});
}

void Watch(P& play, bool unwatch) {
  if (play.event_fd() < 0) return;
  play.loop().Unwatch(play.watch());
  const absl::StatusOr<WatchId> id = play.loop().Watch(
      play.event_fd(), Interest::kReadable, Trigger::kEdge,
      [once = Once(play, "a watch", Once::How::kAtMost)](Readiness) {});
  if (!id.ok()) return;
  if (unwatch) {
    play.loop().Unwatch(*id);
  } else {
    play.Watches(*id);
  }
}

void HandOver(P& play) {
  play.loop().handle().Adopt(play.stage().Connect(),
                             [&play](C& adopted) { play.Serve(adopted); });
}

ProtocolLock::Kind Tasks() { return ProtocolLock::Kind::kTask; }
ProtocolLock::Kind Writes() { return ProtocolLock::Kind::kWrite; }

void Lock(P& play, C& connection, ProtocolLock::Kind kind) {
  play.Keep(play.loop().handle().TryLock(connection.id(), kind));
}

constexpr Operation kConnectionOperations[] = {
    {"Nothing", [](P&, C&) {}},
    // How it ends.
    {"Close", [](P&, C& c) { c.Close(); }},
    {"Close(7)", [](P&, C& c) { c.Close(7); }},
    {"CloseNow", [](P&, C& c) { c.CloseNow(); }},
    {"Write, CloseNow(7)",
     [](P&, C& c) {
       c.Write(std::string(Stage::kMuchBytes, 'n'));
       c.CloseNow(7);
     }},
    {"Abort", [](P&, C& c) { c.Abort(); }},
    {"Close, Abort",
     [](P&, C& c) {
       c.Close();
       c.Abort();
     }},
    {"Close, CloseNow",
     [](P&, C& c) {
       c.Close();
       c.CloseNow();
     }},
    {"Release", Release},
    {"Release, Adopt", ReleaseThenAdopt},
    {"ShutdownWrite", [](P&, C& c) { c.ShutdownWrite(); }},
    {"ShutdownRead", [](P&, C& c) { c.ShutdownRead(); }},
    // Who serves it.
    {"Attach", [](P& p, C& c) { c.Attach(p.NewProtocol()); }},
    {"Attach, Attach",
     [](P& p, C& c) {
       c.Attach(p.NewProtocol());
       c.Attach(p.NewProtocol());
     }},
    {"Attach, Close",
     [](P& p, C& c) {
       c.Attach(p.NewProtocol());
       c.Close();
     }},
    {"Close, Attach",
     [](P& p, C& c) {
       c.Close();
       c.Attach(p.NewProtocol());
     }},
    {"Attach(null)", [](P&, C& c) { c.Attach(nullptr); }},
    {"Detach", [](P&, C& c) { c.Detach(); }},
    {"Detach, Attach",
     [](P& p, C& c) {
       c.Detach();
       c.Attach(p.NewProtocol());
     }},
    // Writing.
    {"Write", [](P&, C& c) { c.Write("small"); }},
    {"Write much", [](P&, C& c) { c.Write(std::string(Stage::kMuchBytes, 'l')); }},
    {"Write a cord", [](P& p, C& c) { c.Write(p.NewCord(Stage::kMuchBytes)); }},
    {"Write SharedBytes",
     [](P& p, C& c) {
       c.Write(SharedBytes::FromCord(p.NewCord(SharedBytes::kMinSharedCord)),
               1);
     }},
    {"Write a file",
     [](P&, C& c) {
       c.Write(*FileRange::Own(MemoryFile(std::string(100, 'f'))));
     }},
    {"Write a cord, Close",
     [](P& p, C& c) {
       c.Write(p.NewCord(Stage::kMuchBytes));
       c.Close();
     }},
    {"Write a cord, Abort",
     [](P& p, C& c) {
       c.Write(p.NewCord(Stage::kMuchBytes));
       c.Abort();
     }},
    {"TryWrite", [](P&, C& c) { static_cast<void>(c.TryWrite("now")); }},
    {"TryWrite more",
     [](P&, C& c) {
       static_cast<void>(c.TryWrite("more", Socket::More::kYes));
     }},
    {"TryWrite pieces",
     [](P&, C& c) {
       std::string bytes = "pieces";
       const iovec pieces[] = {{bytes.data(), 3}, {bytes.data() + 3, 3}};
       static_cast<void>(c.TryWrite(pieces));
     }},
    {"Write, TryWrite",
     [](P&, C& c) {
       c.Write("small");
       static_cast<void>(c.TryWrite("now"));
     }},
    {"Flush", [](P&, C& c) { c.Flush(); }},
    {"Write, Flush",
     [](P&, C& c) {
       c.Write("small");
       c.Flush();
     }},
    {"SetWatermarks, Write past them",
     [](P&, C& c) {
       c.SetWatermarks({.high_bytes = 1, .limit_bytes = 2});
       c.Write("xxx");
     }},
    {"SetWatermarks",
     [](P&, C& c) { c.SetWatermarks({.high_bytes = 1}); }},
    {"LinkWith", [](P& p, C& c) { Link(p, c, false); }},
    {"LinkWith, Abort it", [](P& p, C& c) { Link(p, c, true); }},
    // Reading.
    {"Suspend", [](P&, C& c) { c.Suspend(); }},
    {"Suspend, Resume",
     [](P&, C& c) {
       c.Suspend();
       c.Resume();
     }},
    {"Read",
     [](P&, C& c) {
       char buffer[100];
       c.Read(absl::MakeSpan(buffer));
     }},
    {"Force data", [](P&, C& c) { c.Force(C::Callback::kData); }},
    {"Force ready", [](P&, C& c) { c.Force(C::Callback::kReady); }},
    {"Force timeout", [](P&, C& c) { c.Force(C::Callback::kTimeout); }},
    {"Force all, Abort",
     [](P&, C& c) {
       c.Force(C::Callback::kData);
       c.Force(C::Callback::kReady);
       c.Force(C::Callback::kTimeout);
       c.Abort();
     }},
    // Time.
    {"SetTimeout", [](P&, C& c) { c.SetTimeout(kMs); }},
    {"SetTimeout(0)", [](P&, C& c) { c.SetTimeout(absl::ZeroDuration()); }},
    {"SetDeadline", [](P&, C& c) { c.SetDeadline(absl::ZeroDuration()); }},
    {"Clear the deadline",
     [](P&, C& c) { c.SetDeadline(absl::InfiniteDuration()); }},
    {"Touch", [](P&, C& c) { c.Touch(); }},
    // What belongs to it.
    {"NotifyGone", NotifyGone},
    {"AddEnd",
     [](P& p, C& c) {
       auto end = p.NewEnd();
       c.AddEnd(*end);
       p.Keep(std::move(end));
     }},
    {"AddEnd, Remove",
     [](P& p, C& c) {
       auto end = p.NewEnd();
       c.AddEnd(*end);
       end->Remove();
       p.Keep(std::move(end));
     }},
    {"AddEnd, destroy it",
     [](P& p, C& c) {
       auto end = p.NewEnd();
       c.AddEnd(*end);
     }},
    {"SetEnv", [](P& p, C& c) { SetEnv(p, c, 2); }},
    {"SetEnv in its place", [](P& p, C& c) { SetEnv(p, c, 1); }},
    {"RemoveEnv", [](P&, C& c) { c.RemoveEnv({.type = 1}).IgnoreError(); }},
    {"SetEnv, UnsetEnv",
     [](P& p, C& c) {
       SetEnv(p, c, 3);
       c.UnsetEnv({.type = 3}).IgnoreError();
     }},
    {"Unref", [](P&, C& c) { c.Unref(); }},
    {"ConnectionGroup::Add",
     [](P& p, C& c) {
       p.group().Remove(c);
       p.group().Add(c);
     }},
    {"ConnectionGroup::Remove", [](P& p, C& c) { p.group().Remove(c); }},
    // What it goes over.
    {"SetTransport",
     [](P&, C& c) {
       c.SetTransport(std::make_unique<Transport>()).IgnoreError();
     }},
    {"SetTransport(null)",
     [](P&, C& c) { c.SetTransport(nullptr).IgnoreError(); }},
    {"ReplaceTransport",
     [](P& p, C& c) {
       p.Keep(c.ReplaceTransport(std::make_unique<Transport>()));
     }},
    {"ReplaceTransport, Close",
     [](P& p, C& c) {
       p.Keep(c.ReplaceTransport(nullptr));
       c.Close();
     }},
    {"StartHandshake",
     [](P& p, C& c) { Shake(p, c, p.NewTransport()); }},
    {"StartHandshake, Close",
     [](P& p, C& c) {
       Shake(p, c, p.NewTransport());
       c.Close();
     }},
    {"StartHandshake, Abort",
     [](P& p, C& c) {
       Shake(p, c, p.NewTransport());
       c.Abort();
     }},
    {"StartHandshake that is done",
     [](P& p, C& c) { Shake(p, c, std::make_unique<Transport>()); }},
    {"ResumeHandshake", [](P&, C& c) { c.ResumeHandshake(); }},
    // By its id.
    {"Post to it", [](P& p, C& c) { Post(p, c.id()); }},
    {"Post to it, Abort",
     [](P& p, C& c) {
       Post(p, c.id());
       c.Abort();
     }},
    {"LoopHandle's calls",
     [](P& p, C& c) {
       const LoopHandle& handle = p.loop().handle();
       handle.Write(c.id(), "from afar");
       handle.Touch(c.id());
       handle.SetTimeout(c.id(), kMs);
       handle.Resume(c.id());
       handle.ResumeHandshake(c.id());
       handle.Force(c.id(), C::Callback::kData);
     }},
    {"LoopHandle::Close", [](P& p, C& c) { p.loop().handle().Close(c.id()); }},
    {"LoopHandle::Abort", [](P& p, C& c) { p.loop().handle().Abort(c.id()); }},
    {"lock tasks", [](P& p, C& c) { Lock(p, c, Tasks()); }},
    {"lock writes", [](P& p, C& c) { Lock(p, c, Writes()); }},
    {"lock, Close",
     [](P& p, C& c) {
       Lock(p, c, Tasks());
       Lock(p, c, Writes());
       c.Close();
     }},
    {"lock, Attach",
     [](P& p, C& c) {
       Lock(p, c, Tasks());
       Lock(p, c, Writes());
       c.Attach(p.NewProtocol());
     }},
};

constexpr Operation kLoopOperations[] = {
    // Connections.
    {"Adopt", nullptr, [](P& p) { p.Adopt(); }},
    {"Adopt many", nullptr,
     [](P& p) {
       for (int i = 0; i < 10; ++i) p.Adopt();
     }},
    {"Adopt without a protocol", nullptr,
     [](P& p) {
       p.loop().Adopt(p.stage().Connect(), [](C&) {}).status().IgnoreError();
     }},
    {"Adopt, Abort", nullptr,
     [](P& p) {
       p.loop()
           .Adopt(p.stage().Connect(), [](C& c) { c.Abort(); })
           .status()
           .IgnoreError();
     }},
    {"LoopHandle::Adopt", nullptr, HandOver},
    {"FlushAll", nullptr, [](P& p) { p.loop().FlushAll(); }},
    {"ConnectionGroup::CloseAll", nullptr, [](P& p) { p.group().CloseAll(); }},
    {"ConnectionGroup::AbortAll", nullptr, [](P& p) { p.group().AbortAll(); }},
    // Tasks.
    {"Post", nullptr, [](P& p) { p.loop().Post(NewTask(p)); }},
    {"Defer", nullptr, [](P& p) { p.loop().Defer(NewTask(p)); }},
    {"Wake", nullptr, [](P& p) { p.loop().Wake(); }},
    // Timers.
    {"RunAfter", nullptr,
     [](P& p) { p.loop().RunAfter(absl::ZeroDuration(), NewTask(p)); }},
    {"RunAt", nullptr,
     [](P& p) { p.loop().RunAt(MonotonicTime::InfiniteFuture(), NewTask(p)); }},
    {"RunEvery", nullptr, RunEvery},
    {"Cancel", nullptr, [](P& p) { p.loop().Cancel(p.timer()); }},
    {"Arm", nullptr, [](P& p) { p.loop().Arm(p.timer_in_object(), kMs); }},
    {"Cancel a Timer", nullptr,
     [](P& p) { p.loop().Cancel(p.timer_in_object()); }},
    {"Unref a timer", nullptr, [](P& p) { p.loop().Unref(p.timer()); }},
    // Watches.
    {"Watch", nullptr, [](P& p) { Watch(p, false); }},
    {"Watch, Unwatch", nullptr, [](P& p) { Watch(p, true); }},
    {"Unwatch", nullptr, [](P& p) { p.loop().Unwatch(p.watch()); }},
    {"Unref a watch", nullptr, [](P& p) { p.loop().Unref(p.watch()); }},
    // Hooks.
    {"OnTurnBegin", nullptr,
     [](P& p) { p.loop().OnTurnBegin([task = p.NewCord(10)] {}); }},
    {"OnTurnBegin(null)", nullptr, [](P& p) { p.loop().OnTurnBegin(nullptr); }},
    {"OnTurnEnd", nullptr,
     [](P& p) { p.loop().OnTurnEnd([task = p.NewCord(10)] {}); }},
    {"OnTurnEnd(null)", nullptr, [](P& p) { p.loop().OnTurnEnd(nullptr); }},
    // The loop itself.
    {"Local", nullptr, [](P& p) { p.loop().Local<std::string>() = "local"; }},
    {"Drain", nullptr, [](P& p) { p.loop().Drain(); }},
    {"Stop", nullptr, [](P& p) { p.loop().Stop(); }},
    {"Stop(0)", nullptr, [](P& p) { p.loop().Stop(absl::ZeroDuration()); }},
    {"stats", nullptr, [](P& p) { p.loop().stats(); }},
};

}  // namespace

absl::Span<const Operation> Operations() {
  static const auto* const operations = [] {
    auto* const all = new std::vector<Operation>(
        std::begin(kConnectionOperations), std::end(kConnectionOperations));
    all->insert(all->end(), std::begin(kLoopOperations),
                std::end(kLoopOperations));
    return all;
  }();
  return *operations;
}

}  // namespace fio::loop_internal
