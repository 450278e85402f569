#include "fio/sock/transport.h"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/clock.h"
#include "fio/sock/file_range.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/testing/fault_plan.h"
#include "fio/testing/loopback_pair.h"
#include "fio/testing/memory_file.h"
#include "fio/testing/scripted_transport.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using testing::FaultPlan;
using testing::LoopbackPair;
using testing::MemoryFile;
using testing::ReadAvailable;
using testing::ReadToEnd;
using testing::ScriptedTransport;

using Calls = std::vector<std::string>;

class Hooks : public ::testing::Test {
 protected:
  void Use(ScriptedTransport::Script& script) {
    EXPECT_TRUE(
        socket_.SetTransport(std::make_unique<ScriptedTransport>(script)).ok());
  }

  ScriptedTransport::Script script_;
  LoopbackPair pair_ = LoopbackPair::Unix();
  Socket& socket_ = pair_.near;
  char buffer_[64];
};

TEST_F(Hooks, CallSequence) {
  script_.writes = {{.bytes = 3}, {.error = EAGAIN}};
  script_.flushes = {{.bytes = 7}, {.bytes = 0}, {.bytes = 2}, {.bytes = 0}};
  script_.delays_close = true;
  Use(script_);
  EXPECT_TRUE(socket_.Write("hello").ok());
  EXPECT_EQ(script_.calls, Calls{}) << "nothing before the flush";

  EXPECT_TRUE(socket_.Flush().would_block());
  EXPECT_EQ(script_.calls, (Calls{"write", "write"}));
  EXPECT_EQ(socket_.pending_bytes(), 2u);
  // Something is still held back, by 7 bytes; then nothing.
  EXPECT_TRUE(socket_.Flush().would_block());
  EXPECT_EQ(script_.written, "hello");
  EXPECT_TRUE(socket_.wants_write());
  EXPECT_TRUE(socket_.Flush().ok());
  EXPECT_FALSE(socket_.wants_write());
  EXPECT_EQ(script_.calls,
            (Calls{"write", "write", "write", "flush", "flush"}));

  // The farewell has 2 bytes that do not leave at once.
  script_.calls.clear();
  script_.flushes = {{.bytes = 0}, {.bytes = 2}, {.bytes = 0}};
  socket_.Close();
  EXPECT_EQ(script_.calls, (Calls{"flush", "before_close", "flush"}));
  EXPECT_GE(socket_.fd(), 0);
  socket_.Close();
  EXPECT_TRUE(socket_.Flush().would_block() || socket_.fd() < 0);
  static_cast<void>(socket_.Flush());
  EXPECT_LT(socket_.fd(), 0);
  EXPECT_EQ(script_.calls.back(), "destroyed");
  EXPECT_EQ(
      std::count(script_.calls.begin(), script_.calls.end(), "before_close"),
      1);
  EXPECT_EQ(ReadToEnd(pair_.far), "") << "the kernel was told nothing";
}

TEST_F(Hooks, ReadingIsAsReadIs) {
  script_.reads = {ScriptedTransport::Bytes("hello"),
                   ScriptedTransport::Error(EAGAIN),
                   ScriptedTransport::Error(ENOMEM), ScriptedTransport::End()};
  Use(script_);
  EXPECT_EQ(socket_.Read(absl::MakeSpan(buffer_, 3)).bytes, 3u);
  EXPECT_EQ(socket_.Read(absl::MakeSpan(buffer_)).bytes, 2u);
  EXPECT_TRUE(socket_.Read(absl::MakeSpan(buffer_)).would_block());
  EXPECT_TRUE(socket_.Read(absl::MakeSpan(buffer_)).out_of_memory());
  EXPECT_TRUE(socket_.is_open());
  EXPECT_TRUE(socket_.Read(absl::MakeSpan(buffer_)).ok());
  EXPECT_LT(socket_.fd(), 0) << "the end closes";
  EXPECT_EQ(script_.calls.back(), "destroyed");
}

