#include "fio/core/pubsub/internal/link.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_options.h"
#include "fio/pubsub/internal/frame_header.h"
#include "fio/pubsub/internal/frame_reader.h"
#include "fio/pubsub/internal/message_block.h"
#include "fio/pubsub/message.h"
#include "fio/testing/manual_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio::pubsub_internal {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Frames = std::vector<std::string>;

std::string Describe(const FrameHeader& header, const Message& message) {
  return absl::StrCat(static_cast<int>(header.type), " ", header.origin, " ",
                      message.channel(), ": ", message.body());
}

Message NewMessage(std::string_view body) {
  return MessageBlock::New({}, "c", body);
}

// Notes what it is told.
class Noting final : public Link::Handler {
 public:
  void OnFrame(const FrameHeader& header, Message message) override {
    frames.push_back(Describe(header, message));
    if (on_frame) on_frame();
  }
  void OnLost(const absl::Status& why) override {
    lost.push_back(why.code());
    if (on_lost) on_lost();
  }
  void OnStalled() override { ++stalled; }
  void OnDropped() override { ++told_dropped; }

  Frames frames;
  std::vector<absl::StatusCode> lost;
  int stalled = 0;
  int told_dropped = 0;
  std::function<void()> on_frame;
  std::function<void()> on_lost;
};

// A link, and the other end of its pair in the hands of the test.
class LinkTest : public ::testing::Test {
 protected:
  static constexpr absl::Duration kStall = absl::Seconds(30);

  LinkTest() {
    absl::StatusOr<std::unique_ptr<Loop>> loop =
        Loop::Create({.clock = &clock_});
    ABSL_CHECK_OK(loop);
    loop_ = *std::move(loop);
  }
  ~LinkTest() override {
    if (link_ != nullptr) link_->Close();
  }

  void Make(Link::Options options = {}) {
    std::array<int, 2> ends;
    ABSL_CHECK_EQ(
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
                   ends.data()),
        0);
    far_ = UniqueFd(ends[1]);
    options.max_stall = kStall;
    link_ = std::make_shared<Link>(UniqueFd(ends[0]), options, noting_);
  }
  void MakeAndStart(Link::Options options = {}) {
    Make(options);
    Start();
  }
  void Start() { ABSL_CHECK_OK(link_->Start(*loop_)); }

  void Turn(int count = 3) {
    for (; count > 0; --count) {
      ABSL_CHECK_OK(loop_->RunOnce(MonotonicTime::InfinitePast()));
    }
  }
  void Advance(absl::Duration span) {
    clock_.Advance(span);
    Turn();
  }

  bool Send(std::string_view body) { return link_->Send(NewMessage(body)); }
  void SendControl() {
    link_->SendControl({.type = FrameType::kReplayEnd}, "", "");
  }

  // --- The other end ---

  void FarWrites(std::string_view bytes) {
    ASSERT_EQ(write(far_.get(), bytes.data(), bytes.size()),
              static_cast<ssize_t>(bytes.size()));
  }
  void FarSends(std::string_view body) {
    const Message message = NewMessage(body);
    FarWrites(message.frame().view());
  }
  // The frames that are there; reads at most `limit` bytes.
  Frames FarReads(size_t limit = SIZE_MAX) {
    Frames frames;
    std::array<char, 4096> bytes;
    while (limit > 0) {
      const ssize_t got =
          read(far_.get(), bytes.data(), std::min(limit, bytes.size()));
      if (got <= 0) break;
      limit -= static_cast<size_t>(got);
      far_bytes_ += static_cast<size_t>(got);
      const absl::Status status = far_reader_.Feed(
          {bytes.data(), static_cast<size_t>(got)},
          [&](const FrameHeader& header, const Message& message) {
            frames.push_back(Describe(header, message));
            return true;
          });
      EXPECT_TRUE(status.ok()) << status;
    }
    return frames;
  }
  // What the link sends until nothing more comes.
  Frames FarReadsAll() {
    Frames all;
    for (size_t before = SIZE_MAX; before != far_bytes_;) {
      before = far_bytes_;
      Turn();
      const Frames some = FarReads();
      all.insert(all.end(), some.begin(), some.end());
    }
    return all;
  }

  testing::ManualClock clock_;
  std::unique_ptr<Loop> loop_;
  Noting noting_;
  UniqueFd far_;
  FrameReader far_reader_;
  size_t far_bytes_ = 0;
  std::shared_ptr<Link> link_;
};

