// The clock stands still; servers are sockets of the test. What a Connector
// makes of a race is tested with it.

#include "fio/core/internal/address_race.h"

#include <sys/socket.h>

#include <cerrno>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/handshake_test_util.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/loop.h"
#include "fio/core/transport_factory.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"
#include "fio/testing/fault_plan.h"
#include "fio/testing/manual_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio::core_internal {
namespace {

using ::testing::ElementsAre;
using testing::FaultPlan;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::ManualClock;
using ::testing::SizeIs;

using Call = FaultPlan::Call;

// Longer than anything takes, and a little while in which something that must
// not could come.
constexpr int kManyTurns = 1000;
constexpr int kFewTurns = 5;

constexpr absl::Duration kHeadStart = absl::Milliseconds(250);

// A TCP port that is taken. What the kernel does with its clients is up to the
// test.
class Server {
 public:
  enum class Kind { kRefusing, kSilent, kListening };

  explicit Server(Kind kind)
      : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const SocketAddress any = *SocketAddress::Parse("127.0.0.1:0");
    EXPECT_EQ(bind(fd_.get(), any.data(), any.size()), 0);
    sockaddr_storage storage = {};
    socklen_t size = sizeof(storage);
    auto* const name = reinterpret_cast<sockaddr*>(&storage);
    EXPECT_EQ(getsockname(fd_.get(), name, &size), 0);
    address_ = *SocketAddress::FromSockaddr(name, size);
    if (kind == Kind::kListening) Listen(8);
    if (kind == Kind::kSilent) FillQueue();
  }

  const SocketAddress& address() const { return address_; }
  std::string name() const { return address_.ToString(); }

 private:
  void Listen(int backlog) { EXPECT_EQ(listen(fd_.get(), backlog), 0); }
  // It has one place.
  void FillQueue() {
    Listen(0);
    filler_ = UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(connect(filler_.get(), address_.data(), address_.size()), 0);
  }

  UniqueFd fd_;
  UniqueFd filler_;
  SocketAddress address_;
};

class AddressRaceTest : public ::testing::Test {
 protected:
  static std::unique_ptr<Loop> MakeLoop(ManualClock& clock) {
    absl::StatusOr<std::unique_ptr<Loop>> loop =
        Loop::Create({.clock = &clock});
    EXPECT_TRUE(loop.ok()) << loop.status();
    return *std::move(loop);
  }

  // Options whose callbacks are recorded, and then do what they are told.
  AddressRace::Options Options() {
    return {.on_open =
                [this](Connection& connection) {
                  opened_.push_back(connection.peer_address());
                  connection.Close();
                  if (then_) std::exchange(then_, nullptr)();
                },
            .on_failed =
                [this](const absl::Status& reason) {
                  failed_.push_back(reason);
                  if (then_) std::exchange(then_, nullptr)();
                },
            .attempt_delay = kHeadStart,
            .handshake_timeout = absl::Minutes(1)};
  }
  // The servers of this test say nothing.
  AddressRace::Options OptionsThatShake() {
    AddressRace::Options options = Options();
    options.transport = [this](const TransportRequest&) {
      if (then_) std::exchange(then_, nullptr)();
      return std::make_unique<WordTransport>("", "welcome;");
    };
    return options;
  }
  void Make(AddressRace::Options options) {
    race_ = std::make_shared<AddressRace>(*loop_, url_, 1, std::move(options));
  }
  void Begin(const std::vector<SocketAddress>& addresses) {
    const std::shared_ptr<AddressRace> race = race_;
    race->Begin(addresses, race);
  }