TEST_F(Hooks, SetInvalidCleansUp) {
  ScriptedTransport::Script first;
  ScriptedTransport::Script second;
  Use(first);
  Use(second);
  EXPECT_EQ(first.calls, Calls{"destroyed"}) << "the old one, once";
  EXPECT_EQ(second.calls, Calls{});
  EXPECT_TRUE(socket_.SetTransport(nullptr).ok());
  EXPECT_EQ(second.calls, Calls{"destroyed"});
  // Plain again.
  EXPECT_TRUE(socket_.Write("hello").ok());
  EXPECT_TRUE(socket_.Flush().ok());
  EXPECT_EQ(ReadAvailable(pair_.far), "hello");

  socket_.Abort();
  ScriptedTransport::Script late;
  const absl::Status status =
      socket_.SetTransport(std::make_unique<ScriptedTransport>(late));
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_EQ(late.calls, Calls{"destroyed"}) << "the new one, once";
  EXPECT_EQ(first.calls.size() + second.calls.size(), 2u);
}

TEST_F(Hooks, ReplaceInsideHook) {
  ScriptedTransport::Script next;
  std::unique_ptr<Transport> replaced;
  script_.on_call = [&](Socket& socket, std::string_view) {
    replaced =
        socket.ReplaceTransport(std::make_unique<ScriptedTransport>(next));
  };
  script_.reads = {ScriptedTransport::Bytes("a")};
  next.reads = {ScriptedTransport::Bytes("b")};
  Use(script_);
  EXPECT_EQ(socket_.Read(absl::MakeSpan(buffer_)).bytes, 1u);
  EXPECT_EQ(buffer_[0], 'a') << "the call that replaced was carried through";
  EXPECT_EQ(script_.calls, Calls{"read"}) << "not destroyed";
  EXPECT_EQ(socket_.Read(absl::MakeSpan(buffer_)).bytes, 1u);
  EXPECT_EQ(buffer_[0], 'b');
  ASSERT_NE(replaced, nullptr);
  replaced = nullptr;
  EXPECT_EQ(script_.calls, (Calls{"read", "destroyed"}));
  // On a closed socket it gives back what it was given.
  socket_.Abort();
  EXPECT_NE(socket_.ReplaceTransport(std::make_unique<Transport>()), nullptr);
}

// The replaced one lives until its call has returned.
TEST_F(Hooks, SetInsideEveryCall) {
  for (const std::string_view call :
       {"read", "write", "flush", "before_close"}) {
    SCOPED_TRACE(call);
    LoopbackPair pair = LoopbackPair::Unix();
    ScriptedTransport::Script old;
    ScriptedTransport::Script next;
    old.on_call = [&](Socket& socket, std::string_view now) {
      if (now != call) return;
      EXPECT_TRUE(
          socket.SetTransport(std::make_unique<ScriptedTransport>(next)).ok());
      EXPECT_NE(old.calls.back(), "destroyed");
    };
    EXPECT_TRUE(
        pair.near.SetTransport(std::make_unique<ScriptedTransport>(old)).ok());
    EXPECT_TRUE(pair.near.Write("x").ok());
    static_cast<void>(pair.near.Read(absl::MakeSpan(buffer_)));
    static_cast<void>(pair.near.Flush());
    pair.near.Close();
    EXPECT_EQ(std::count(old.calls.begin(), old.calls.end(), "destroyed"), 1);
    EXPECT_EQ(std::count(next.calls.begin(), next.calls.end(), "destroyed"), 1);
    EXPECT_EQ(old.written + next.written, "x");
    EXPECT_LT(pair.near.fd(), 0);
  }
}

