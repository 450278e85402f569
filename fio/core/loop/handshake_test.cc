// Handshakes of transports, with a peer that the test plays.

#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/loop/test_util.h"
#include "fio/core/poller/poller_under_test.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"
#include "fio/testing/loopback_pair.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using loop_internal::LoopFixture;
using loop_internal::Record;
using loop_internal::Recorder;
using ::testing::ElementsAre;
using testing::LoopbackPair;
using testing::ReadAvailable;
using testing::ReadToEnd;
using testing::ReadUntil;

constexpr absl::Duration kTimeout = absl::Seconds(10);

// Waits for "hello;", answers, waits for "ready;", and is done. Any other word
// fails it, with an alert. Then it passes bytes on in upper case.
class Greeter final : public Transport {
 public:
  explicit Greeter(std::string answer = "welcome;", bool suspends = false)
      : answer_(std::move(answer)), suspends_(suspends) {}

  int shakes = 0;
  bool resumed = false;

  Handshake Shake(Socket& socket) override {
    ++shakes;
    for (;;) {
      if (!Flush(socket).ok()) return Handshake::kMore;
      if (suspends_ && greeted_ && !resumed) return Handshake::kSuspended;
      const size_t end = received_.find(';');
      if (end == std::string::npos) {
        char byte;
        const IoResult read = socket.ReadRaw(absl::MakeSpan(&byte, 1));
        if (read.bytes == 0) return Handshake::kMore;
        received_ += byte;
        continue;
      }
      const std::string word = received_.substr(0, end);
      received_.erase(0, end + 1);
      if (word == "hello") {
        greeted_ = true;
        to_send_ = answer_;
      } else if (word == "ready" && greeted_) {
        return Handshake::kDone;
      } else {
        to_send_ = "alert;";
        status_ = absl::PermissionDeniedError(absl::StrCat("not ", word));
        return Handshake::kFailed;
      }
    }
  }
  IoResult Read(Socket& socket, absl::Span<char> out) override {
    const IoResult read = socket.ReadRaw(out);
    for (char& byte : out.first(read.bytes)) {
      byte = static_cast<char>(byte - 32);
    }
    return read;
  }
  IoResult Flush(Socket& socket) override {
    while (sent_ < to_send_.size()) {
      const iovec piece = {.iov_base = to_send_.data() + sent_,
                           .iov_len = to_send_.size() - sent_};
      const IoResult sent = socket.WriteRaw(absl::MakeConstSpan(&piece, 1));
      sent_ += sent.bytes;
      if (!sent.ok()) {
        return {.bytes = to_send_.size() - sent_, .error = sent.error};
      }
    }
    to_send_.clear();
    sent_ = 0;
    return {};
  }
  absl::Status status() const override { return status_; }

 private:
  const std::string answer_;
  const bool suspends_;
  bool greeted_ = false;
  std::string received_;
  std::string to_send_;
  size_t sent_ = 0;
  absl::Status status_;
};

class Handshake : public LoopFixture {
 protected:
  Handshake() : LoopFixture({.poller = core_internal::PollerUnderTest()}) {}
  // Who is not done is told so.
  ~Handshake() override { loop_ = nullptr; }

  // Attaches the protocol when it is done.
  Connection& Start(LoopbackPair& pair, std::unique_ptr<Greeter> greeter) {
    greeter_ = greeter.get();
    const absl::StatusOr<ConnectionId> id =
        loop_->Adopt(std::move(pair.near), [&](Connection& connection) {
          EXPECT_TRUE(connection.StartHandshake(
              std::move(greeter), kTimeout,
              [this](Connection& shaken, const absl::Status& status) {
                done_.push_back(status);
                if (status.ok()) {
                  shaken.Attach(std::make_unique<Recorder>(record_));
                }
              }));
        });
    EXPECT_TRUE(id.ok()) << id.status();
    return *loop_->Find(*id);
  }
  void Send(std::string_view bytes) {
    ASSERT_EQ(pair_.far.TryWrite(bytes).bytes, bytes.size());
  }

  LoopbackPair pair_ = LoopbackPair::Tcp();
  Record& record_ = NewRecord();
  std::vector<absl::Status> done_;
  Greeter* greeter_ = nullptr;
};