  void Turn(int count = 1) {
    for (int i = 0; i < count; ++i) {
      const absl::Status turn = loop_->RunOnce(MonotonicTime::InfinitePast());
      ASSERT_TRUE(turn.ok()) << turn;
    }
  }
  void Advance(absl::Duration span) {
    clock_.Advance(span);
    Turn(kFewTurns);
  }
  bool Until(const std::function<bool()>& so) {
    for (int i = 0; i < kManyTurns && !so(); ++i) {
      const absl::Status turn =
          loop_->RunOnce(clock_.Now() + absl::Milliseconds(10));
      EXPECT_TRUE(turn.ok()) << turn;
    }
    return so();
  }
  // Whether nothing is left of any race, and nothing more comes of it.
  void ExpectOver() {
    const size_t told = opened_.size() + failed_.size();
    Advance(absl::Hours(1));
    EXPECT_EQ(opened_.size() + failed_.size(), told);
    EXPECT_THAT(plan_.open_descriptors(), IsEmpty());
    EXPECT_EQ(loop_->next_deadline(), MonotonicTime::InfiniteFuture());
  }

  const Url url_ = *Url::Parse("tcp://name.test:1");
  const Server refusing_{Server::Kind::kRefusing};
  const Server silent_{Server::Kind::kSilent};
  const Server other_silent_{Server::Kind::kSilent};
  const Server listening_{Server::Kind::kListening};
  ManualClock clock_;
  std::unique_ptr<Loop> loop_ = MakeLoop(clock_);
  FaultPlan plan_;  // Its open descriptors are those of races alone.
  std::shared_ptr<AddressRace> race_;
  std::function<void()> then_;  // What the next callback does.
  std::vector<SocketAddress> opened_;
  std::vector<absl::Status> failed_;
};

TEST_F(AddressRaceTest, TheNextOneIsTriedAfterTheHeadStart) {
  Make(Options());
  Begin({silent_.address(), listening_.address()});
  Advance(kHeadStart - absl::Milliseconds(1));
  EXPECT_EQ(plan_.calls(Call::kConnect), 1u);
  Advance(absl::Milliseconds(1));
  EXPECT_EQ(plan_.calls(Call::kConnect), 2u);
  ASSERT_TRUE(Until([&] { return !opened_.empty(); }));
  EXPECT_THAT(opened_, ElementsAre(listening_.address()));
  EXPECT_THAT(failed_, IsEmpty());
  ExpectOver();
}

TEST_F(AddressRaceTest, TheNextOneIsTriedAtOnceAfterAFailure) {
  Make(Options());
  Begin({refusing_.address(), refusing_.address(), listening_.address()});
  ASSERT_TRUE(Until([&] { return !opened_.empty(); }));
  EXPECT_THAT(opened_, ElementsAre(listening_.address()));
  EXPECT_THAT(failed_, IsEmpty());
  ExpectOver();
}

TEST_F(AddressRaceTest, FamiliesAlternate) {
  Make(Options());
  Begin({silent_.address(), other_silent_.address(),
         *SocketAddress::Parse("[::1]:9")});
  plan_.FailNext(Call::kSocket, EMFILE);
  Advance(kHeadStart);
  EXPECT_EQ(race_->GiveUp("late").message(),
            absl::StrCat("late; socket [::1]:9: Too many open files (EMFILE); ",
                         silent_.name(), ": no answer; ", other_silent_.name(),
                         ": no answer"));
  ExpectOver();
}

TEST_F(AddressRaceTest, AllFailuresAreToldInOne) {
  Make(Options());
  plan_.FailNext(Call::kSocket, EMFILE);
  Begin({listening_.address(), refusing_.address()});
  ASSERT_TRUE(Until([&] { return !failed_.empty(); }));
  EXPECT_THAT(failed_, ElementsAre(absl::ResourceExhaustedError(absl::StrCat(
                           "socket ", listening_.name(),
                           ": Too many open files (EMFILE); ", refusing_.name(),
                           ": Connection refused (ECONNREFUSED)"))));
  EXPECT_THAT(opened_, IsEmpty());
  ExpectOver();
}

