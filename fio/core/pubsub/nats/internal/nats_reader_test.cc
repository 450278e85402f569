#include "fio/core/pubsub/nats/internal/nats_reader.h"

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio::nats_internal {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::IsEmpty;
using Kind = NatsFrame::Kind;
using Strings = std::vector<std::string>;

std::string Show(const NatsFrame& frame) {
  switch (frame.kind) {
    case Kind::kInfo:
      return absl::StrCat("info ", frame.text);
    case Kind::kMessage:
      return absl::StrCat(frame.sid, " ", frame.subject, " ", frame.reply, "|",
                          frame.headers, "|", frame.body);
    case Kind::kPing:
      return "ping";
    case Kind::kPong:
      return "pong";
    case Kind::kOk:
      return "ok";
    case Kind::kError:
      return absl::StrCat("error ", frame.text);
  }
  return "?";
}

Strings FeedTo(NatsReader& reader, std::string_view bytes) {
  Strings frames;
  reader.Feed(bytes, [&frames](const NatsFrame& frame) {
    frames.push_back(Show(frame));
    return true;
  });
  return frames;
}

absl::Status StatusOf(std::string_view bytes,
                      const NatsReader::Limits& limits = {}) {
  NatsReader reader(limits);
  FeedTo(reader, bytes);
  return reader.status();
}

constexpr std::string_view kAll =
    "INFO {\"a\":1} \r\n"
    "PING\r\nPONG\r\n+OK\r\n"
    "MSG a.b 9 5\r\nhel\r\n\r\n"
    "MSG a.b 18446 reply.to 0\r\n\r\n"
    "HMSG c 1 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"
    "HMSG c 1 r 12 12\r\nNATS/1.0\r\n\r\n\r\n"
    "-ERR 'Invalid Subject'\r\n";

Strings AllFrames() {
  return {"info {\"a\":1} ",
          "ping",
          "pong",
          "ok",
          "9 a.b ||hel\r\n",
          "18446 a.b reply.to||",
          "1 c |NATS/1.0\r\n\r\n|hi",
          "1 c r|NATS/1.0\r\n\r\n|",
          "error Invalid Subject"};
}

TEST(NatsReader, CutsFrames) {
  NatsReader reader;
  EXPECT_EQ(FeedTo(reader, kAll), AllFrames());
  EXPECT_TRUE(reader.status().ok());
}

TEST(NatsReader, EverySplitGivesTheSame) {
  for (size_t first = 0; first <= kAll.size(); ++first) {
    for (size_t second = first; second <= kAll.size(); ++second) {
      NatsReader reader;
      Strings frames = FeedTo(reader, kAll.substr(0, first));
      for (const std::string& frame :
           FeedTo(reader, kAll.substr(first, second - first))) {
        frames.push_back(frame);
      }
      for (const std::string& frame : FeedTo(reader, kAll.substr(second))) {
        frames.push_back(frame);
      }
      ASSERT_THAT(frames, ElementsAreArray(AllFrames()))
          << first << " " << second;
    }
  }
}

TEST(NatsReader, OneByteAtATime) {
  NatsReader reader;
  Strings frames;
  for (const char byte : kAll) {
    for (const std::string& frame :
         FeedTo(reader, std::string_view(&byte, 1))) {
      frames.push_back(frame);
    }
  }
  EXPECT_THAT(frames, ElementsAreArray(AllFrames()));
}

TEST(NatsReader, StopsWhereItIsTold) {
  NatsReader reader;
  constexpr std::string_view kBytes = "INFO {}\r\nPING\r\n";
  int frames = 0;
  EXPECT_EQ(reader.Feed(kBytes,
                        [&frames](const NatsFrame&) {
                          ++frames;
                          return false;
                        }),
            9u);
  EXPECT_EQ(frames, 1);
  EXPECT_THAT(FeedTo(reader, kBytes.substr(9)), ElementsAre("ping"));
}

TEST(NatsReader, RefusesWhatNoServerSends) {
  for (const std::string_view bytes : {"PING\n",
                                       "\r\n",
                                       "HELLO\r\n",
                                       "ping\r\n",
                                       "PING \r\n",
                                       "INFO\r\n",
                                       "MSG\r\n",
                                       "MSG a\r\n",
                                       "MSG a 1\r\n",
                                       "MSG a x 1\r\n",
                                       "MSG a 1 -1\r\n",
                                       "MSG a 1 +1\r\n",
                                       "MSG a 1 b c 1\r\n",
                                       "MSG a 1 99999999999999999999\r\n",
                                       "MSG a 1 2\r\nabcd",
                                       "MSG a 1 2\r\nab\n\r",
                                       "HMSG a 1 2\r\n",
                                       "HMSG a 1 3 2\r\n",
                                       "HMSG a 1 r x 2\r\n",
                                       "HMSG a 1 r s 1 2\r\n"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(StatusOf(bytes))) << bytes;
  }
}

TEST(NatsReader, AnErrorIsForEver) {
  NatsReader reader;
  EXPECT_THAT(FeedTo(reader, "PING\r\nHELLO\r\nPING\r\n"), ElementsAre("ping"));
  EXPECT_FALSE(reader.status().ok());
  EXPECT_THAT(FeedTo(reader, "PING\r\n"), IsEmpty());
}

TEST(NatsReader, LinesAreLimited) {
  const NatsReader::Limits limits = {.max_line_bytes = 16,
                                     .max_info_bytes = 32};
  EXPECT_TRUE(StatusOf("MSG abcdefghi 1 0\r", limits).code() ==
              absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(StatusOf("MSG abcdefgh 1 0\r\n", limits).code() ==
              absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(StatusOf("MSG abcdef 1 0\r\n\r\n", limits).ok());
  EXPECT_TRUE(StatusOf("INFO 0123456789012345678901234\r\n", limits).ok());
  EXPECT_EQ(StatusOf("INFO 01234567890123456789012345678\r", limits).code(),
            absl::StatusCode::kResourceExhausted);
}

// It is not waited for, nor allocated.
TEST(NatsReader, PayloadIsCheckedAtItsLine) {
  const NatsReader::Limits limits = {.max_payload_bytes = 8};
  EXPECT_TRUE(StatusOf("MSG a 1 8\r\n", limits).ok());
  EXPECT_EQ(StatusOf("MSG a 1 9\r\n", limits).code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(StatusOf("HMSG a 1 1 9\r\n", limits).code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(StatusOf("MSG a 1 9999999999999999999\r\n").code(),
            absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace fio::nats_internal
