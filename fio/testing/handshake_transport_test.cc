#include "fio/testing/handshake_transport.h"

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/core/loop/protocol.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"
#include "fio/testing/handshake_side.h"
#include "fio/testing/loopback_pair.h"
#include "fio/testing/simulated_network.h"
#include "fio/testing/world.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using ::testing::ElementsAre;
using testing::HandshakeScript;
using testing::HandshakeSide;
using testing::HandshakeTransport;
using testing::LoopbackPair;
using testing::Peer;
using testing::ReadAvailable;
using testing::World;
using Role = HandshakeSide::Role;
using State = HandshakeSide::State;

constexpr absl::Duration kTimeout = absl::Seconds(10);

void Exchange(HandshakeSide& one, HandshakeSide& other) {
  while (!one.output().empty() || !other.output().empty()) {
    other.Receive(one.TakeOutput());
    one.Receive(other.TakeOutput());
  }
}

TEST(HandshakeSide, TalksInRounds) {
  for (int rounds = 0; rounds < 4; ++rounds) {
    SCOPED_TRACE(rounds);
    const HandshakeScript script = {.rounds = rounds, .record_bytes = 3};
    HandshakeSide client(Role::kClient, script);
    HandshakeSide server(Role::kServer, script);
    Exchange(client, server);
    ASSERT_EQ(client.state(), State::kOpen);
    ASSERT_EQ(server.state(), State::kOpen);
    client.Send("question");
    server.Send("answer");
    Exchange(client, server);
    EXPECT_EQ(server.TakeReceived(), "question");
    EXPECT_EQ(client.TakeReceived(), "answer");
    EXPECT_FALSE(client.has_ended());
    server.SayFarewell();
    Exchange(client, server);
    EXPECT_TRUE(client.has_ended());
  }
}

// Whatever the pieces in which they come.
TEST(HandshakeSide, TakesBytesOneByOne) {
  HandshakeSide client(Role::kClient, {});
  HandshakeSide server(Role::kServer, {});
  Exchange(client, server);
  client.Send("bytes");
  const std::string wire = client.TakeOutput();
  for (const char byte : wire) server.Receive(std::string_view(&byte, 1));
  EXPECT_EQ(server.TakeReceived(), "bytes");
}

TEST(HandshakeSide, NoticesBytesThatPassItBy) {
  enum class Fault { kAlien, kLost, kTwice, kChanged };
  for (const Fault fault :
       {Fault::kAlien, Fault::kLost, Fault::kTwice, Fault::kChanged}) {
    SCOPED_TRACE(static_cast<int>(fault));
    HandshakeSide client(Role::kClient, {});
    HandshakeSide server(Role::kServer, {});
    Exchange(client, server);
    client.Send("bytes");
    std::string wire = client.TakeOutput();
    if (fault == Fault::kAlien) wire.insert(0, "plain");
    if (fault == Fault::kLost) wire.erase(0, 1);
    if (fault == Fault::kTwice) wire.insert(0, wire.substr(0, 1));
    if (fault == Fault::kChanged) wire[0] = static_cast<char>(wire[0] + 64);
    server.Receive(wire);
    EXPECT_EQ(server.TakeReceived(), "");
    EXPECT_TRUE(absl::IsDataLoss(server.status())) << server.status();
  }
}

TEST(HandshakeSide, AnswersWhoAsks) {
  HandshakeSide client(Role::kClient, {.record_bytes = 1, .ask_every = 2});
  HandshakeSide server(Role::kServer, {});
  Exchange(client, server);
  client.Send("bytes");
  Exchange(client, server);
  EXPECT_EQ(client.answers(), 2);
  EXPECT_EQ(server.TakeReceived(), "bytes");
}

TEST(HandshakeSide, FailsInItsRoundWithAnAlert) {
  HandshakeSide client(Role::kClient, {.rounds = 3});
  HandshakeSide server(Role::kServer, {.rounds = 3, .fail_in_round = 2});
  Exchange(client, server);
  EXPECT_TRUE(absl::IsPermissionDenied(server.status())) << server.status();
  EXPECT_EQ(client.status(),
            absl::AbortedError("alert: refused by the script"));
}

// --- On connections ---

class Echo final : public Protocol {
 public:
  void OnData(Connection& connection) override {
    connection.Write(connection.Received());
  }
};