TEST_F(AddressRaceTest, AFamilyWithoutAddressFailsAtOnce) {
  AddressRace::Options options = Options();
  options.socket.local_address = *SocketAddress::Parse("[::1]:0");
  Make(std::move(options));
  Begin({listening_.address()});
  ASSERT_THAT(failed_, SizeIs(1));
  EXPECT_EQ(failed_[0].code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(failed_[0].message(),
              HasSubstr("no address is of the family of [::1]:0"));
  EXPECT_EQ(plan_.calls(Call::kConnect), 0u);
  ExpectOver();
}

// A handshake that does not end is not yet a failure: others go on.
TEST_F(AddressRaceTest, GiveUpNamesWhatHasNotAnswered) {
  Make(OptionsThatShake());
  Begin({refusing_.address(), silent_.address(), listening_.address()});
  Turn(kFewTurns);
  Advance(kHeadStart);
  ASSERT_TRUE(Until([&] { return loop_->connection_count() == 1; }));
  EXPECT_EQ(
      race_->GiveUp("late"),
      absl::DeadlineExceededError(absl::StrCat(
          "late; ", refusing_.name(), ": Connection refused (ECONNREFUSED); ",
          silent_.name(), ": no answer; ", listening_.name(),
          ": no end of its handshake")));
  EXPECT_THAT(opened_, IsEmpty());
  EXPECT_THAT(failed_, IsEmpty());
  ExpectOver();
}

TEST_F(AddressRaceTest, CancelEndsIt) {
  for (const bool drop : {false, true}) {
    Make(OptionsThatShake());
    Begin({listening_.address(), silent_.address(), other_silent_.address()});
    ASSERT_TRUE(Until([&] { return loop_->connection_count() == 1; }));
    Advance(kHeadStart);
    EXPECT_THAT(plan_.open_descriptors(), SizeIs(2));
    drop ? race_.reset() : race_->Cancel();
    Turn();
    EXPECT_EQ(loop_->connection_count(), 0u);
    EXPECT_THAT(opened_, IsEmpty());
    EXPECT_THAT(failed_, IsEmpty());
    ExpectOver();
  }
}

TEST_F(AddressRaceTest, WithoutARaceItMayOutliveTheLoop) {
  Make(Options());
  Begin({silent_.address(), listening_.address()});
  race_->Cancel();
  loop_ = nullptr;
  race_->Cancel();
}

TEST_F(AddressRaceTest, MayBeCancelledOrDroppedInEachCallback) {
  for (const bool drop : {false, true}) {
    for (const std::string_view place : {"open", "failed", "factory"}) {
      SCOPED_TRACE(place);
      opened_.clear();
      failed_.clear();
      bool called = false;
      Make(place == "factory" ? OptionsThatShake() : Options());
      const std::weak_ptr<AddressRace> weak = race_;
      then_ = [&] {
        called = true;
        drop ? race_.reset() : race_->Cancel();
        EXPECT_FALSE(weak.expired());  // Until this has returned.
      };
      // Another one would follow.
      place == "failed" ? Begin({refusing_.address()})
                        : Begin({listening_.address(), silent_.address()});
      EXPECT_LE(weak.use_count(), 1);
      ASSERT_TRUE(Until([&] { return called; }));
      EXPECT_EQ(weak.expired(), drop);
      ASSERT_TRUE(Until([&] { return loop_->connection_count() == 0; }));
      EXPECT_THAT(opened_, SizeIs(place == "open" ? 1 : 0));
      EXPECT_THAT(failed_, SizeIs(place == "failed" ? 1 : 0));
      ExpectOver();
    }
  }
}

TEST_F(AddressRaceTest, AnotherMayBeginWhenOneHasEnded) {
  Make(Options());
  then_ = [&] { Begin({listening_.address()}); };
  Begin({refusing_.address()});
  ASSERT_TRUE(Until([&] { return !opened_.empty(); }));
  EXPECT_THAT(failed_, SizeIs(1));
  // It knows nothing of the first one's errors.
  Begin({silent_.address()});
  EXPECT_EQ(race_->GiveUp("late").message(),
            absl::StrCat("late; ", silent_.name(), ": no answer"));
  ExpectOver();
}

TEST_F(AddressRaceTest, ALoopThatStopsTakesNoWinner) {
  Make(Options());
  loop_->Stop();
  Turn();
  Begin({listening_.address()});
  ASSERT_TRUE(Until([&] { return !failed_.empty(); }));
  EXPECT_EQ(failed_[0].code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(opened_, IsEmpty());
  ExpectOver();
}

}  // namespace
}  // namespace fio::core_internal
