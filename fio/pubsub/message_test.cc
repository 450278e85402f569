#include "fio/pubsub/message.h"

#include <cstddef>
#include <cstdint>
#include <latch>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "fio/pubsub/internal/frame_header.h"
#include "fio/pubsub/internal/message_block.h"
#include "fio/sock/shared_bytes.h"
#include "fio/testing/allocation_counter.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using pubsub_internal::DecodeFrameHeader;
using pubsub_internal::FrameHeader;
using pubsub_internal::MessageBlock;
using testing::AllocationCounter;

constexpr std::string_view kNulBytes("a\0b\0", 4);
constexpr MetadataId kFirst{1};
constexpr MetadataId kSecond{2};

// The byte behind the last one of `view`, which belongs to the message.
char Behind(std::string_view view) { return *(view.data() + view.size()); }

TEST(Message, OfNothingIsEmpty) {
  const AllocationCounter counter;
  const Message message;
  EXPECT_FALSE(message);
  EXPECT_EQ(message.channel(), "");
  EXPECT_EQ(message.body(), "");
  EXPECT_EQ(message.filter(), 0);
  EXPECT_FALSE(message.is_json());
  EXPECT_EQ(message.sequence(), 0u);
  EXPECT_EQ(message.metadata<int>(kFirst), nullptr);
  EXPECT_TRUE(message.frame().empty());
  EXPECT_EQ(message.body_offset(), 0u);
  EXPECT_EQ(message, Message());
  EXPECT_EQ(counter.allocations(), 0);
}

TEST(Message, ShowsACopyOfWhatWasPublished) {
  std::string channel = "news";
  std::string body = "as it was";
  const Message message = MessageBlock::New(
      {.flags = pubsub_internal::kFrameIsJson, .filter = -7, .sequence = 9},
      channel, body);
  channel.assign("olds");
  body.assign("changed!!");
  EXPECT_TRUE(message);
  EXPECT_EQ(message.channel(), "news");
  EXPECT_EQ(message.body(), "as it was");
  EXPECT_EQ(message.filter(), -7);
  EXPECT_TRUE(message.is_json());
  EXPECT_EQ(message.sequence(), 9u);
  EXPECT_FALSE(MessageBlock::New({}, "news", "").is_json());
}

TEST(Message, KeepsZeroBytesAndPutsOneBehindEach) {
  const Message message = MessageBlock::New({}, kNulBytes, kNulBytes);
  EXPECT_EQ(message.channel(), kNulBytes);
  EXPECT_EQ(message.body(), kNulBytes);
  EXPECT_EQ(Behind(message.channel()), '\0');
  EXPECT_EQ(Behind(message.body()), '\0');
  const Message text = MessageBlock::New({}, "news", "body");
  EXPECT_STREQ(text.channel().data(), "news");
  EXPECT_STREQ(text.body().data(), "body");
}

TEST(Message, MayHaveNoChannelAndNoBody) {
  const Message nothing = MessageBlock::New({}, "", "");
  EXPECT_TRUE(nothing);
  EXPECT_EQ(nothing.channel(), "");
  EXPECT_EQ(Behind(nothing.channel()), '\0');
  EXPECT_EQ(nothing.body(), "");
  EXPECT_EQ(nothing.body().data(), nullptr);
  EXPECT_EQ(nothing.frame().size(), FrameHeader::kSize + 1);
  EXPECT_EQ(Behind(nothing.frame().view()), '\0');
  EXPECT_EQ(MessageBlock::New({}, "", "body").body(), "body");
  const Message bodiless = MessageBlock::New({}, "news", std::string_view());
  EXPECT_EQ(bodiless.channel(), "news");
  EXPECT_EQ(bodiless.body().data(), nullptr);
}

TEST(Message, IsOneAllocationAndItsCopiesAreNone) {
  const std::string channel(1000, 'c');
  const std::string body(100'000, 'b');
  const AllocationCounter counter;
  const Message message = MessageBlock::New({}, channel, body);
  EXPECT_EQ(counter.allocations(), 1);
  // NOLINTNEXTLINE(performance-unnecessary-copy-initialization)
  const Message copy = message;
  const SharedBytes frame = message.frame();
  EXPECT_EQ(copy.body().data(), message.body().data());
  EXPECT_EQ(frame.view().data() + message.body_offset(), message.body().data());
  EXPECT_EQ(counter.allocations(), 1);
}

TEST(Message, LiesInMemoryAsItIsSent) {
  const Message message =
      MessageBlock::New({.filter = 5, .origin = 3}, "news", "body");
  const std::string frame(message.frame().view());
  EXPECT_EQ(frame.substr(message.body_offset()), "body");
  EXPECT_EQ(frame.substr(FrameHeader::kSize), std::string("news\0body", 9));
  const absl::StatusOr<FrameHeader> header =
      DecodeFrameHeader(frame.data(), {});
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->channel_size, 4u);
  EXPECT_EQ(header->body_size, 4u);
  EXPECT_EQ(header->filter, 5);
  EXPECT_EQ(header->origin, 3u);
  EXPECT_EQ(FrameHeader::kSize + header->payload_size(), frame.size());
}

