#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "fio/core/pubsub/redis/internal/resp_reader.h"
#include "fio/core/pubsub/redis/redis_reply.h"

namespace {

using fio::RedisReply;
using fio::redis_internal::RespLimits;
using fio::redis_internal::RespReader;

constexpr RespLimits kLimits = {.depth = 4,
                                .elements = 100,
                                .line_bytes = 60,
                                .bulk_bytes = 500,
                                .reply_bytes = 1000};

struct Outcome {
  std::vector<RedisReply> replies;
  absl::Status status;
  bool in_reply = false;
};

// Returns how many bytes of text it has. It is within the limits, and a push
// only at the top.
size_t Check(const RedisReply& reply, size_t depth) {
  ABSL_CHECK(depth == 0 || reply.type != RedisReply::Type::kPush);
  ABSL_CHECK_LE(reply.text.size(), kLimits.bulk_bytes);
  ABSL_CHECK_LE(reply.items.size(), kLimits.elements);
  ABSL_CHECK(reply.items.empty() || depth < kLimits.depth);
  size_t bytes = reply.text.size();
  for (const RedisReply& item : reply.items) bytes += Check(item, depth + 1);
  return bytes;
}

// Equal, but that a number which is none equals another.
bool AreEqual(const RedisReply& a, const RedisReply& b) {
  const bool same_number =
      a.number == b.number || (a.number != a.number && b.number != b.number);
  return a.type == b.type && a.integer == b.integer && same_number &&
         a.text == b.text && std::ranges::equal(a.items, b.items, AreEqual);
}

// Feeds pieces of `piece` bytes, each in memory that ends where it ends.
Outcome Read(std::string_view bytes, size_t piece) {
  RespReader reader(kLimits);
  Outcome outcome;
  while (!bytes.empty() && outcome.status.ok()) {
    const std::vector<char> copy(bytes.begin(),
                                 bytes.begin() + std::min(piece, bytes.size()));
    bytes.remove_prefix(copy.size());
    outcome.status =
        reader.Feed({copy.data(), copy.size()}, [&](RedisReply reply) {
          ABSL_CHECK_LE(Check(reply, 0), kLimits.reply_bytes);
          outcome.replies.push_back(std::move(reply));
          return true;
        });
  }
  outcome.in_reply = reader.in_reply();
  return outcome;
}

}  // namespace

// The first byte says how the rest is cut, which makes no difference.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data + 1),
                               size - 1);
  const Outcome whole = Read(bytes, size);
  const Outcome cut = Read(bytes, 1 + data[0] % 67);
  ABSL_CHECK(std::ranges::equal(cut.replies, whole.replies, AreEqual));
  ABSL_CHECK_EQ(cut.status, whole.status);
  if (whole.status.ok()) ABSL_CHECK_EQ(cut.in_reply, whole.in_reply);
  return 0;
}