TEST_F(LinkTest, SendsInOrder) {
  Make();
  EXPECT_TRUE(Send("before the start"));
  SendControl();
  Start();
  Turn();
  EXPECT_THAT(FarReads(), ElementsAre("1 0 c: before the start", "8 0 : "));
  EXPECT_TRUE(Send("1"));
  EXPECT_TRUE(link_->Send(
      NewMessage("2"), FrameHeader{.type = FrameType::kToGroup, .origin = 7}));
  link_->SendAlways(NewMessage("3"),
                    {.type = FrameType::kReplayItem, .origin = 8});
  link_->SendControl({.type = FrameType::kSubscribe}, "d", "group");
  EXPECT_THAT(FarReads(), IsEmpty()) << "not before the loop's turn";
  Turn();
  EXPECT_THAT(FarReads(),
              ElementsAre("1 0 c: 1", "4 7 c: 2", "7 8 c: 3", "2 0 d: group"));
  EXPECT_EQ(link_->waiting_bytes(), 0u);
  EXPECT_EQ(MessageBlock::live(), 0);
}

TEST_F(LinkTest, ReadsByteByByte) {
  MakeAndStart();
  for (const std::string_view body : {"one", "", "three"}) {
    const Message message = NewMessage(body);
    for (const char byte : message.frame().view()) {
      FarWrites({&byte, 1});
      Turn(1);
    }
  }
  EXPECT_THAT(noting_.frames,
              ElementsAre("1 0 c: one", "1 0 c: ", "1 0 c: three"));
  EXPECT_THAT(noting_.lost, IsEmpty());
}