TEST_F(Handshake, NoByteOfTheApplicationPassesBefore) {
  Connection& connection = Start(pair_, std::make_unique<Greeter>());
  EXPECT_TRUE(connection.is_handshaking());
  EXPECT_TRUE(connection.Write("written early"));
  EXPECT_EQ(connection.TryWrite("x").error, EAGAIN);
  Turn(3);
  EXPECT_EQ(ReadAvailable(pair_.far), "");
  for (const char byte : std::string_view("hello;")) {
    Send({&byte, 1});
    Turn(2);
  }
  EXPECT_EQ(ReadUntil(pair_.far, 8), "welcome;");
  EXPECT_THAT(done_, ElementsAre());
  Send("ready;application");
  Turn(3);
  EXPECT_THAT(done_, ElementsAre(absl::OkStatus()));
  EXPECT_FALSE(connection.is_handshaking());
  EXPECT_EQ(record_.data, "APPLICATION");
  EXPECT_EQ(ReadUntil(pair_.far, 13), "written early");
  Turn(5);
  EXPECT_EQ(record_.Count("open"), 1);
}

TEST_F(Handshake, GoesOnWhateverTheProtocolDoes) {
  const absl::StatusOr<ConnectionId> id =
      loop_->Adopt(std::move(pair_.near), [&](Connection& connection) {
        connection.Attach(std::make_unique<Recorder>(record_));
        connection.Suspend();
        connection.SetTimeout(absl::Seconds(1));
        connection.SetWatermarks({.high_bytes = 1});
        connection.Write("more than the mark");
        EXPECT_TRUE(connection.StartHandshake(
            std::make_unique<Greeter>(), kTimeout,
            [&](Connection&, const absl::Status& status) {
              done_.push_back(status);
            }));
      });
  ASSERT_TRUE(id.ok()) << id.status();
  Turn(2);
  Advance(absl::Seconds(5));
  EXPECT_EQ(record_.Count("timeout"), 0);
  Send("hello;");
  Turn(2);
  Send("ready;");
  Turn(2);
  EXPECT_THAT(done_, ElementsAre(absl::OkStatus()));
  EXPECT_EQ(ReadUntil(pair_.far, 26), "welcome;more than the mark");
}

TEST_F(Handshake, TimesOut) {
  Start(pair_, std::make_unique<Greeter>());
  Turn(2);
  Send("hel");
  Advance(kTimeout - absl::Milliseconds(1));
  EXPECT_THAT(done_, ElementsAre());
  Advance(absl::Milliseconds(1));
  ASSERT_EQ(done_.size(), 1u);
  EXPECT_TRUE(absl::IsDeadlineExceeded(done_[0])) << done_[0];
  pair_.far.Close();
  Turn(3);
  EXPECT_EQ(loop_->connection_count(), 0u);
  EXPECT_EQ(record_.told.size(), 0u);
}

TEST_F(Handshake, AFailureIsToldAndTheAlertArrives) {
  Connection& connection = Start(pair_, std::make_unique<Greeter>());
  std::optional<CloseReason> reason;
  connection.NotifyGone([&](const CloseReason& why) { reason = why; });
  connection.Write("never sent");
  // Unread bytes would make the end a reset, which could overtake the alert.
  Send("bad;and much that nobody reads");
  Turn(3);
  ASSERT_EQ(done_.size(), 1u);
  EXPECT_EQ(done_[0], absl::PermissionDeniedError("not bad"));
  EXPECT_EQ(ReadToEnd(pair_.far), "alert;");
  pair_.far.Close();
  Turn(3);
  EXPECT_EQ(loop_->connection_count(), 0u);
  ASSERT_TRUE(reason.has_value());
  EXPECT_EQ(reason->error, EPROTO);
}

