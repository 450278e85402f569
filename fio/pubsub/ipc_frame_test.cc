// What comes on the link between two processes: frames, in any pieces, and
// whatever else somebody may write there.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "fio/pubsub/internal/frame_header.h"
#include "fio/pubsub/internal/frame_reader.h"
#include "fio/pubsub/internal/message_block.h"
#include "fio/pubsub/message.h"
#include "fio/testing/allocation_counter.h"
#include "gtest/gtest.h"

namespace fio::pubsub_internal {
namespace {

using testing::AllocationCounter;

struct Frame {
  FrameHeader header;
  std::string channel;
  std::string body;
};

std::string Encode(const Frame& frame) {
  return std::string(MessageBlock::New(frame.header, frame.channel, frame.body)
                         .frame()
                         .view());
}

// Just a header with these sizes.
std::string Announce(uint32_t channel_size, uint32_t body_size) {
  std::string bytes(FrameHeader::kSize, '\0');
  EncodeFrameHeader({.channel_size = channel_size, .body_size = body_size},
                    bytes.data());
  return bytes;
}

std::vector<Frame> SomeFrames() {
  return {
      {.header = {.flags = kFrameIsJson, .filter = -3, .sequence = 7},
       .channel = "news",
       .body = "hello"},
      {.header = {}, .channel = "", .body = ""},
      {.header = {.type = FrameType::kReplayEnd}, .channel = "", .body = "x"},
      {.header = {.type = FrameType::kSubscribe},
       .channel = std::string("a\0b", 3),
       .body = ""},
      {.header = {.type = FrameType::kToGroup, .origin = 0xFFFFFFFF},
       .channel = "c",
       .body = std::string(40, '\0')},
  };
}

std::string EncodeAll(const std::vector<Frame>& frames) {
  std::string bytes;
  for (const Frame& frame : frames) bytes += Encode(frame);
  return bytes;
}

void ExpectSame(const Message& message, const Frame& frame) {
  EXPECT_EQ(message.channel(), frame.channel);
  EXPECT_EQ(message.body(), frame.body);
  EXPECT_EQ(message.frame().view(), Encode(frame));
}

// Feeds `pieces` and expects `frames`, each as early as possible.
void ExpectFrames(const std::vector<std::string_view>& pieces,
                  const std::vector<Frame>& frames) {
  FrameReader reader;
  size_t fed = 0;
  size_t complete = 0;  // Bytes of the frames that have come.
  size_t next = 0;
  for (const std::string_view piece : pieces) {
    fed += piece.size();
    const absl::Status status =
        reader.Feed(piece, [&](const FrameHeader& header, Message message) {
          if (next == frames.size()) {
            ADD_FAILURE() << "one more than there are";
            return false;
          }
          ExpectSame(message, frames[next]);
          EXPECT_EQ(header.type, frames[next].header.type);
          complete += message.frame().size();
          ++next;
          return true;
        });
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(reader.in_frame(), fed > complete);
  }
  EXPECT_EQ(next, frames.size());
  EXPECT_EQ(fed, complete);
}

TEST(Ipc, SplitFrames) {
  const std::vector<Frame> frames = SomeFrames();
  const std::string all = EncodeAll(frames);
  const std::string_view bytes = all;
  ExpectFrames({bytes}, frames);
  for (size_t first = 0; first <= bytes.size(); ++first) {
    ExpectFrames({bytes.substr(0, first), bytes.substr(first)}, frames);
  }
  for (size_t size = 1; size < bytes.size(); ++size) {
    std::vector<std::string_view> pieces;
    for (size_t at = 0; at < bytes.size(); at += size) {
      pieces.push_back(bytes.substr(at, size));
    }
    ExpectFrames(pieces, frames);
  }
  EXPECT_EQ(MessageBlock::live(), 0);
}

TEST(Ipc, SplitFramesOfThreePieces) {
  const std::vector<Frame> frames = {SomeFrames()[0], SomeFrames()[3]};
  const std::string all = EncodeAll(frames);
  const std::string_view bytes = all;
  for (size_t first = 0; first <= bytes.size(); ++first) {
    for (size_t second = first; second <= bytes.size(); ++second) {
      ExpectFrames({bytes.substr(0, first), bytes.substr(first, second - first),
                    bytes.substr(second)},
                   frames);
    }
  }
}

TEST(Ipc, AFrameIsOneAllocation) {
  const std::string bytes = EncodeAll(SomeFrames());
  FrameReader reader;
  int frames = 0;
  const AllocationCounter counter;
  for (const char& byte : bytes) {
    ASSERT_TRUE(reader
                    .Feed({&byte, 1},
                          [&](const FrameHeader&, const Message&) {
                            ++frames;
                            return true;
                          })
                    .ok());
  }
  EXPECT_EQ(frames, 5);
  EXPECT_EQ(counter.allocations(), 5);
}

TEST(Ipc, AFrameMayBeKeptOrDieInTheCallback) {
  std::vector<Message> kept;
  {
    FrameReader reader;
    const std::string bytes = Encode(SomeFrames()[0]) + Encode(SomeFrames()[2]);
    EXPECT_TRUE(reader
                    .Feed(bytes,
                          [&](const FrameHeader& header, Message message) {
                            if (kept.empty()) {
                              kept.push_back(std::move(message));
                            } else {
                              message = Message();
                              EXPECT_EQ(header.type, FrameType::kReplayEnd);
                            }
                            return true;
                          })
                    .ok());
  }
  EXPECT_EQ(MessageBlock::live(), 1);
  ExpectSame(kept[0], SomeFrames()[0]);
}

// What a reader answers to `bytes`, which are fed in pieces of `size`.
absl::Status Refusal(std::string_view bytes, size_t size,
                     const FrameLimits& limits = {}, int frames_before = 0) {
  FrameReader reader(limits);
  int frames = 0;
  const auto count = [&](const FrameHeader&, const Message&) {
    ++frames;
    return true;
  };
  absl::Status status;
  for (size_t at = 0; at < bytes.size() && status.ok(); at += size) {
    status = reader.Feed(bytes.substr(at, size), count);
  }
  EXPECT_EQ(frames, frames_before);
  if (status.ok()) return status;
  // It stays failed, whatever comes.
  EXPECT_FALSE(reader.in_frame());
  EXPECT_EQ(reader.Feed(EncodeAll(SomeFrames()), count), status);
  EXPECT_EQ(reader.Feed("", count), status);
  EXPECT_EQ(frames, frames_before);
  EXPECT_EQ(MessageBlock::live(), 0);
  return status;
}

void ExpectRefused(std::string_view bytes, std::string_view why,
                   const FrameLimits& limits = {}) {
  for (const size_t size : {size_t{1}, size_t{7}, bytes.size()}) {
    const absl::Status status = Refusal(bytes, size, limits);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_EQ(status.message(), why);
  }
}

TEST(Ipc, OversizeBody) {
  const FrameLimits limits = {.channel_bytes = 8, .body_bytes = 100};
  EXPECT_TRUE(
      Refusal(
          Encode({.header = {}, .channel = "", .body = std::string(100, 'b')}),
          9, limits, 1)
          .ok());
  ExpectRefused(Announce(0, 101), "frame: a body of 101 bytes, of 100 at most",
                limits);
  ExpectRefused(Announce(0, (16u << 20) + 1),
                "frame: a body of 16777217 bytes, of 16777216 at most");
}

TEST(Ipc, OversizeChannel) {
  const FrameLimits limits = {.channel_bytes = 8, .body_bytes = 100};
  EXPECT_TRUE(
      Refusal(Encode({.header = {}, .channel = "12345678", .body = "b"}), 9,
              limits, 1)
          .ok());
  ExpectRefused(Announce(9, 1), "frame: a channel of 9 bytes, of 8 at most",
                limits);
  ExpectRefused(Announce(65'536, 0),
                "frame: a channel of 65536 bytes, of 65535 at most");
}

// The sum of these sizes is a small number if it is made of 32 bits.
TEST(Ipc, OversizeWrap32) {
  struct Sizes {
    uint32_t channel;
    uint32_t body;
  };
  for (const Sizes sizes :
       {Sizes{0xFFFFFFFF, 0xFFFFFFFF}, Sizes{0xFFFFFFFF, 0},
        Sizes{0, 0xFFFFFFFF}, Sizes{0xFFFFFFFF, 8}, Sizes{4, 0xFFFFFFFB},
        Sizes{0x80000000, 0x80000000}}) {
    const std::string bytes =
        Announce(sizes.channel, sizes.body) + std::string(100, '\0');
    // What the error itself takes.
    const AllocationCounter error;
    EXPECT_FALSE(DecodeFrameHeader(bytes.data(), {}).ok());
    const int64_t of_error = error.allocations();
    FrameReader reader;
    const AllocationCounter counter;
    const absl::Status status =
        reader.Feed(bytes, [](const FrameHeader&, const Message&) {
          ADD_FAILURE() << "this is no frame";
          return true;
        });
    EXPECT_EQ(counter.allocations(), of_error);
    EXPECT_EQ(MessageBlock::live(), 0);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), "at most")) << status;
  }
}