TEST_F(LinkTest, ReadsALotInSeveralTurns) {
  MakeAndStart();
  const std::string body(100'000, 'b');
  const Message message = NewMessage(body);
  std::string_view left = message.frame().view();
  while (!left.empty()) {
    const ssize_t written = write(far_.get(), left.data(), left.size());
    if (written > 0) left.remove_prefix(static_cast<size_t>(written));
    Turn(1);
  }
  Turn();
  EXPECT_THAT(noting_.frames, ElementsAre(absl::StrCat("1 0 c: ", body)));
}

// --- The end ---

TEST_F(LinkTest, TellsWhatCameBeforeTheEnd) {
  MakeAndStart();
  FarSends("1");
  FarSends("2");
  FarWrites("fP\1");  // A frame that stays partial.
  far_.Reset();
  Turn();
  EXPECT_THAT(noting_.frames, ElementsAre("1 0 c: 1", "1 0 c: 2"));
  EXPECT_THAT(noting_.lost, ElementsAre(absl::StatusCode::kOk));
  EXPECT_FALSE(Send("late"));
}

// The other side has died: writing fails before what it has sent was read.
TEST_F(LinkTest, ReadsWhatIsThereAfterABrokenPipe) {
  Make();
  EXPECT_TRUE(Send("into the broken pipe"));
  for (int i = 0; i < 3; ++i) FarSends(std::string(60'000, 'a'));
  FarSends("last words");
  far_.Reset();
  Start();  // Writes.
  EXPECT_FALSE(Send("late"));
  Turn();
  ASSERT_THAT(noting_.frames, ::testing::SizeIs(4));
  EXPECT_EQ(noting_.frames.back(), "1 0 c: last words");
  EXPECT_THAT(noting_.lost, ElementsAre(absl::StatusCode::kOk));
  EXPECT_EQ(MessageBlock::live(), 0);
}

TEST_F(LinkTest, EndsAtGarbage) {
  MakeAndStart();
  FarSends("1");
  FarWrites(std::string(FrameHeader::kSize, 'x'));
  FarSends("2");
  Turn();
  EXPECT_THAT(noting_.frames, ElementsAre("1 0 c: 1"));
  EXPECT_THAT(noting_.lost, ElementsAre(absl::StatusCode::kInvalidArgument));
  EXPECT_FALSE(Send("late"));
  SendControl();
  Turn();
  char byte = 0;
  EXPECT_LE(read(far_.get(), &byte, 1), 0) << "its end is closed";
}

TEST_F(LinkTest, EndsAtAFrameThatIsTooLarge) {
  MakeAndStart({.frames = {.channel_bytes = 10, .body_bytes = 10}});
  FarSends("0123456789");
  FarSends("0123456789a");
  Turn();
  EXPECT_THAT(noting_.frames, ElementsAre("1 0 c: 0123456789"));
  EXPECT_THAT(noting_.lost, ElementsAre(absl::StatusCode::kInvalidArgument));
}

TEST_F(LinkTest, MayBeClosedInsideOfACallback) {
  MakeAndStart();
  noting_.on_frame = [this] {
    link_->Close();
    link_ = nullptr;
  };
  FarSends("1");
  FarSends("2");
  far_.Reset();
  Turn();
  EXPECT_THAT(noting_.frames, ElementsAre("1 0 c: 1"));
  EXPECT_THAT(noting_.lost, IsEmpty());
}

TEST_F(LinkTest, MayBeDestroyedWhenItIsLost) {
  MakeAndStart();
  noting_.on_lost = [this] { link_ = nullptr; };
  far_.Reset();
  Turn();
  EXPECT_THAT(noting_.lost, ElementsAre(absl::StatusCode::kOk));
}

// --- Too much ---

TEST_F(LinkTest, RefusesWhatIsTooMuch) {
  const size_t size = NewMessage("0").size();
  Make({.max_waiting_bytes = 3 * size});
  for (const char* body : {"1", "2", "3"}) EXPECT_TRUE(Send(body));
  EXPECT_FALSE(Send("4"));
  SendControl();
  link_->SendAlways(NewMessage("5"), {.type = FrameType::kReplayItem});
  EXPECT_EQ(link_->waiting_bytes(), 3 * size);
  Start();
  EXPECT_THAT(FarReadsAll(), ElementsAre("1 0 c: 1", "1 0 c: 2", "1 0 c: 3",
                                         "8 0 : ", "7 0 c: 5"));
  EXPECT_EQ(link_->waiting_bytes(), 0u);
  EXPECT_TRUE(Send("6"));
  EXPECT_EQ(link_->dropped(), 0u);
  EXPECT_EQ(noting_.told_dropped, 0);
}

TEST_F(LinkTest, DropsTheOldestMessages) {
  const size_t size = NewMessage("0").size();
  Make({.max_waiting_bytes = 3 * size, .drops_oldest = true});
  SendControl();
  for (const char* body : {"1", "2", "3", "4", "5"}) EXPECT_TRUE(Send(body));
  SendControl();
  EXPECT_EQ(link_->dropped(), 2u);
  EXPECT_EQ(link_->waiting_bytes(), 3 * size);
  Start();
  EXPECT_THAT(FarReadsAll(), ElementsAre("8 0 : ", "1 0 c: 3", "1 0 c: 4",
                                         "1 0 c: 5", "8 0 : "));
  EXPECT_EQ(noting_.told_dropped, 1);
  EXPECT_TRUE(Send("6"));
  Turn();
  EXPECT_EQ(noting_.told_dropped, 1);
}

TEST_F(LinkTest, HasRoomForOneInAnyCase) {
  Make({.max_waiting_bytes = 10});
  const std::string body(1000, 'b');
  EXPECT_TRUE(Send(body));
  EXPECT_FALSE(Send("1"));
  Start();
  EXPECT_THAT(FarReadsAll(), ElementsAre(absl::StrCat("1 0 c: ", body)));
}

// --- An other side that takes nothing ---

TEST_F(LinkTest, TellsOfAStall) {
  MakeAndStart();
  const std::string body(1 << 20, 'b');
  EXPECT_TRUE(Send(body));
  EXPECT_TRUE(Send("1"));
  Turn();
  Advance(kStall - absl::Milliseconds(1));
  EXPECT_EQ(noting_.stalled, 0);
  Advance(absl::Milliseconds(2));
  EXPECT_EQ(noting_.stalled, 1);
  Advance(kStall);
  EXPECT_EQ(noting_.stalled, 2);
  // Once it takes something it has as long again. The kernel tells the link
  // when three quarters of its queue are empty.
  FarReads(200'000);
  Turn();
  Advance(kStall + absl::Milliseconds(1));
  EXPECT_EQ(noting_.stalled, 2);
  EXPECT_EQ(FarReadsAll().size(), 2u);
  Advance(10 * kStall);
  EXPECT_EQ(noting_.stalled, 2);
}

TEST_F(LinkTest, IsNoStallWhileNothingWaits) {
  MakeAndStart();
  EXPECT_TRUE(Send("in the kernel"));
  Turn();
  Advance(10 * kStall);
  EXPECT_EQ(noting_.stalled, 0);
}

TEST_F(LinkTest, FlushesForAWhileOnly) {
  MakeAndStart();
  EXPECT_TRUE(Send("1"));
  link_->FlushFor(absl::Minutes(1));  // There is room.
  EXPECT_THAT(FarReads(), ElementsAre("1 0 c: 1"));
  EXPECT_TRUE(Send(std::string(1 << 20, 'b')));
  link_->FlushFor(absl::Milliseconds(1));
  EXPECT_EQ(FarReadsAll().size(), 1u);
}

TEST_F(LinkTest, SendsFromManyThreads) {
  constexpr int kThreads = 4;
  constexpr int kMessages = 2000;
  MakeAndStart();
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([this, thread] {
      for (int i = 0; i < kMessages; ++i) {
        ABSL_CHECK(Send(absl::StrCat(thread, " ", i)));
      }
    });
  }
  Frames all;
  while (all.size() < size_t{kThreads * kMessages}) {
    const Frames some = FarReadsAll();
    all.insert(all.end(), some.begin(), some.end());
  }
  for (std::thread& thread : threads) thread.join();
  std::array<int, kThreads> next = {};
  for (const std::string& frame : all) {
    const int thread = frame.at(std::string_view("1 0 c: ").size()) - '0';
    EXPECT_EQ(frame, absl::StrCat("1 0 c: ", thread, " ", next.at(thread)++));
  }
}

}  // namespace
}  // namespace fio::pubsub_internal