TEST_F(Handshake, IsResumedFromAnotherThread) {
  Connection& connection =
      Start(pair_, std::make_unique<Greeter>("welcome;", true));
  Send("hello;ready;");
  Turn(5);
  EXPECT_THAT(done_, ElementsAre());
  const int shakes = greeter_->shakes;
  Turn(5);
  EXPECT_EQ(greeter_->shakes, shakes) << "it waits";
  greeter_->resumed = true;
  std::thread([handle = loop_->handle(), id = connection.id()] {
    handle.ResumeHandshake(id);
  }).join();
  Turn(3);
  EXPECT_THAT(done_, ElementsAre(absl::OkStatus()));
}

TEST_F(Handshake, EndsWithThePeer) {
  for (const bool reset : {false, true}) {
    SCOPED_TRACE(reset);
    done_.clear();
    LoopbackPair pair = LoopbackPair::Tcp();
    Start(pair, std::make_unique<Greeter>());
    Turn(2);
    reset ? pair.far.Abort() : pair.far.Close();
    Turn(4);
    ASSERT_EQ(done_.size(), 1u);
    EXPECT_FALSE(done_[0].ok());
    EXPECT_EQ(loop_->connection_count(), 0u);
  }
}

TEST_F(Handshake, ClosingCancelsIt) {
  for (const bool abort : {false, true}) {
    SCOPED_TRACE(abort);
    done_.clear();
    LoopbackPair pair = LoopbackPair::Tcp();
    Connection& connection = Start(pair, std::make_unique<Greeter>());
    Turn(2);
    abort ? connection.Abort() : connection.Close();
    Turn(2);
    ASSERT_EQ(done_.size(), 1u);
    EXPECT_TRUE(absl::IsCancelled(done_[0])) << done_[0];
    pair.far.Close();
    Turn(3);
    EXPECT_EQ(loop_->connection_count(), 0u);
  }
  // So does the end of the loop.
  done_.clear();
  Start(pair_, std::make_unique<Greeter>());
  loop_ = nullptr;
  ASSERT_EQ(done_.size(), 1u);
}