// Every operation inside every call: nothing is lost, nothing runs twice.
TEST_F(Hooks, TheSocketMayBeCalledFromInside) {
  struct Operation {
    const char* name;
    void (*run)(Socket&);
  };
  const Operation operations[] = {
      {"close", [](Socket& socket) { socket.Close(); }},
      {"abort", [](Socket& socket) { socket.Abort(); }},
      {"write", [](Socket& socket) { (void)socket.Write("more"); }},
      {"flush", [](Socket& socket) { (void)socket.Flush(); }},
      {"shutdown", [](Socket& socket) { (void)socket.ShutdownWrite(); }},
      {"env",
       [](Socket& socket) {
         (void)socket.SetEnv({.name = "key"}, nullptr, nullptr);
         (void)socket.RemoveEnv({.name = "key"});
       }},
      {"plain", [](Socket& socket) { (void)socket.SetTransport(nullptr); }},
  };
  for (const std::string_view call :
       {"read", "write", "flush", "before_close"}) {
    for (const Operation& operation : operations) {
      SCOPED_TRACE(std::string(call) + " " + operation.name);
      LoopbackPair pair = LoopbackPair::Unix();
      int released = 0;
      int closed = 0;
      ScriptedTransport::Script script;
      bool done = false;
      script.on_call = [&](Socket& socket, std::string_view now) {
        if (now != call || done) return;
        done = true;
        operation.run(socket);
        EXPECT_GE(socket.fd(), 0) << "not closed under its own feet";
      };
      ASSERT_TRUE(pair.near.SetEnv({}, nullptr, [&](void*) { ++closed; }).ok());
      ASSERT_TRUE(
          pair.near.SetTransport(std::make_unique<ScriptedTransport>(script))
              .ok());
      ASSERT_TRUE(pair.near
                      .Write(absl::MakeCordFromExternal(
                          "owned", [&](std::string_view) { ++released; }))
                      .ok());
      static_cast<void>(pair.near.Read(absl::MakeSpan(buffer_)));
      static_cast<void>(pair.near.Flush());
      pair.near.Close();
      EXPECT_TRUE(done);
      EXPECT_LT(pair.near.fd(), 0);
      EXPECT_EQ(released, 1);
      EXPECT_EQ(closed, 1);
      EXPECT_EQ(
          std::count(script.calls.begin(), script.calls.end(), "destroyed"), 1);
    }
  }
}

TEST_F(Hooks, ShutdownFromInsideIsCarriedOut) {
  socket_.AllowHalfOpen();
  script_.on_call = [](Socket& socket, std::string_view call) {
    if (call != "read") return;
    EXPECT_TRUE(socket.ShutdownWrite().would_block());
  };
  Use(script_);
  EXPECT_TRUE(socket_.Read(absl::MakeSpan(buffer_)).would_block());
  EXPECT_EQ(ReadToEnd(pair_.far), "");
  EXPECT_GE(socket_.fd(), 0);
  EXPECT_FALSE(socket_.wants_write());
}

TEST_F(Hooks, ATransportThatTakesNothingDoesNotSpin) {
  script_.writes = {{.bytes = 0}};
  Use(script_);
  EXPECT_TRUE(socket_.Write("x").ok());
  EXPECT_TRUE(socket_.Flush().would_block());
  EXPECT_EQ(script_.calls, Calls{"write"});
  script_.flushes = {{.error = EPROTO}};
  EXPECT_EQ(socket_.Flush().error, EPROTO);
  EXPECT_LT(socket_.fd(), 0);
}

TEST_F(Hooks, DuringAHandshakeFlushPassesNothing) {
  socket_.AllowHalfOpen();
  Use(script_);
  socket_.SetShaking(true);
  EXPECT_TRUE(socket_.Write("x").ok());
  EXPECT_TRUE(socket_.Flush().would_block());
  EXPECT_TRUE(socket_.ShutdownWrite().would_block());
  EXPECT_EQ(script_.calls, Calls{});
  EXPECT_TRUE(socket_.wants_write());
  socket_.SetShaking(false);
  EXPECT_TRUE(socket_.Flush().ok());
  EXPECT_EQ(script_.calls, (Calls{"write", "flush", "before_close"}));
  EXPECT_EQ(script_.written, "x");
  EXPECT_EQ(ReadToEnd(pair_.far), "");
}

