#include "fio/core/pubsub/redis/internal/resp_reader.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "fio/core/pubsub/redis/redis_reply.h"

namespace fio::redis_internal {
namespace {

// Room that an aggregate may be given at once, in elements.
constexpr size_t kMaxReserve = 8;

absl::Status Wrong(std::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("RESP: ", what));
}

// [+-] and digits, which are at least one.
bool IsWholeNumber(std::string_view text) {
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) {
    text.remove_prefix(1);
  }
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return absl::ascii_isdigit(static_cast<unsigned char>(c));
  });
}

bool ParseInteger(std::string_view text, int64_t& value) {
  return IsWholeNumber(text) && absl::SimpleAtoi(text, &value);
}

bool ParseDouble(std::string_view text, double& value) {
  if (text == "inf" || text == "-inf" || text == "nan" || text == "-nan") {
    return absl::SimpleAtod(text, &value);
  }
  return text.find_first_not_of("0123456789+-.eE") == text.npos &&
         absl::SimpleAtod(text, &value);
}

RedisReply::Type TypeOfAggregate(char type) {
  switch (type) {
    case '%':
      return RedisReply::Type::kMap;
    case '~':
      return RedisReply::Type::kSet;
    case '>':
      return RedisReply::Type::kPush;
    default:
      return RedisReply::Type::kArray;
  }
}

}  // namespace

bool RespReader::in_reply() const {
  return in_bulk_ || !line_.empty() || !open_.empty();
}

absl::Status RespReader::Feed(std::string_view bytes, OnReply on_reply) {
  while (status_.ok() && !bytes.empty()) {
    status_ = in_bulk_ ? TakeBulk(bytes) : TakeLine(bytes);
    if (status_.ok() && std::exchange(complete_, false) &&
        !on_reply(std::move(done_))) {
      return absl::OkStatus();
    }
  }
  return status_;
}

// --- Pieces ---

absl::Status RespReader::TakeLine(std::string_view& bytes) {
  const size_t end = bytes.find('\n');
  const std::string_view piece = bytes.substr(0, end);
  // With the type in front and the CR behind.
  if (line_.size() + piece.size() > limits_.line_bytes + 2) {
    return Wrong("a line is too long");
  }
  if (end == bytes.npos) {
    line_.append(piece);
    bytes = {};
    return absl::OkStatus();
  }
  bytes.remove_prefix(end + 1);
  if (line_.empty()) return OnLine(piece);
  const std::string line = std::exchange(line_, {}).append(piece);
  return OnLine(line);
}

absl::Status RespReader::TakeBulk(std::string_view& bytes) {
  if (bulk_missing_ > 2) {
    const size_t size = std::min(bytes.size(), bulk_missing_ - 2);
    bulk_.text.append(bytes.substr(0, size));
    bytes.remove_prefix(size);
    bulk_missing_ -= size;
    return absl::OkStatus();
  }
  if (bytes[0] != (bulk_missing_ == 2 ? '\r' : '\n')) {
    return Wrong("no CRLF behind a string");
  }
  bytes.remove_prefix(1);
  return --bulk_missing_ == 0 ? EndBulk() : absl::OkStatus();
}

// --- Lines ---

// `line` is without its LF.
absl::Status RespReader::OnLine(std::string_view line) {
  if (line.size() < 2 || line.find('\r') != line.size() - 1) {
    return Wrong("a line does not end with CRLF");
  }
  const char type = line[0];
  const std::string_view text = line.substr(1, line.size() - 2);
  switch (type) {
    case '+':
    case '-':
    case '_':
    case '#':
    case '(':
      return OnSimple(type, text);
    case ':':
      return OnInteger(text);
    case ',':
      return OnDouble(text);
    case '$':
    case '!':
    case '=':
      return BeginBulk(type, text);
    case '*':
    case '%':
    case '~':
    case '>':
      return BeginAggregate(type, text);
    default:
      return Wrong(absl::StrCat("no type is called 0x",
                                absl::Hex(static_cast<unsigned char>(type))));
  }
}

