#include "fio/core/pubsub/nats/internal/nats_reader.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace fio::nats_internal {
namespace {

using Kind = NatsFrame::Kind;

constexpr std::string_view kEnd = "\r\n";
constexpr std::string_view kInfo = "INFO ";

// What a log may show of a line.
std::string_view Start(std::string_view line) { return line.substr(0, 64); }

// Decimal digits alone, up to 19 of them.
std::optional<uint64_t> ParseNumber(std::string_view digits) {
  if (digits.empty() || digits.size() > 19) return std::nullopt;
  uint64_t number = 0;
  for (const char digit : digits) {
    if (digit < '0' || digit > '9') return std::nullopt;
    number = number * 10 + static_cast<uint64_t>(digit - '0');
  }
  return number;
}

// The words of a line, of which there are at most five. 0 if there are more.
size_t SplitWords(std::string_view line, std::array<std::string_view, 5>& out) {
  size_t count = 0;
  while (true) {
    const size_t begin = line.find_first_not_of(" \t");
    if (begin == line.npos) return count;
    if (count == out.size()) return 0;
    const size_t end = std::min(line.find_first_of(" \t", begin), line.size());
    out[count++] = line.substr(begin, end - begin);
    line.remove_prefix(end);
  }
}

}  // namespace

bool NatsReader::Fail(absl::Status status) {
  status_ = std::move(status);
  return false;
}

size_t NatsReader::Feed(std::string_view bytes, OnFrame on_frame) {
  const size_t all = bytes.size();
  while (!bytes.empty() && status_.ok()) {
    bool go_on = true;
    if (partial_.empty()) {
      // Whole frames are not copied.
      const size_t size = Measure(bytes, 0);
      if (!status_.ok()) break;
      if (size != 0 && size <= bytes.size()) {
        go_on = Emit(bytes.substr(0, size), on_frame);
        bytes.remove_prefix(size);
      } else {
        needed_ = size;
        partial_.assign(bytes);
        bytes = {};
      }
    } else {
      const size_t searched = partial_.size();
      const size_t take =
          needed_ != 0 ? needed_ - partial_.size() : bytes.find('\n') + 1;
      // Without a newline take is 0: all of it.
      partial_.append(bytes.substr(0, take == 0 ? bytes.npos : take));
      bytes.remove_prefix(partial_.size() - searched);
      if (needed_ == 0) needed_ = Measure(partial_, searched);
      if (!status_.ok()) break;
      if (needed_ != 0 && partial_.size() == needed_) {
        go_on = Emit(partial_, on_frame);
        partial_.clear();
        if (partial_.capacity() > (size_t{1} << 20)) partial_.shrink_to_fit();
        needed_ = 0;
      }
    }
    if (!go_on) break;
  }
  return all - bytes.size();
}

size_t NatsReader::Measure(std::string_view bytes, size_t searched) {
  const bool is_info =
      bytes.starts_with(kInfo.substr(0, std::min<size_t>(4, bytes.size())));
  const size_t limit =
      is_info ? limits_.max_info_bytes : limits_.max_line_bytes;
  const size_t newline = bytes.find('\n', searched);
  if (std::min(newline, bytes.size()) > limit) {
    Fail(absl::ResourceExhaustedError(absl::StrCat(
        "the server's line has more than ", limit, " bytes: ", Start(bytes))));
    return 0;
  }
  if (newline == bytes.npos) return 0;
  Header header;
  return ParseLine(bytes.substr(0, newline + 1), header) ? header.size() : 0;
}

bool NatsReader::ParseLine(std::string_view line, Header& header) {
  header.line_bytes = line.size();
  if (!absl::ConsumeSuffix(&line, kEnd)) {
    return Fail(absl::InvalidArgumentError(
        absl::StrCat("a line without CR: ", Start(line))));
  }
  NatsFrame& frame = header.frame;
  if (absl::ConsumePrefix(&line, "MSG ")) {
    return ParseMessage(line, /*has_headers=*/false, header);
  }
  if (absl::ConsumePrefix(&line, "HMSG ")) {
    return ParseMessage(line, /*has_headers=*/true, header);
  }
  if (absl::ConsumePrefix(&line, kInfo)) {
    frame.kind = Kind::kInfo;
    frame.text = line;
  } else if (absl::ConsumePrefix(&line, "-ERR")) {
    frame.kind = Kind::kError;
    absl::ConsumePrefix(&line, " ");
    absl::ConsumePrefix(&line, "'");
    absl::ConsumeSuffix(&line, "'");
    frame.text = line;
  } else if (line == "PING") {
    frame.kind = Kind::kPing;
  } else if (line == "PONG") {
    frame.kind = Kind::kPong;
  } else if (line == "+OK") {
    frame.kind = Kind::kOk;
  } else {
    return Fail(absl::InvalidArgumentError(
        absl::StrCat("no line of NATS: ", Start(line))));
  }
  return true;
}

bool NatsReader::ParseMessage(std::string_view words, bool has_headers,
                              Header& header) {
  std::array<std::string_view, 5> word;
  const size_t count = SplitWords(words, word);
  const size_t least = has_headers ? 4 : 3;
  const auto sid = ParseNumber(word[1]);
  const auto payload = ParseNumber(word[std::max(count, least) - 1]);
  const auto headers =
      has_headers ? ParseNumber(word[std::max(count, least) - 2]) : 0;
  if ((count != least && count != least + 1) || !sid.has_value() ||
      !payload.has_value() || !headers.has_value() || *headers > *payload) {
    return Fail(absl::InvalidArgumentError(
        absl::StrCat("no message of NATS: ", Start(words))));
  }
  if (*payload > limits_.max_payload_bytes) {
    return Fail(absl::ResourceExhaustedError(
        absl::StrCat("a message of ", *payload, " bytes, more than ",
                     limits_.max_payload_bytes)));
  }
  header.frame.kind = Kind::kMessage;
  header.frame.subject = word[0];
  header.frame.sid = *sid;
  if (count == least + 1) header.frame.reply = word[2];
  header.header_bytes = *headers;
  header.payload_bytes = *payload;
  return true;
}

bool NatsReader::Emit(std::string_view bytes, OnFrame on_frame) {
  Header header;
  if (!ParseLine(bytes.substr(0, bytes.find('\n') + 1), header)) return false;
  if (header.has_payload()) {
    if (!bytes.ends_with(kEnd)) {
      return Fail(absl::InvalidArgumentError(absl::StrCat(
          "a message does not end where it should: ", Start(bytes))));
    }
    const std::string_view payload =
        bytes.substr(header.line_bytes, header.payload_bytes);
    header.frame.headers = payload.substr(0, header.header_bytes);
    header.frame.body = payload.substr(header.header_bytes);
  }
  return on_frame(header.frame);
}

}  // namespace fio::nats_internal
