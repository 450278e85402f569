// A RespReader makes replies of the bytes that a Redis server sends, in
// whatever pieces they come: RESP 2 and RESP 3.
//
// It trusts nobody. Nothing is allocated for what is announced, only for what
// has come, and all of it has a bound. Streamed values and attributes, which no
// server sends unasked, are errors.
//
// Thread safety: none.

#ifndef FIO_CORE_PUBSUB_REDIS_INTERNAL_RESP_READER_H_
#define FIO_CORE_PUBSUB_REDIS_INTERNAL_RESP_READER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "fio/core/pubsub/redis/redis_reply.h"

namespace fio::redis_internal {

struct RespLimits {
  size_t depth = 8;                       // Aggregates in one another.
  size_t elements = 1'000'000;            // That open aggregates announce.
  size_t line_bytes = size_t{64} << 10;   // Between type and CRLF.
  size_t bulk_bytes = size_t{16} << 20;   // Of one string.
  size_t reply_bytes = size_t{64} << 20;  // Of all text in one reply.
};

class RespReader {
 public:
  // Takes a reply that is complete. False: the rest is not wanted.
  using OnReply = absl::FunctionRef<bool(RedisReply reply)>;

  explicit RespReader(const RespLimits& limits = {}) : limits_(limits) {}

  // Calls `on_reply` for each reply that ends in `bytes`, in order. An error
  // (kInvalidArgument) says what is wrong with the stream; replies before that
  // were told, and each later call returns it again.
  absl::Status Feed(std::string_view bytes, OnReply on_reply);

  // Whether a reply has begun that has not ended.
  bool in_reply() const;

 private:
  using Type = RedisReply::Type;

  // An aggregate whose elements have not all come.
  struct Open {
    RedisReply reply;
    size_t missing;
  };

  // Each takes from the front of `bytes`.
  absl::Status TakeLine(std::string_view& bytes);
  absl::Status TakeBulk(std::string_view& bytes);

  absl::Status OnLine(std::string_view line);
  absl::Status OnSimple(char type, std::string_view text);
  absl::Status OnInteger(std::string_view text);
  absl::Status OnDouble(std::string_view text);
  absl::Status BeginBulk(char type, std::string_view text);
  absl::Status EndBulk();
  absl::Status BeginAggregate(char type, std::string_view text);
  void Complete(RedisReply reply);
  absl::Status CountText(size_t bytes);

  const RespLimits limits_;
  absl::Status status_;
  std::string line_;  // The beginning of one.
  bool in_bulk_ = false;
  char bulk_type_ = 0;
  RedisReply bulk_;           // As far as it has come.
  size_t bulk_missing_ = 0;   // Bytes, with those of the CRLF.
  std::vector<Open> open_;    // The innermost is the last.
  size_t open_elements_ = 0;  // Those that are missing, of all.
  size_t text_bytes_ = 0;     // Of the reply that has begun.
  bool complete_ = false;     // `done_` is a reply to tell.
  RedisReply done_;
};

}  // namespace fio::redis_internal

#endif  // FIO_CORE_PUBSUB_REDIS_INTERNAL_RESP_READER_H_