// It looks below the transport, as ReadRaw() reads.
TEST_F(Hooks, PeekRawSeesWhatWasGivenBack) {
  EXPECT_TRUE(socket_.PeekRaw().would_block());
  socket_.Unread("x");
  Use(script_);
  EXPECT_EQ(socket_.PeekRaw().bytes, 1u);
  char byte;
  EXPECT_EQ(socket_.ReadRaw(absl::MakeSpan(&byte, 1)).bytes, 1u);
  EXPECT_TRUE(socket_.PeekRaw().would_block());
  ASSERT_TRUE(pair_.far.TryWrite("y").ok());
  EXPECT_EQ(socket_.PeekRaw().bytes, 1u);
  EXPECT_EQ(socket_.ReadRaw(absl::MakeSpan(&byte, 1)).bytes, 1u);
  EXPECT_EQ(byte, 'y');
  static_cast<void>(pair_.far.ShutdownWrite());
  EXPECT_TRUE(socket_.PeekRaw().ok());
  EXPECT_EQ(socket_.PeekRaw().bytes, 0u);
}

// A transport may have taken all that was given back before it was set.
TEST_F(Hooks, AfterATransportTheKernelIsReadAgain) {
  socket_.Unread("x");
  Use(script_);
  char byte;
  EXPECT_EQ(socket_.ReadRaw(absl::MakeSpan(&byte, 1)).bytes, 1u);
  EXPECT_TRUE(socket_.SetTransport(nullptr).ok());
  EXPECT_TRUE(socket_.Read(absl::MakeSpan(&byte, 1)).would_block());
  ASSERT_TRUE(pair_.far.TryWrite("y").ok());
  EXPECT_EQ(socket_.Read(absl::MakeSpan(&byte, 1)).bytes, 1u);
  EXPECT_EQ(byte, 'y');
}

// At the first attempt as at any later one.
TEST_F(Hooks, AFarewellThatFailsIsTold) {
  for (const bool at_once : {true, false}) {
    ScriptedTransport::Script script;
    LoopbackPair pair = LoopbackPair::Unix();
    script.delays_close = true;
    script.flushes = {{}, {.bytes = 1, .error = EAGAIN}, {.error = EPROTO}};
    if (at_once) script.flushes.erase(script.flushes.begin() + 1);
    ASSERT_TRUE(
        pair.near.SetTransport(std::make_unique<ScriptedTransport>(script))
            .ok());
    pair.near.HoldDescriptor(true);
    pair.near.Close();
    IoResult flushed = pair.near.Flush();
    if (!at_once) {
      EXPECT_TRUE(flushed.would_block());
      flushed = pair.near.Flush();
    }
    EXPECT_EQ(flushed.error, EPROTO);
    EXPECT_TRUE(pair.near.is_over());
  }
}

// The rest of what it has to say is flushed, and the peer's end awaited.
TEST_F(Hooks, AProtocolErrorHasLastWords) {
  for (const bool held : {false, true}) {
    ScriptedTransport::Script script;
    LoopbackPair pair = LoopbackPair::Tcp();
    script.reads = {ScriptedTransport::Error(EPROTO)};
    script.flushes = {{.bytes = 2}, {.bytes = 0}};
    script.delays_close = true;
    ASSERT_TRUE(
        pair.near.SetTransport(std::make_unique<ScriptedTransport>(script))
            .ok());
    pair.near.HoldDescriptor(held);
    ASSERT_TRUE(pair.near.Write("queued").ok());
    ASSERT_TRUE(pair.far.TryWrite("unread").ok());
    EXPECT_EQ(pair.near.Read(absl::MakeSpan(buffer_)).error, EPROTO);
    EXPECT_TRUE(pair.near.is_closing());
    EXPECT_FALSE(pair.near.is_over());
    EXPECT_FALSE(pair.near.has_pending());
    if (held) {
      EXPECT_TRUE(pair.near.Flush().would_block());
    }
    EXPECT_EQ(script.calls, (Calls{"read", "flush"}));
    EXPECT_TRUE(pair.near.Flush().would_block());
    EXPECT_EQ(script.calls, (Calls{"read", "flush", "flush"}));
    EXPECT_EQ(ReadToEnd(pair.far), "");
    pair.far.Close();
    const Clock& clock = Clock::System();
    EXPECT_TRUE(
        pair.near.FlushUntil(clock, clock.Now() + absl::Seconds(60)).ok());
    EXPECT_TRUE(held ? pair.near.is_over() : pair.near.fd() < 0);
  }
}

