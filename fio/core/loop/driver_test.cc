// Connections whose bytes a SocketDriver moves: all above it stays as it is.

#include <sys/uio.h>

#include <cerrno>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_options.h"
#include "fio/core/loop/test_util.h"
#include "fio/core/poller/event.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_driver.h"
#include "fio/sock/transport.h"
#include "fio/testing/fake_poller.h"
#include "fio/testing/manual_clock.h"
#include "fio/testing/scripted_driver.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using loop_internal::Record;
using loop_internal::Recorder;
using ::testing::ElementsAre;
using testing::FakePoller;
using testing::ScriptedDriver;
using Ending = SocketDriver::Ending;

constexpr int kFd = 4'000;

class DrivenConnection : public ::testing::Test {
 protected:
  DrivenConnection() {
    auto poller = std::make_unique<FakePoller>();
    poller_ = poller.get();
    poller_->Open(kFd);
    absl::StatusOr<std::unique_ptr<Loop>> loop =
        Loop::Create({.clock = &clock_,
                      .receive_buffer_bytes = 4096,
                      .unread_limit_bytes = 100,
                      .watermarks = {.high_bytes = 1000}},
                     std::move(poller));
    EXPECT_TRUE(loop.ok()) << loop.status();
    loop_ = *std::move(loop);
    const absl::StatusOr<ConnectionId> id =
        loop_->Adopt(driver_.MakeSocket(kFd), [&](Connection& connection) {
          connection.Attach(std::make_unique<Recorder>(record_));
        });
    EXPECT_TRUE(id.ok()) << id.status();
    connection_ = loop_->Find(*id);
    Turn();
    record_.told.clear();
  }
  ~DrivenConnection() override {
    loop_ = nullptr;
    if (driver_.in_flight() > 0) driver_.Complete();
    EXPECT_TRUE(driver_.is_closed());
  }

  void Turn(int count = 1) {
    for (int i = 0; i < count; ++i) {
      ASSERT_TRUE(loop_->RunOnce(MonotonicTime::InfinitePast()).ok());
    }
  }
  // What the poller tells of a change.
  void Tell(uint32_t readiness) {
    poller_->SetReadiness(kFd, Readiness(readiness), Readiness(readiness));
    Turn();
  }
  void Bring(std::string_view bytes) {
    driver_.Bring(bytes);
    Tell(Readiness::kReadable);
  }
  void Complete(size_t bytes) {
    driver_.Complete(bytes);
    Tell(Readiness::kWritable);
  }

  testing::ManualClock clock_;
  Record record_;
  ScriptedDriver driver_;
  FakePoller* poller_;
  std::unique_ptr<Loop> loop_;
  Connection* connection_;
};

TEST_F(DrivenConnection, EchoesAndIsReadyOnceItHasLeft) {
  record_.on_data = [](Connection& connection) {
    connection.Write(connection.Received());
  };
  Bring("hello");
  EXPECT_EQ(driver_.in_flight(), 5u);
  EXPECT_EQ(connection_->pending_bytes(), 5u);
  EXPECT_THAT(record_.told, ElementsAre("data"));
  Complete(3);
  EXPECT_EQ(connection_->pending_bytes(), 2u);
  EXPECT_THAT(record_.told, ElementsAre("data"));
  Complete(2);
  EXPECT_EQ(driver_.sent(), "hello");
  EXPECT_THAT(record_.told, ElementsAre("data", "ready"));
  EXPECT_EQ(loop_->stats().bytes_read, 5u);
  EXPECT_EQ(loop_->stats().bytes_written, 5u);
}

TEST_F(DrivenConnection, ReadsGoOnWhileAWriteIsInFlight) {
  record_.on_data = [](Connection& connection) {
    connection.Write(connection.Received());
  };
  Bring("a");
  Bring("b");
  Bring("c");
  EXPECT_EQ(driver_.in_flight(), 1u);
  Complete(1);
  EXPECT_EQ(driver_.in_flight(), 2u) << "what came meanwhile leaves together";
  Complete(2);
  EXPECT_EQ(driver_.sent(), "abc");
}

TEST_F(DrivenConnection, WhatIsNotConsumedIsInFrontOfWhatComes) {
  std::string seen;
  record_.on_data = [&](Connection& connection) {
    seen = connection.Unread();
    if (seen.back() == '\n') connection.Consume(seen.size());
  };
  Bring("half");
  EXPECT_EQ(seen, "half");
  Bring(" a line\n");
  EXPECT_EQ(seen, "half a line\n");
}

TEST_F(DrivenConnection, WhatComesWhileItIsSuspendedStaysWithTheDriver) {
  connection_->Suspend();
  Bring("later");
  EXPECT_EQ(record_.data, "");
  connection_->Resume();
  Turn();
  EXPECT_EQ(record_.data, "later");
}