TEST(Message, AChangeOfItsHeaderIsInItsFrame) {
  const Message message = MessageBlock::New({}, "news", "body");
  MessageBlock& block = MessageBlock::Of(message);
  FrameHeader header = block.header();
  header.sequence = 77;
  block.SetHeader(header);
  EXPECT_EQ(message.sequence(), 77u);
  EXPECT_EQ(message.body(), "body");
  const absl::StatusOr<FrameHeader> sent =
      DecodeFrameHeader(message.frame().view().data(), {});
  ASSERT_TRUE(sent.ok()) << sent.status();
  EXPECT_EQ(sent->sequence, 77u);
}

TEST(Message, FindsMetadataByItsId) {
  const Message message = MessageBlock::New({}, "news", "body");
  auto& metadata = MessageBlock::Of(message).metadata();
  EXPECT_EQ(message.metadata<int>(kFirst), nullptr);
  metadata[0] = {.id = kSecond, .value = std::make_shared<int>(22)};
  metadata[3] = {.id = kFirst, .value = std::make_shared<int>(11)};
  metadata[2] = {.id = MetadataId{3}, .value = nullptr};
  const Message copy = message;
  ASSERT_NE(copy.metadata<int>(kFirst), nullptr);
  EXPECT_EQ(*copy.metadata<int>(kFirst), 11);
  ASSERT_NE(copy.metadata<int>(kSecond), nullptr);
  EXPECT_EQ(*copy.metadata<int>(kSecond), 22);
  EXPECT_EQ(copy.metadata<int>(MetadataId{3}), nullptr);
  EXPECT_EQ(copy.metadata<int>(MetadataId{4}), nullptr);
}

TEST(Message, EqualsItsCopiesAlone) {
  const Message message = MessageBlock::New({}, "news", "body");
  // NOLINTNEXTLINE(performance-unnecessary-copy-initialization)
  const Message copy = message;
  EXPECT_EQ(message, copy);
  EXPECT_NE(message, MessageBlock::New({}, "news", "body"));
  EXPECT_NE(message, Message());
}

TEST(Message, LivesAsLongAsWhateverHasIt) {
  ASSERT_EQ(MessageBlock::live(), 0);
  std::weak_ptr<const void> metadata;
  Message first = MessageBlock::New({}, "news", "body");
  {
    auto value = std::make_shared<int>(1);
    metadata = value;
    MessageBlock::Of(first).metadata()[0] = {.id = kFirst, .value = value};
  }
  Message second = first;
  EXPECT_EQ(MessageBlock::live(), 1);
  SharedBytes frame = second.frame();
  first = Message();
  Message third = std::move(second);
  EXPECT_FALSE(second);  // NOLINT(bugprone-use-after-move)
  EXPECT_EQ(third.body(), "body");
  third = Message();
  EXPECT_EQ(MessageBlock::live(), 1);
  EXPECT_FALSE(metadata.expired());
  EXPECT_TRUE(frame.view().ends_with("body"));
  frame = SharedBytes();
  EXPECT_EQ(MessageBlock::live(), 0);
  EXPECT_TRUE(metadata.expired());
}

// Lanes and links are on many threads: any may have the last copy.
TEST(Message, IsCountedByManyThreads) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 200;
  constexpr int kCopies = 100;
  for (int round = 0; round < kRounds; ++round) {
    Message message = MessageBlock::New({}, "news", "body");
    MessageBlock::Of(message).metadata()[1] = {
        .id = kFirst, .value = std::make_shared<int>(round)};
    std::latch start(kThreads);
    std::vector<std::thread> threads;
    threads.reserve(kThreads);
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&start, round, message]() mutable {
        start.arrive_and_wait();
        std::vector<Message> copies(kCopies, message);
        message = Message();
        for (Message& copy : copies) {
          EXPECT_EQ(copy.channel(), "news");
          EXPECT_EQ(*copy.metadata<int>(kFirst), round);
          copy = Message();
        }
      });
    }
    message = Message();
    for (std::thread& thread : threads) thread.join();
    ASSERT_EQ(MessageBlock::live(), 0);
  }
}

}  // namespace
}  // namespace fio