// A flight that is larger than the send buffer leaves as there is room. Over
// TCP a segment of it may wait for a timer of the kernel, so not over TCP.
TEST_F(Handshake, MeetsAFullSocket) {
  pair_ = LoopbackPair::Unix();
  const int small = 4096;
  setsockopt(pair_.near.fd(), SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
  const std::string flight = std::string(size_t{1} << 20, 'x') + ";";
  Start(pair_, std::make_unique<Greeter>(flight));
  Send("hello;");
  size_t received = 0;
  for (int i = 0; received < flight.size(); ++i) {
    ASSERT_LT(i, 100'000);
    Turn();
    received += ReadAvailable(pair_.far).size();
  }
  EXPECT_EQ(received, flight.size());
  Send("ready;");
  Turn(3);
  EXPECT_THAT(done_, ElementsAre(absl::OkStatus()));
}

// One that has nothing to do costs no turn, and no share of it.
TEST_F(Handshake, NoneIsDoneInTheSameTurn) {
  std::deque<LoopbackPair> pairs;
  size_t done = 0;
  for (int i = 0; i < 20; ++i) {
    pairs.push_back(LoopbackPair::Unix());
    const absl::StatusOr<ConnectionId> id =
        loop_->Adopt(std::move(pairs.back().near), [&](Connection& connection) {
          connection.StartHandshake(
              std::make_unique<Transport>(), kTimeout,
              [&](Connection&, const absl::Status&) { ++done; });
          EXPECT_EQ(done, 0u);
        });
    ASSERT_TRUE(id.ok()) << id.status();
  }
  Turn();
  EXPECT_EQ(done, 20u);
}

// As one that has only something to read at the beginning.
TEST_F(Handshake, MayRemoveItself) {
  using State = Transport::Handshake;
  class Removes final : public Transport {
   public:
    explicit Removes(State state) : state_(state) {}
    State Shake(Socket& socket) override {
      char byte;
      if (socket.ReadRaw(absl::MakeSpan(&byte, 1)).bytes == 0) {
        return State::kMore;
      }
      EXPECT_TRUE(socket.SetTransport(nullptr).ok());
      return state_;
    }

   private:
    const State state_;
  };
  for (const State state :
       {State::kDone, State::kMore, State::kSuspended, State::kFailed}) {
    done_.clear();
    record_.data.clear();
    LoopbackPair pair = LoopbackPair::Tcp();
    const absl::StatusOr<ConnectionId> id =
        loop_->Adopt(std::move(pair.near), [&](Connection& connection) {
          connection.StartHandshake(
              std::make_unique<Removes>(state), kTimeout,
              [&](Connection& shaken, const absl::Status& status) {
                done_.push_back(status);
                if (!status.ok()) return;
                shaken.Attach(std::make_unique<Recorder>(record_));
              });
        });
    ASSERT_TRUE(id.ok()) << id.status();
    Turn(2);
    ASSERT_TRUE(pair.far.TryWrite("hdata").ok());
    Turn(3);
    ASSERT_EQ(done_.size(), 1u);
    EXPECT_EQ(done_[0].ok(), state == State::kDone) << done_[0];
    EXPECT_EQ(record_.data, state == State::kDone ? "data" : "");
    pair.far.Close();
    Turn(3);
  }
}

// Another transport takes its place, and reads on where it has ended.
TEST_F(Handshake, AnotherMayBeginWhenOneIsDone) {
  const absl::StatusOr<ConnectionId> id =
      loop_->Adopt(std::move(pair_.near), [&](Connection& connection) {
        connection.StartHandshake(
            std::make_unique<Greeter>(), kTimeout,
            [&](Connection& shaken, const absl::Status& first) {
              done_.push_back(first);
              EXPECT_TRUE(shaken.StartHandshake(
                  std::make_unique<Greeter>("again;"), kTimeout,
                  [&](Connection& again, const absl::Status& second) {
                    done_.push_back(second);
                    again.Attach(std::make_unique<Recorder>(record_));
                  }));
            });
      });
  ASSERT_TRUE(id.ok()) << id.status();
  Send("hello;ready;hello;rea");
  Turn(4);
  EXPECT_THAT(done_, ElementsAre(absl::OkStatus()));
  EXPECT_TRUE(loop_->Find(*id)->is_handshaking());
  Send("dy;data");
  Turn(3);
  EXPECT_THAT(done_, ElementsAre(absl::OkStatus(), absl::OkStatus()));
  EXPECT_EQ(record_.data, "DATA");
  EXPECT_EQ(ReadUntil(pair_.far, 14), "welcome;again;");
}

// A storm of handshakes leaves turns short, and goes by age.
TEST_F(Handshake, TheOldestComeFirst) {
  std::deque<LoopbackPair> pairs;
  std::vector<Greeter*> greeters;
  for (int i = 0; i < 12; ++i) {
    pairs.push_back(LoopbackPair::Unix());
    Start(pairs.back(), std::make_unique<Greeter>());
    greeters.push_back(greeter_);
  }
  Turn(6);
  for (Greeter* const greeter : greeters) greeter->shakes = 0;
  for (auto pair = pairs.rbegin(); pair != pairs.rend(); ++pair) {
    ASSERT_TRUE(pair->far.TryWrite("hello;").ok());
  }
  for (size_t turn = 1; turn <= 3; ++turn) {
    Turn();
    for (size_t i = 0; i < greeters.size(); ++i) {
      EXPECT_EQ(greeters[i]->shakes > 0, i < 4 * turn) << i << " " << turn;
    }
  }
}

// --- The transport does what it likes ---

TEST_F(Handshake, GoesOnWithTheTransportThatReplacesIt) {
  Connection& connection = Start(pair_, std::make_unique<Greeter>());
  Turn(2);
  ASSERT_TRUE(
      connection.SetTransport(std::make_unique<Greeter>("again;")).ok());
  Turn(2);
  EXPECT_TRUE(done_.empty());
  Send("hello;");
  Turn(3);
  EXPECT_EQ(ReadAvailable(pair_.far), "again;");
  Send("ready;");
  Turn(3);
  EXPECT_THAT(done_, ElementsAre(absl::OkStatus()));
}

TEST_F(Handshake, FailsWithoutATransport) {
  Connection& connection = Start(pair_, std::make_unique<Greeter>());
  Turn(2);
  ASSERT_TRUE(connection.SetTransport(nullptr).ok());
  Turn(3);
  ASSERT_EQ(done_.size(), 1u);
  EXPECT_TRUE(absl::IsFailedPrecondition(done_[0])) << done_[0];
}

// Does it, in Shake() or in status(), and fails.
class Replaced final : public Transport {
 public:
  Replaced(bool in_status, bool by_one)
      : in_status_(in_status), by_one_(by_one) {}

  Handshake Shake(Socket& socket) override {
    socket_ = &socket;
    if (!in_status_) Replace();
    return Handshake::kFailed;
  }
  absl::Status status() const override {
    if (in_status_) Replace();
    return status_;
  }

 private:
  void Replace() const {
    EXPECT_TRUE(
        socket_->SetTransport(by_one_ ? std::make_unique<Transport>() : nullptr)
            .ok());
  }

  const bool in_status_;
  const bool by_one_;
  Socket* socket_ = nullptr;
  const absl::Status status_ =
      absl::DataLossError(std::string(100, 'x'));  // To be freed.
};

TEST_F(Handshake, FailsThoughItsTransportIsReplacedMeanwhile) {
  for (const bool in_status : {false, true}) {
    for (const bool by_one : {false, true}) {
      SCOPED_TRACE(absl::StrCat(in_status, by_one));
      done_.clear();
      LoopbackPair pair = LoopbackPair::Tcp();
      EXPECT_TRUE(
          loop_
              ->Adopt(std::move(pair.near),
                      [&](Connection& connection) {
                        connection.StartHandshake(
                            std::make_unique<Replaced>(in_status, by_one),
                            kTimeout,
                            [this](Connection&, const absl::Status& status) {
                              done_.push_back(status);
                            });
                      })
              .ok());
      Turn(3);
      ASSERT_EQ(done_.size(), 1u);
      EXPECT_EQ(absl::IsDataLoss(done_[0]), in_status) << done_[0];
      EXPECT_FALSE(done_[0].ok());
    }
  }
}

// Who is told of the end of the connection may close it.
TEST_F(Handshake, IsToldOnceThoughItIsClosedThen) {
  int told = 0;
  const absl::StatusOr<ConnectionId> id =
      loop_->Adopt(std::move(pair_.near), [&](Connection& connection) {
        connection.StartHandshake(
            std::make_unique<Greeter>(), kTimeout,
            [&told](Connection& ended, const absl::Status&) {
              ++told;
              EXPECT_FALSE(ended.is_handshaking());
              ended.Close();
              ended.CloseNow();
            });
      });
  ASSERT_TRUE(id.ok());
  Turn();
  loop_->Find(*id)->Abort();
  Turn(2);
  EXPECT_EQ(told, 1);
  EXPECT_EQ(loop_->connection_count(), 0u);
}

// While it has the pieces of the queue in hand.
class FailsInWrite final : public Transport {
 public:
  Connection* connection = nullptr;
  std::string written;

  IoResult Write(Socket& /*socket*/, absl::Span<const iovec> pieces) override {
    connection->StartHandshake(std::make_unique<Greeter>(), kTimeout,
                               [](Connection&, const absl::Status&) {});
    connection->Close();
    size_t taken = 0;
    for (const iovec& piece : pieces) {
      written.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
      taken += piece.iov_len;
    }
    EXPECT_EQ(written, std::string(taken, 'x'));
    return {.bytes = taken};
  }
};

TEST_F(Handshake, MayFailInsideOfAWrite) {
  auto transport = std::make_unique<FailsInWrite>();
  FailsInWrite& fails = *transport;
  const absl::StatusOr<ConnectionId> id =
      loop_->Adopt(std::move(pair_.near), [&](Connection& connection) {
        fails.connection = &connection;
        EXPECT_TRUE(connection.SetTransport(std::move(transport)).ok());
        connection.Attach(std::make_unique<Recorder>(record_));
      });
  ASSERT_TRUE(id.ok());
  loop_->Find(*id)->Write(std::string(1000, 'x'));
  Turn(2);
  EXPECT_EQ(loop_->Find(*id)->pending_bytes(), 0u);
  pair_.far.Close();
  Turn(3);
  EXPECT_EQ(record_.Count("close"), 1);
}

}  // namespace
}  // namespace fio