TEST_F(DrivenConnection, AFullQueueStopsReadingUntilHalfHasLeft) {
  connection_->Write(std::string(2'000, 'x'));
  Turn();
  Bring("request");
  EXPECT_EQ(record_.data, "");
  Complete(900);
  EXPECT_EQ(record_.data, "");
  Complete(1'100);
  Turn();
  EXPECT_EQ(record_.data, "request");
}

TEST_F(DrivenConnection, BytesThenTheEndThenClose) {
  driver_.Bring("last words");
  driver_.BringEnd();
  Tell(Readiness::kReadable | Readiness::kReadClosed);
  Turn();
  EXPECT_EQ(record_.data, "last words");
  EXPECT_THAT(record_.told, ElementsAre("data", "end", "close", "destroyed"));
  EXPECT_EQ(record_.reason.origin, CloseReason::Origin::kPeer);
  EXPECT_EQ(driver_.ending(), Ending::kClose);
}

TEST_F(DrivenConnection, AnErrorIsToldBehindTheBytes) {
  driver_.Bring("last words");
  driver_.BringError(ECONNRESET);
  Tell(Readiness::kReadable | Readiness::kReadClosed | Readiness::kError);
  Turn(2);
  EXPECT_EQ(record_.data, "last words");
  EXPECT_EQ(record_.reason.error, ECONNRESET);
  EXPECT_EQ(record_.Count("end"), 0);
}

TEST_F(DrivenConnection, AFailureOfSendingClosesAfterTheBytesThatCame) {
  connection_->Write("lost");
  Turn();
  driver_.Bring("came before");
  driver_.Fail(EPIPE);
  Tell(Readiness::kReadable | Readiness::kWritable);
  EXPECT_EQ(record_.Count("close"), 0);
  driver_.BringError(ECONNRESET);
  Tell(Readiness::kReadable | Readiness::kReadClosed);
  Turn(2);
  EXPECT_EQ(record_.data, "came before");
  EXPECT_EQ(record_.reason.error, EPIPE);
}

TEST_F(DrivenConnection, CloseWaitsUntilAllHasLeft) {
  connection_->Write("bye");
  connection_->Close();
  Turn();
  EXPECT_EQ(record_.Count("close"), 0);
  Complete(3);
  Turn();
  EXPECT_EQ(record_.Count("close"), 1);
  EXPECT_EQ(driver_.ending(), Ending::kClose);
  EXPECT_TRUE(driver_.is_closed());
}

// The connection is buried, and what it had written is still being read.
TEST_F(DrivenConnection, AnAbortWhileAWriteIsInFlightKeepsItsMemory) {
  int released = 0;
  auto memory = std::make_unique<std::string>("cord");
  const std::string_view view = *memory;
  connection_->Write("copied,");
  connection_->Write(absl::MakeCordFromExternal(
      view, [&released, memory = std::move(memory)] { ++released; }));
  Turn();
  connection_->Abort();
  Turn();
  EXPECT_EQ(record_.Count("close"), 1);
  EXPECT_EQ(loop_->connection_count(), 0u);
  EXPECT_EQ(driver_.ending(), Ending::kReset);
  EXPECT_FALSE(driver_.is_closed());
  EXPECT_EQ(released, 0);
  driver_.Complete();
  EXPECT_EQ(released, 1);
  EXPECT_EQ(driver_.sent(), "copied,cord");
}

TEST_F(DrivenConnection, TheEndOfTheLoopKeepsIt) {
  connection_->Write("still in flight");
  Turn();
  loop_ = nullptr;
  EXPECT_FALSE(driver_.is_closed());
  driver_.Complete();
  EXPECT_EQ(driver_.sent(), "still in flight");
}

TEST_F(DrivenConnection, OnReadyComesAfterTryWrite) {
  EXPECT_EQ(connection_->TryWrite("one").bytes, 3u);
  EXPECT_TRUE(connection_->TryWrite("two").would_block());
  Turn();
  EXPECT_EQ(record_.Count("ready"), 0);
  Complete(3);
  EXPECT_EQ(record_.Count("ready"), 1);
  EXPECT_EQ(loop_->stats().bytes_written, 3u) << "counted once";
}

// Says "hello" in two parts, and is done when the peer has answered.
class Greeter final : public Transport {
 public:
  Handshake Shake(Socket& socket) override {
    for (std::string part : {"hel", "lo"}) {
      if (greeted_) break;
      const iovec piece = {.iov_base = part.data(), .iov_len = part.size()};
      EXPECT_TRUE(socket.WriteRaw(absl::MakeConstSpan(&piece, 1)).ok());
    }
    greeted_ = true;
    char answer;
    const IoResult read = socket.ReadRaw(absl::MakeSpan(&answer, 1));
    return read.bytes == 1 ? Handshake::kDone : Handshake::kMore;
  }

 private:
  bool greeted_ = false;
};

TEST_F(DrivenConnection, AHandshakeGoesThroughIt) {
  std::string done;
  connection_->Write("behind it");
  ASSERT_TRUE(connection_->StartHandshake(
      std::make_unique<Greeter>(), absl::Seconds(10),
      [&](Connection&, const absl::Status& status) {
        done = status.ToString();
      }));
  Turn(2);
  Complete(3);
  Turn();
  Complete(2);
  EXPECT_EQ(driver_.sent(), "hello");
  EXPECT_EQ(done, "");
  Bring("!");
  Turn();
  EXPECT_EQ(done, "OK");
  Complete(9);
  EXPECT_EQ(driver_.sent(), "hellobehind it");
}

// A peer that takes a byte now and then is not idle.
TEST_F(DrivenConnection, WhatLeavesCountsAsActivity) {
  connection_->SetTimeout(absl::Seconds(10));
  connection_->Write("slow");
  Turn();
  for (int i = 0; i < 4; ++i) {
    clock_.Advance(absl::Seconds(6));
    Complete(1);
  }
  EXPECT_EQ(record_.Count("timeout"), 0);
  clock_.Advance(absl::Seconds(11));
  Turn(2);
  EXPECT_EQ(record_.Count("timeout"), 1);
}

}  // namespace
}  // namespace fio