// A connection of a World over the transport, and its far end.
class OverHandshake : public ::testing::Test {
 protected:
  void Start(const HandshakeTransport::Options& options) {
    HandshakeScript script = options.script;
    script.suspend_in_round = script.fail_in_round = 0;
    far_ = std::make_unique<HandshakeSide>(Role::kClient, script);
    peer_ = world_.Connect([&](Connection& connection) {
      id_ = connection.id();
      connection.StartHandshake(
          std::make_unique<HandshakeTransport>(Role::kServer, options,
                                               control_),
          kTimeout, [this](Connection& shaken, const absl::Status& status) {
            done_.push_back(status);
            if (status.ok()) shaken.Attach(std::make_unique<Echo>());
          });
    });
  }
  // Until both are quiet.
  void Run() {
    do {
      peer_.Send(far_->TakeOutput());
      world_.RunUntilIdle();
      far_->Receive(peer_.TakeReceived());
    } while (!far_->output().empty());
  }

  World world_;
  std::shared_ptr<HandshakeTransport::Control> control_ =
      std::make_shared<HandshakeTransport::Control>();
  std::unique_ptr<HandshakeSide> far_;
  Peer peer_;
  ConnectionId id_;
  std::vector<absl::Status> done_;
};

TEST_F(OverHandshake, EchoesWithAnySeed) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    SCOPED_TRACE(seed);
    done_.clear();
    Start(HandshakeTransport::Options::FromSeed(seed));
    Run();
    ASSERT_THAT(done_, ElementsAre(absl::OkStatus()));
    ASSERT_EQ(far_->state(), State::kOpen);
    const std::string bytes(5'000, static_cast<char>('a' + seed % 26));
    far_->Send(bytes);
    Run();
    EXPECT_EQ(far_->TakeReceived(), bytes);
    peer_.Close();
    world_.RunUntilIdle();
  }
  EXPECT_EQ(control_->alive(), 0);
}

TEST_F(OverHandshake, IsResumedByAnotherThread) {
  HandshakeTransport::Options options;
  options.script.suspend_in_round = 2;
  Start(options);
  Run();
  EXPECT_TRUE(done_.empty());
  std::thread([&, handle = world_.loop().handle()] {
    control_->Resume();
    handle.ResumeHandshake(id_);
  }).join();
  Run();
  EXPECT_THAT(done_, ElementsAre(absl::OkStatus()));
  far_->Send("bytes");
  Run();
  EXPECT_EQ(far_->TakeReceived(), "bytes");
}

TEST_F(OverHandshake, ItsAlertReachesThePeer) {
  HandshakeTransport::Options options;
  options.script.fail_in_round = 1;
  Start(options);
  far_->Receive("");
  Run();
  ASSERT_EQ(done_.size(), 1u);
  EXPECT_TRUE(absl::IsPermissionDenied(done_[0])) << done_[0];
  EXPECT_TRUE(absl::IsAborted(far_->status())) << far_->status();
  EXPECT_TRUE(peer_.saw_end());
  EXPECT_FALSE(peer_.saw_reset());
}

TEST_F(OverHandshake, SaysFarewell) {
  Start({});
  Run();
  world_.loop().Find(id_)->Close();
  Run();
  EXPECT_TRUE(far_->has_ended());
  EXPECT_TRUE(peer_.saw_end());
  EXPECT_EQ(control_->alive(), 0);
}

TEST_F(OverHandshake, AnswersThoughNothingIsWritten) {
  HandshakeTransport::Options options;
  options.script = {.rounds = 1, .record_bytes = 10, .ask_every = 1};
  Start(options);
  Run();
  world_.loop().Find(id_)->Attach(nullptr);
  Run();
  far_->Send("a");
  peer_.Send(far_->TakeOutput());
  char byte;
  world_.Turn();
  ASSERT_EQ(world_.loop().Find(id_)->Read(absl::MakeSpan(&byte, 1)), 1u);
  Run();
  EXPECT_EQ(far_->answers(), 1);
}

