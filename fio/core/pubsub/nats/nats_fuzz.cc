#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "fio/core/pubsub/nats/internal/nats_info.h"
#include "fio/core/pubsub/nats/internal/nats_reader.h"

namespace {

using fio::nats_internal::JsonString;
using fio::nats_internal::NatsFrame;
using fio::nats_internal::NatsInfo;
using fio::nats_internal::NatsReader;

constexpr NatsReader::Limits kLimits = {
    .max_line_bytes = 64, .max_info_bytes = 512, .max_payload_bytes = 256};

struct Result {
  std::vector<std::string> frames;
  std::string status;
};

void CheckInfo(std::string_view json) {
  const absl::StatusOr<NatsInfo> info = NatsInfo::Parse(json);
  if (!info.ok()) return;
  ABSL_CHECK_LE(info->connect_urls.size(), NatsInfo::kMaxServers);
  const absl::StatusOr<NatsInfo> again = NatsInfo::Parse(
      absl::StrCat("{\"nonce\":", JsonString(info->nonce), "}"));
  ABSL_CHECK(again.ok());
  ABSL_CHECK_EQ(again->nonce, info->nonce);
}

Result Read(std::string_view bytes, size_t step) {
  Result result;
  NatsReader reader(kLimits);
  while (!bytes.empty()) {
    const std::string_view piece = bytes.substr(0, step);
    bytes.remove_prefix(piece.size());
    reader.Feed(piece, [&result](const NatsFrame& frame) {
      ABSL_CHECK_LE(frame.headers.size() + frame.body.size(),
                    kLimits.max_payload_bytes);
      ABSL_CHECK_LE(frame.text.size(), kLimits.max_info_bytes);
      ABSL_CHECK_LE(frame.subject.size(), kLimits.max_line_bytes);
      if (frame.kind == NatsFrame::Kind::kInfo) CheckInfo(frame.text);
      result.frames.push_back(absl::StrCat(static_cast<int>(frame.kind), "|",
                                           frame.text, "|", frame.sid, "|",
                                           frame.subject, "|", frame.reply, "|",
                                           frame.headers, "|", frame.body));
      return true;
    });
  }
  result.status = reader.status().ToString();
  return result;
}

}  // namespace

// The first byte is how many come at a time; they must be the same frames as
// when all come at once. As JSON they are tried, too.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data + 1),
                               size - 1);
  CheckInfo(bytes);
  const size_t step = std::max<size_t>(data[0], 1);
  const Result whole = Read(bytes, bytes.size());
  const Result pieces = Read(bytes, step);
  ABSL_CHECK(whole.frames == pieces.frames);
  ABSL_CHECK_EQ(whole.status == "OK", pieces.status == "OK")
      << whole.status << " " << pieces.status;
  return 0;
}
