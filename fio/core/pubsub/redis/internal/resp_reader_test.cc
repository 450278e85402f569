#include "fio/core/pubsub/redis/internal/resp_reader.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "fio/core/pubsub/redis/redis_reply.h"
#include "gtest/gtest.h"

namespace fio::redis_internal {
namespace {

using Type = RedisReply::Type;

struct Outcome {
  std::vector<RedisReply> replies;
  absl::Status status;
  bool in_reply = false;

  bool operator==(const Outcome&) const = default;
};

// Feeds pieces that end at `cuts` and, after those, of `piece` bytes.
Outcome Read(std::string_view bytes, size_t piece = SIZE_MAX,
             const RespLimits& limits = {}, size_t first = 0) {
  RespReader reader(limits);
  Outcome outcome;
  if (first == 0) first = piece;
  while (!bytes.empty() && outcome.status.ok()) {
    const std::string part(bytes.substr(0, first));
    bytes.remove_prefix(part.size());
    first = piece;
    outcome.status = reader.Feed(part, [&](RedisReply reply) {
      outcome.replies.push_back(std::move(reply));
      return true;
    });
  }
  outcome.in_reply = reader.in_reply();
  return outcome;
}

RedisReply One(std::string_view bytes) {
  Outcome outcome = Read(bytes);
  EXPECT_TRUE(outcome.status.ok()) << outcome.status << " " << bytes;
  EXPECT_FALSE(outcome.in_reply) << bytes;
  EXPECT_EQ(outcome.replies.size(), 1) << bytes;
  return outcome.replies.empty() ? RedisReply() : outcome.replies[0];
}

RedisReply String(std::string_view text) {
  return {.type = Type::kString, .text = std::string(text)};
}

RedisReply Integer(int64_t integer) {
  return {.type = Type::kInteger, .integer = integer};
}

void ExpectWrong(std::string_view bytes, std::string_view why,
                 const RespLimits& limits = {}) {
  const Outcome whole = Read(bytes, SIZE_MAX, limits);
  EXPECT_EQ(whole.status,
            absl::InvalidArgumentError(absl::StrCat("RESP: ", why)))
      << bytes.substr(0, 40);
  EXPECT_EQ(Read(bytes, 1, limits).status, whole.status) << bytes.substr(0, 40);
}

TEST(RespReader, ReadsWhatHasNoElements) {
  EXPECT_EQ(One("+OK\r\n"), String("OK"));
  EXPECT_EQ(One("+\r\n"), String(""));
  EXPECT_EQ(One("-ERR no\r\n"),
            (RedisReply{.type = Type::kError, .text = "ERR no"}));
  EXPECT_EQ(One(":-9223372036854775808\r\n"), Integer(INT64_MIN));
  EXPECT_EQ(One(":+7\r\n"), Integer(7));
  EXPECT_EQ(One("$-1\r\n"), RedisReply());
  EXPECT_EQ(One("*-1\r\n"), RedisReply());
  EXPECT_EQ(One("_\r\n"), RedisReply());
  EXPECT_EQ(One("#t\r\n"), (RedisReply{.type = Type::kBool, .integer = 1}));
  EXPECT_EQ(One("#f\r\n"), (RedisReply{.type = Type::kBool}));
  EXPECT_EQ(One(",-1.5e3\r\n"),
            (RedisReply{.type = Type::kDouble, .number = -1500}));
  EXPECT_EQ(One(",-inf\r\n").number, -INFINITY);
  EXPECT_TRUE(std::isnan(One(",nan\r\n").number));
  EXPECT_EQ(One("(-123456789012345678901234567890\r\n"),
            String("-123456789012345678901234567890"));
}

TEST(RespReader, ReadsStringsOfAnyBytes) {
  EXPECT_EQ(One("$0\r\n\r\n"), String(""));
  EXPECT_EQ(One(std::string_view("$6\r\n\0\r\n$3\r\r\n", 12)),
            String(std::string_view("\0\r\n$3\r", 6)));
  EXPECT_EQ(One("=8\r\ntxt:some\r\n"), String("some"));
  EXPECT_EQ(One("!6\r\nERR a\n\r\n"),
            (RedisReply{.type = Type::kError, .text = "ERR a\n"}));
}

TEST(RespReader, ReadsAggregates) {
  EXPECT_EQ(One("*0\r\n"), (RedisReply{.type = Type::kArray}));
  EXPECT_EQ(
      One("*2\r\n:1\r\n*1\r\n+a\r\n"),
      (RedisReply{.type = Type::kArray,
                  .items = {Integer(1),
                            {.type = Type::kArray, .items = {String("a")}}}}));
  EXPECT_EQ(
      One("%1\r\n+k\r\n:2\r\n"),
      (RedisReply{.type = Type::kMap, .items = {String("k"), Integer(2)}}));
  EXPECT_EQ(One("~1\r\n_\r\n"),
            (RedisReply{.type = Type::kSet, .items = {RedisReply()}}));
  EXPECT_EQ(
      One(">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$0\r\n\r\n"),
      (RedisReply{.type = Type::kPush,
                  .items = {String("message"), String("c"), String("")}}));
}

// All types, one in another and one after another.
constexpr std::string_view kStream =
    "+OK\r\n%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n+modules\r\n*0\r\n"
    ">3\r\n$7\r\nmessage\r\n$2\r\n\r\n\r\n$3\r\nx\ry\r\n-ERR "
    "x\r\n:-12\r\n,2.5\r\n"
    "*4\r\n#t\r\n~2\r\n(12\r\n_\r\n*-1\r\n=5\r\ntxt:v\r\n$-1\r\n!3\r\nERR\r\n:"
    "1\r\n";

TEST(RespReader, PiecesMakeNoDifference) {
  const Outcome whole = Read(kStream);
  EXPECT_EQ(whole.status, absl::OkStatus());
  EXPECT_EQ(whole.replies.size(), 10);
  EXPECT_FALSE(whole.in_reply);
  for (size_t piece = 1; piece <= kStream.size(); ++piece) {
    EXPECT_EQ(Read(kStream, piece), whole) << piece;
    EXPECT_EQ(Read(kStream, SIZE_MAX, {}, piece), whole) << piece;
  }
}

TEST(RespReader, KnowsThatAReplyHasNotEnded) {
  const Outcome whole = Read(kStream);
  for (size_t size = 1; size < kStream.size(); ++size) {
    const Outcome part = Read(kStream.substr(0, size));
    EXPECT_EQ(part.status, absl::OkStatus()) << size;
    EXPECT_TRUE(std::equal(part.replies.begin(), part.replies.end(),
                           whole.replies.begin()))
        << size;
  }
  for (const std::string_view begun :
       {"+", "$", "$1", "$1\r\n", "$1\r\na", "$1\r\na\r", "*1\r\n"}) {
    EXPECT_TRUE(Read(begun).in_reply) << begun;
  }
}

TEST(RespReader, StopsWhenNoMoreIsWanted) {
  RespReader reader;
  int told = 0;
  EXPECT_EQ(reader.Feed("+a\r\n+b\r\n",
                        [&](RedisReply) {
                          ++told;
                          return false;
                        }),
            absl::OkStatus());
  EXPECT_EQ(told, 1);
}

TEST(RespReader, AnErrorStays) {
  RespReader reader;
  const auto none = [](RedisReply) { return true; };
  const absl::Status wrong = reader.Feed("?\r\n", none);
  EXPECT_FALSE(wrong.ok());
  EXPECT_EQ(reader.Feed("+OK\r\n", none), wrong);
}

TEST(RespReader, RefusesWhatIsMalformed) {
  ExpectWrong("OK\r\n", "no type is called 0x4f");
  ExpectWrong("|1\r\n", "no type is called 0x7c");
  ExpectWrong("+a\n", "a line does not end with CRLF");
  ExpectWrong("+a\rb\r\n", "a line does not end with CRLF");
  ExpectWrong("\r\n", "a line does not end with CRLF");
  ExpectWrong(":\r\n", "no integer");
  ExpectWrong(": 1\r\n", "no integer");
  ExpectWrong(":9223372036854775808\r\n", "no integer");
  ExpectWrong(",0x1p3\r\n", "no double");
  ExpectWrong(",\r\n", "no double");
  ExpectWrong("(12a\r\n", "no big number");
  ExpectWrong("#1\r\n", "neither true nor false");
  ExpectWrong("_x\r\n", "a null with a value");
  ExpectWrong("$?\r\n", "no size of a string");
  ExpectWrong("$-2\r\n", "a string of less than no bytes");
  ExpectWrong("!-1\r\n", "a string of less than no bytes");
  ExpectWrong("$3\r\nabcX\r\n", "no CRLF behind a string");
  ExpectWrong("$3\r\nabc\rX", "no CRLF behind a string");
  ExpectWrong("=3\r\ntxt\r\n", "a verbatim string without its format");
  ExpectWrong("*?\r\n", "no number of elements");
  ExpectWrong("*-2\r\n", "less than no elements");
  ExpectWrong(">-1\r\n", "less than no elements");
  ExpectWrong("*1\r\n>1\r\n", "a push inside of a reply");
}

TEST(RespReader, BoundsDepth) {
  std::string nested;
  for (int i = 0; i < 8; ++i) nested += "*1\r\n";
  EXPECT_EQ(Read(nested + "_\r\n").replies.size(), 1);
  ExpectWrong(nested + "*1\r\n", "too deep");
  ExpectWrong(nested + "*0\r\n", "too deep");
}

TEST(RespReader, BoundsElementsOfAllThatIsOpen) {
  const RespLimits limits = {.elements = 10};
  ExpectWrong("*11\r\n", "too many elements", limits);
  ExpectWrong("%6\r\n", "too many elements", limits);
  ExpectWrong("*9223372036854775807\r\n", "too many elements", limits);
  ExpectWrong("%9223372036854775807\r\n", "too many elements", limits);
  ExpectWrong("*6\r\n*5\r\n", "too many elements", limits);
  EXPECT_TRUE(Read("*6\r\n*4\r\n:1\r\n:1\r\n:1\r\n:1\r\n*5\r\n", 1, limits)
                  .status.ok());
}

TEST(RespReader, BoundsLinesAndStrings) {
  const RespLimits limits = {
      .line_bytes = 20, .bulk_bytes = 20, .reply_bytes = 30};
  EXPECT_TRUE(Read("+01234567890123456789\r\n", 1, limits).status.ok());
  ExpectWrong("+012345678901234567890\r\n", "a line is too long", limits);
  ExpectWrong("+01234567890123456789012", "a line is too long", limits);
  ExpectWrong("$21\r\n", "a string is too long", limits);
  ExpectWrong("$9223372036854775807\r\n", "a string is too long", limits);
  ExpectWrong(
      absl::StrCat("*2\r\n$20\r\n", std::string(20, 'x'), "\r\n$11\r\n"),
      "a reply is too long", limits);
  // The next reply has as much again.
  const std::string full = absl::StrCat("*2\r\n$20\r\n", std::string(20, 'x'),
                                        "\r\n+0123456789\r\n");
  EXPECT_EQ(Read(full + full, 1, limits).replies.size(), 2);
}

}  // namespace
}  // namespace fio::redis_internal