TEST(Ipc, AChannelWithoutNulIsRefusedAtOnce) {
  std::string bytes = Encode({.header = {}, .channel = "news", .body = "body"});
  bytes[FrameHeader::kSize + 4] = '!';
  // Nobody has to wait for the body.
  ExpectRefused(std::string_view(bytes).substr(0, FrameHeader::kSize + 5),
                "frame: no NUL behind the channel");
  ExpectRefused(bytes, "frame: no NUL behind the channel");
}

TEST(Ipc, FramesBeforeGarbageAreHandedOver) {
  const std::string bytes =
      EncodeAll(SomeFrames()) + std::string(FrameHeader::kSize, '?');
  for (const size_t size : {size_t{1}, size_t{50}, bytes.size()}) {
    EXPECT_EQ(Refusal(bytes, size, {}, 5).message(),
              "frame: begins with 3f3f, version 63");
  }
}

TEST(Ipc, TheCallbackEndsTheReading) {
  FrameReader reader;
  int frames = 0;
  const auto count = [&](const FrameHeader& header, const Message&) {
    ++frames;
    return header.type != FrameType::kReplayEnd;
  };
  const std::string bytes = EncodeAll(SomeFrames());
  const absl::Status status = reader.Feed(bytes, count);
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  EXPECT_EQ(reader.Feed(bytes, count), status);
  EXPECT_EQ(frames, 3);
  EXPECT_FALSE(reader.in_frame());
}