// What it holds for a kernel that is full leaves when there is room.
TEST_F(OverHandshake, HoldsOutput) {
  HandshakeTransport::Options options;
  options.script.round_bytes = 100'000;
  options.hold_bytes = 100;
  Start(options);
  peer_.SetWindow(1000);
  Run();
  EXPECT_THAT(done_, ElementsAre(absl::OkStatus()));
  EXPECT_EQ(far_->state(), State::kOpen);
  const std::string bytes(20'000, 'x');
  far_->Send(bytes);
  Run();
  EXPECT_EQ(far_->TakeReceived(), bytes);
}

// Also when nobody is there to write anything.
TEST_F(OverHandshake, ItsLastRoundLeavesWithoutAProtocol) {
  HandshakeTransport::Options options;
  options.script = {.rounds = 1, .round_bytes = 100'000};
  far_ = std::make_unique<HandshakeSide>(Role::kClient, options.script);
  peer_ = world_.Connect([&](Connection& connection) {
    connection.StartHandshake(
        std::make_unique<HandshakeTransport>(Role::kServer, options), kTimeout,
        [this](Connection&, const absl::Status& status) {
          done_.push_back(status);
        });
  });
  Run();
  EXPECT_THAT(done_, ElementsAre(absl::OkStatus()));
  EXPECT_EQ(far_->state(), State::kOpen);
}

TEST_F(OverHandshake, HoldsWhatTryWriteHasGivenIt) {
  HandshakeTransport::Options options;
  options.script.record_bytes = 4000;
  Start(options);
  Run();
  peer_.SetWindow(1000);
  world_.Turn(2);
  const std::string bytes(4000, 'x');
  EXPECT_EQ(world_.loop().Find(id_)->TryWrite(bytes).bytes, 4000u);
  Run();
  EXPECT_EQ(far_->TakeReceived(), bytes);
}

TEST_F(OverHandshake, DoesAnythingInItsCalls) {
  using Call = HandshakeTransport::Call;
  for (const Call call : {Call::kShake, Call::kRead, Call::kWrite, Call::kFlush,
                          Call::kBeforeClose}) {
    for (const bool replace : {false, true}) {
      SCOPED_TRACE(absl::StrCat(call, " ", replace));
      HandshakeTransport::Options options;
      options.on_call = [call, replace](Socket* socket, Call now) {
        if (now != call) return;
        if (replace) {
          EXPECT_TRUE(socket->SetTransport(std::make_unique<Transport>()).ok());
        } else {
          socket->Abort();
        }
      };
      Start(options);
      Run();
      if (far_->state() == State::kOpen) far_->Send("bytes");
      Run();
      if (Connection* const found = world_.loop().Find(id_)) found->Close();
      Run();
      peer_.Close();
      world_.Advance(absl::Seconds(20));
      EXPECT_EQ(world_.loop().connection_count(), 0u);
      EXPECT_EQ(control_->alive(), 0);
    }
  }
}

// Without a loop, on both ends.
TEST(HandshakeTransport, WorksOnSockets) {
  LoopbackPair pair = LoopbackPair::Unix();
  ASSERT_TRUE(pair.near
                  .SetTransport(std::make_unique<HandshakeTransport>(
                      Role::kServer, HandshakeTransport::Options()))
                  .ok());
  ASSERT_TRUE(pair.far
                  .SetTransport(std::make_unique<HandshakeTransport>(
                      Role::kClient, HandshakeTransport::Options()))
                  .ok());
  int done = 0;
  for (int i = 0; i < 10 && done < 2; ++i) {
    done = (pair.far.Shake() == Transport::Handshake::kDone) +
           (pair.near.Shake() == Transport::Handshake::kDone);
  }
  ASSERT_EQ(done, 2);
  EXPECT_EQ(pair.far.TryWrite("bytes").bytes, 5u);
  EXPECT_EQ(ReadAvailable(pair.near), "bytes");
  pair.far.Close();
  char byte;
  const IoResult end = pair.near.Read(absl::MakeSpan(&byte, 1));
  EXPECT_TRUE(end.ok() && end.bytes == 0) << absl::StrCat(end);
}

TEST(HandshakeTransport, MissesAFarewell) {
  LoopbackPair pair = LoopbackPair::Unix();
  HandshakeTransport::Options options;
  options.script.rounds = 0;
  options.needs_farewell = true;
  ASSERT_TRUE(pair.near
                  .SetTransport(std::make_unique<HandshakeTransport>(
                      Role::kServer, options))
                  .ok());
  pair.far.Close();
  char byte;
  EXPECT_EQ(pair.near.Read(absl::MakeSpan(&byte, 1)).error, EPROTO);
}

}  // namespace
}  // namespace fio