absl::Status RespReader::OnSimple(char type, std::string_view text) {
  RedisReply reply;
  if (type == '_') {
    if (!text.empty()) return Wrong("a null with a value");
  } else if (type == '#') {
    if (text != "t" && text != "f") return Wrong("neither true nor false");
    reply.type = Type::kBool;
    reply.integer = text == "t" ? 1 : 0;
  } else {
    if (type == '(' && !IsWholeNumber(text)) return Wrong("no big number");
    absl::Status counted = CountText(text.size());
    if (!counted.ok()) return counted;
    reply.type = type == '-' ? Type::kError : Type::kString;
    reply.text = text;
  }
  Complete(std::move(reply));
  return absl::OkStatus();
}

absl::Status RespReader::OnInteger(std::string_view text) {
  RedisReply reply{.type = Type::kInteger};
  if (!ParseInteger(text, reply.integer)) return Wrong("no integer");
  Complete(std::move(reply));
  return absl::OkStatus();
}

absl::Status RespReader::OnDouble(std::string_view text) {
  RedisReply reply{.type = Type::kDouble};
  if (!ParseDouble(text, reply.number)) return Wrong("no double");
  Complete(std::move(reply));
  return absl::OkStatus();
}

// --- Strings with a size ---

absl::Status RespReader::BeginBulk(char type, std::string_view text) {
  int64_t size = 0;
  if (!ParseInteger(text, size)) return Wrong("no size of a string");
  if (type == '$' && size == -1) {
    Complete(RedisReply());
    return absl::OkStatus();
  }
  if (size < 0) return Wrong("a string of less than no bytes");
  if (static_cast<uint64_t>(size) > limits_.bulk_bytes) {
    return Wrong("a string is too long");
  }
  bulk_ = RedisReply{.type = type == '!' ? Type::kError : Type::kString};
  bulk_type_ = type;
  bulk_missing_ = static_cast<size_t>(size) + 2;
  in_bulk_ = true;
  return CountText(static_cast<size_t>(size));
}

absl::Status RespReader::EndBulk() {
  in_bulk_ = false;
  if (bulk_type_ == '=') {
    // "txt:" or "mkd:" and the text.
    if (bulk_.text.size() < 4 || bulk_.text[3] != ':') {
      return Wrong("a verbatim string without its format");
    }
    bulk_.text.erase(0, 4);
  }
  Complete(std::move(bulk_));
  return absl::OkStatus();
}

// --- Aggregates ---

absl::Status RespReader::BeginAggregate(char type, std::string_view text) {
  int64_t size = 0;
  if (!ParseInteger(text, size)) return Wrong("no number of elements");
  if (type == '>' && !open_.empty()) return Wrong("a push inside of a reply");
  if (type == '*' && size == -1) {
    Complete(RedisReply());
    return absl::OkStatus();
  }
  if (size < 0) return Wrong("less than no elements");
  const size_t each = type == '%' ? 2 : 1;
  if (static_cast<uint64_t>(size) >
      (limits_.elements - open_elements_) / each) {
    return Wrong("too many elements");
  }
  if (open_.size() == limits_.depth) return Wrong("too deep");
  RedisReply reply{.type = TypeOfAggregate(type)};
  const size_t elements = static_cast<size_t>(size) * each;
  if (elements == 0) {
    Complete(std::move(reply));
    return absl::OkStatus();
  }
  reply.items.reserve(std::min(elements, kMaxReserve));
  open_.push_back({.reply = std::move(reply), .missing = elements});
  open_elements_ += elements;
  return absl::OkStatus();
}

// An element, and all aggregates of which it is the last.
void RespReader::Complete(RedisReply reply) {
  while (!open_.empty()) {
    Open& parent = open_.back();
    parent.reply.items.push_back(std::move(reply));
    --open_elements_;
    if (--parent.missing > 0) return;
    reply = std::move(parent.reply);
    open_.pop_back();
  }
  text_bytes_ = 0;
  done_ = std::move(reply);
  complete_ = true;
}

absl::Status RespReader::CountText(size_t bytes) {
  text_bytes_ += bytes;
  return text_bytes_ > limits_.reply_bytes ? Wrong("a reply is too long")
                                           : absl::OkStatus();
}

}  // namespace fio::redis_internal