TEST(Ipc, AnUnfinishedFrameDiesWithItsReader) {
  {
    FrameReader reader;
    EXPECT_TRUE(reader
                    .Feed(Announce(4, 16u << 20) + "new",
                          [](const FrameHeader&, const Message&) {
                            ADD_FAILURE();
                            return true;
                          })
                    .ok());
    EXPECT_TRUE(reader.in_frame());
    EXPECT_EQ(MessageBlock::live(), 1);
  }
  EXPECT_EQ(MessageBlock::live(), 0);
}

// Bytes that are frames, nearly, or not at all.
class Garbage {
 public:
  explicit Garbage(uint32_t seed) : random_(seed) {}

  std::string Make() {
    std::string bytes;
    if (Below(4) == 0) {
      bytes.resize(Below(200));
      for (char& byte : bytes) byte = Byte();
      return bytes;
    }
    std::vector<Frame> frames = SomeFrames();
    std::shuffle(frames.begin(), frames.end(), random_);
    bytes = EncodeAll(frames);
    for (size_t changes = Below(4); changes > 0; --changes) Change(bytes);
    return bytes;
  }

  size_t Below(size_t end) { return random_() % end; }

 private:
  char Byte() { return static_cast<char>(Below(256)); }

  void Change(std::string& bytes) {
    // Mostly the first frame's header, for what is behind a wrong one counts
    // for nothing.
    const size_t at = Below(Below(2) == 0 ? FrameHeader::kSize : bytes.size());
    switch (Below(4)) {
      case 0:
        bytes[at] = Byte();
        break;
      case 1:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << Below(8)));
        break;
      case 2:
        bytes.erase(at, Below(8));
        break;
      default:
        bytes.insert(at, Below(8), Byte());
        break;
    }
    if (bytes.empty()) bytes = "?";
  }

  std::mt19937 random_;
};

TEST(Ipc, GarbageFuzz) {
  constexpr FrameLimits kLimits = {.channel_bytes = 64, .body_bytes = 256};
  Garbage garbage(20);
  int good = 0;
  int refused = 0;
  int frames = 0;
  for (int round = 0; round < 20'000; ++round) {
    FrameReader reader(kLimits);
    const std::string bytes = garbage.Make();
    std::string_view rest = bytes;
    absl::Status status;
    while (!rest.empty() && status.ok()) {
      const size_t size = std::min(rest.size(), 1 + garbage.Below(100));
      // At its own place, so that ASan sees reads behind it.
      const std::string piece(rest.substr(0, size));
      rest.remove_prefix(size);
      status = reader.Feed(piece, [&](const FrameHeader&, Message message) {
        ++frames;
        EXPECT_LE(message.channel().size(), kLimits.channel_bytes);
        EXPECT_LE(message.body().size(), kLimits.body_bytes);
        EXPECT_TRUE(absl::StrContains(bytes, message.frame().view()));
        return true;
      });
      ASSERT_LE(MessageBlock::live(), 1);
    }
    ++(status.ok() ? good : refused);
    ASSERT_TRUE(status.ok() || absl::IsInvalidArgument(status)) << status;
  }
  // It has gone everywhere.
  EXPECT_GT(good, 1000);
  EXPECT_GT(refused, 1000);
  EXPECT_GT(frames, 10'000);
  EXPECT_EQ(MessageBlock::live(), 0);
}

}  // namespace
}  // namespace fio::pubsub_internal