// As close_notify of TLS: bytes behind it would make the kernel reset.
TEST_F(Hooks, AnEndOfItsOwnIsNoEndBelow) {
  ScriptedTransport::Script script;
  LoopbackPair pair = LoopbackPair::Tcp();
  script.reads = {ScriptedTransport::End()};
  ASSERT_TRUE(
      pair.near.SetTransport(std::make_unique<ScriptedTransport>(script)).ok());
  pair.near.AllowHalfOpen();
  ASSERT_TRUE(pair.far.TryWrite(std::string(1000, 'u')).ok());
  const IoResult end = pair.near.Read(absl::MakeSpan(buffer_));
  ASSERT_TRUE(end.ok() && end.bytes == 0);
  pair.near.Close();
  EXPECT_GE(pair.near.fd(), 0);
  EXPECT_EQ(ReadToEnd(pair.far), "");
  EXPECT_EQ(pair.far.TakeError(), 0);
  pair.far.Close();
  const Clock& clock = Clock::System();
  EXPECT_TRUE(
      pair.near.FlushUntil(clock, clock.Now() + absl::Seconds(60)).ok());
  EXPECT_LT(pair.near.fd(), 0);
}

// One that overrides nothing is no different from none, and stays as it is.
TEST_F(Hooks, DefaultUnmodified) {
  const std::string sent(1 << 20, 's');
  for (const bool plain : {true, false}) {
    LoopbackPair pair = LoopbackPair::Unix();
    if (!plain) {
      EXPECT_TRUE(pair.near.SetTransport(std::make_unique<Transport>()).ok());
    }
    FaultPlan plan;
    ASSERT_TRUE(pair.near.Write(sent).ok());
    std::string received;
    while (pair.near.Flush().would_block()) received += ReadAvailable(pair.far);
    received += ReadAvailable(pair.far);
    EXPECT_TRUE(received == sent);
    ASSERT_TRUE(pair.far.TryWrite("reply").ok());
    EXPECT_EQ(pair.near.Read(absl::MakeSpan(buffer_)).bytes, 5u);
    EXPECT_TRUE(pair.near.Read(absl::MakeSpan(buffer_)).would_block());
    pair.near.Close();
    EXPECT_LT(pair.near.fd(), 0);
  }
}

TEST_F(Hooks, FilesPassThroughThemAndNeverBySendfile) {
  Use(script_);
  const std::string contents(100'000, 'f');
  FaultPlan plan;
  EXPECT_TRUE(socket_.Write(*FileRange::Own(MemoryFile(contents))).ok());
  EXPECT_TRUE(socket_.Flush().ok());
  EXPECT_TRUE(script_.written == contents);
  EXPECT_EQ(plan.calls(FaultPlan::Call::kSendfile), 0u);
}

// A tap: it sees the bytes and leaves the rest as it is.
TEST_F(Hooks, OneFunctionMayBeOverriddenAlone) {
  class Tap final : public Transport {
   public:
    explicit Tap(std::string& seen) : seen_(seen) {}
    IoResult Read(Socket& socket, absl::Span<char> out) override {
      const IoResult read = Transport::Read(socket, out);
      seen_.append(out.data(), read.bytes);
      return read;
    }

   private:
    std::string& seen_;
  };
  std::string seen;
  ASSERT_TRUE(socket_.SetTransport(std::make_unique<Tap>(seen)).ok());
  ASSERT_TRUE(pair_.far.TryWrite("hello").ok());
  EXPECT_EQ(socket_.Read(absl::MakeSpan(buffer_)).bytes, 5u);
  EXPECT_EQ(seen, "hello");
  EXPECT_TRUE(socket_.Write("reply").ok());
  EXPECT_TRUE(socket_.Flush().ok());
  EXPECT_EQ(ReadAvailable(pair_.far), "reply");
}

}  // namespace
}  // namespace fio
