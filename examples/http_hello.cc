// HTTP/1.1 on bare bytes: every GET, HEAD or POST is answered with a greeting.
//
//   bazel run -c opt //examples:http_hello -- --url=tcp://127.0.0.1:3000
//   curl -v http://127.0.0.1:3000/
//
// Requests are read line by line. They may arrive split at any byte, and many
// at once; they are answered in order. A line that lies whole in what was
// received is parsed in place, without a copy. The server keeps at most one
// incomplete line for each client.
//
// The parser is strict: if two readers could understand a request in different
// ways (RFC 9112, section 11.2, "request smuggling"), it is answered with an
// error, and the connection is closed.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "examples/command_line.h"
#include "fio/fio.h"

ABSL_FLAG(std::string, url, "tcp://127.0.0.1:3000",
          "where to listen, tcp or unix; port 0 picks a free one");
ABSL_FLAG(int, threads, 1, "event loops, each on a thread of its own");
ABSL_FLAG(int, workers, 1, "processes that serve");
ABSL_FLAG(examples::TimeSpan, timeout, {absl::Seconds(10)},
          "how long a client may be silent, and how long the head of a "
          "request may take, as in 10s; 0 for ever");

namespace {

// The limits of one request. Lines include their ends.
constexpr size_t kMaxHeadBytes = size_t{8} << 10;  // And as much of trailers.
constexpr size_t kMaxExtensionBytes = size_t{4} << 10;  // Of all its chunks.
constexpr uint64_t kMaxBodyBytes = uint64_t{1} << 20;
constexpr int kMaxEmptyLines = 2;  // Before the request.
constexpr absl::Duration kBodyTime = absl::Seconds(60);
// How long the last request may take when the server is told to stop.
constexpr absl::Duration kLastRequest = absl::Seconds(5);

constexpr size_t kMaxSizeDigits = 16;  // Of a chunk.
constexpr std::string_view kLineEnd = "\r\n";

constexpr std::string_view kBadRequest = "400 Bad Request";
constexpr std::string_view kTooSlow = "408 Request Timeout";
constexpr std::string_view kTooLarge = "413 Content Too Large";
constexpr std::string_view kHeadTooLarge =
    "431 Request Header Fields Too Large";
constexpr std::string_view kNotImplemented = "501 Not Implemented";

constexpr std::string_view kHello = "Hello, World!\n";
constexpr std::string_view kHelloHead =
    "HTTP/1.1 200 OK\r\n"
    "Content-Type: text/plain\r\n"
    "Content-Length: 14\r\n";
static_assert(kHello.size() == 14);

// What the head of a request says.
struct Request {
  bool is_head = false;
  bool is_old = false;  // HTTP/1.0.
  bool says_close = false;
  bool says_keep_alive = false;
  bool expects_continue = false;
  bool is_chunked = false;
  int hosts = 0;
  std::optional<uint64_t> content_length;

  bool is_last() const { return says_close || (is_old && !says_keep_alive); }
};

// --- What a line may consist of ---

// A name, which RFC 9110, section 5.6.2, calls "token".
bool IsToken(std::string_view name) {
  static constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return !name.empty() && absl::c_all_of(name, [](unsigned char c) {
    return absl::ascii_isalnum(c) || absl::StrContains(kMarks, c);
  });
}

bool IsNumber(std::string_view text) {
  return !text.empty() && absl::c_all_of(text, [](unsigned char c) {
    return absl::ascii_isdigit(c);
  });
}

bool IsTarget(std::string_view text) {
  return !text.empty() && absl::c_all_of(text, [](unsigned char c) {
    return absl::ascii_isgraph(c) && c != '#';
  });
}

bool HasControl(std::string_view text) {
  return absl::c_any_of(text, [](unsigned char c) {
    return c != '\t' && absl::ascii_iscntrl(c);
  });
}

// Only these two bytes are white space (RFC 9110, section 5.6.3). A function
// that also strips CR or LF would hide what makes a request ambiguous.
std::string_view StripBlanks(std::string_view text) {
  constexpr std::string_view kBlanks = " \t";
  const size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

// Takes the text before `end`, and `end`, off the front of `rest`.
std::optional<std::string_view> TakeUntil(char end, std::string_view& rest) {
  const size_t at = rest.find(end);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view taken = rest.substr(0, at);
  rest.remove_prefix(at + 1);
  return taken;
}

// --- Lines. Each parser returns the status of the error, or nothing ---

// "GET /index.html HTTP/1.1"
std::string_view ParseRequestLine(std::string_view line, Request& request) {
  const std::optional<std::string_view> method = TakeUntil(' ', line);
  const std::optional<std::string_view> target = TakeUntil(' ', line);
  if (!method || !IsToken(*method) || !target || !IsTarget(*target) ||
      !absl::ConsumePrefix(&line, "HTTP/") || line.size() != 3 ||
      !IsNumber(line.substr(0, 1)) || line[1] != '.' ||
      !IsNumber(line.substr(2))) {
    return kBadRequest;
  }
  if (line[0] != '1') return "505 HTTP Version Not Supported";
  if (*method != "GET" && *method != "HEAD" && *method != "POST") {
    return kNotImplemented;
  }
  request.is_head = *method == "HEAD";
  request.is_old = line == "1.0";
  return {};
}

// "Content-Length: 5". There may be one only, though RFC 9112 would allow
// several that are equal.
std::string_view ParseContentLength(std::string_view value, Request& request) {
  if (request.content_length.has_value() || !IsNumber(value)) {
    return kBadRequest;
  }
  uint64_t length;
  if (!absl::SimpleAtoi(value, &length) || length > kMaxBodyBytes) {
    return kTooLarge;
  }
  request.content_length = length;
  return {};
}

// "Transfer-Encoding: chunked". HTTP/1.0 has none.
std::string_view ParseTransferEncoding(std::string_view value,
                                       Request& request) {
  if (request.is_old || request.is_chunked) return kBadRequest;
  const size_t comma = value.rfind(',');
  const bool is_list = comma != std::string_view::npos;
  const std::string_view last =
      is_list ? StripBlanks(value.substr(comma + 1)) : value;
  // Anything else does not say where the body ends.
  if (!absl::EqualsIgnoreCase(last, "chunked")) return kBadRequest;
  if (is_list) return kNotImplemented;
  request.is_chunked = true;
  return {};
}

// "Connection: close, x"
void ParseConnection(std::string_view value, Request& request) {
  for (std::string_view option : absl::StrSplit(value, ',')) {
    option = StripBlanks(option);
    request.says_close |= absl::EqualsIgnoreCase(option, "close");
    request.says_keep_alive |= absl::EqualsIgnoreCase(option, "keep-alive");
  }
}

struct Field {
  std::string_view name, value;
};

// "Name: value". Neither is there white space before the colon, nor does a line
// that begins with white space continue the one before.
std::optional<Field> ParseField(std::string_view line) {
  if (HasControl(line)) return std::nullopt;
  const std::optional<std::string_view> name = TakeUntil(':', line);
  if (!name || !IsToken(*name)) return std::nullopt;
  return Field{*name, StripBlanks(line)};
}

std::string_view ParseHeader(std::string_view line, Request& request) {
  const std::optional<Field> field = ParseField(line);
  if (!field) return kBadRequest;
  const auto [name, value] = *field;
  if (absl::EqualsIgnoreCase(name, "Host")) {
    ++request.hosts;
  } else if (absl::EqualsIgnoreCase(name, "Content-Length")) {
    return ParseContentLength(value, request);
  } else if (absl::EqualsIgnoreCase(name, "Transfer-Encoding")) {
    return ParseTransferEncoding(value, request);
  } else if (absl::EqualsIgnoreCase(name, "Connection")) {
    ParseConnection(value, request);
  } else if (absl::EqualsIgnoreCase(name, "Expect")) {
    request.expects_continue = absl::EqualsIgnoreCase(value, "100-continue");
  }
  return {};
}

// What only the whole head tells.
std::string_view CheckHead(const Request& request) {
  const bool has_host =
      request.hosts == 1 || (request.is_old && request.hosts == 0);
  const bool has_two_lengths =
      request.is_chunked && request.content_length.has_value();
  return has_host && !has_two_lengths ? std::string_view() : kBadRequest;
}

// "1f;name=value": the size of a chunk, in hexadecimal digits, and extensions,
// which mean nothing here.
std::string_view ParseChunkSize(std::string_view line, uint64_t& size) {
  if (HasControl(line)) return kBadRequest;
  const std::string_view digits = line.substr(0, line.find(';'));
  const bool is_hex = absl::c_all_of(
      digits, [](unsigned char c) { return absl::ascii_isxdigit(c); });
  if (digits.size() > kMaxSizeDigits || !is_hex ||
      !absl::SimpleHexAtoi(digits, &size)) {
    return kBadRequest;
  }
  return {};
}

// --- The connection ---

class HttpHello final : public fio::Protocol {
 public:
  // A head may take `head_time`, however often a byte of it comes.
  explicit HttpHello(absl::Duration head_time) : head_time_(head_time) {}

  void OnData(fio::Connection& connection) override {
    std::string_view input = connection.Received();
    while (!input.empty() && connection.is_open()) {
      if (skip_bytes_ > 0) {
        SkipBody(connection, input);
      } else {
        TakeLine(connection, input);
      }
    }
    LimitTime(connection);
  }

  void OnDeadline(fio::Connection& connection) override {
    Refuse(connection, kTooSlow);
  }

  void OnTimeout(fio::Connection& connection) override {
    if (is_between_requests()) return connection.Close();
    Refuse(connection, kTooSlow);
  }

  absl::Duration OnShutdown(fio::Connection&) override {
    stopping_ = true;
    return is_between_requests() ? absl::ZeroDuration() : kLastRequest;
  }

 private:
  // What the next line is.
  enum class Expect : uint8_t {
    kRequestLine,
    kHeader,
    kChunkSize,
    kChunkEnd,  // An empty line, behind the bytes of the chunk.
    kTrailer,
  };

  bool is_between_requests() const {
    return expect_ == Expect::kRequestLine && line_.empty();
  }

  // A request that comes whole needs no deadline, and costs no call.
  void LimitTime(fio::Connection& connection) {
    if (is_between_requests()) {
      connection.SetDeadline(absl::InfiniteDuration());
    } else if (!has_deadline_) {
      connection.SetDeadline(is_in_body_ ? kBodyTime : head_time_);
      has_deadline_ = true;
    }
  }

  // Takes a line off the front of `input`, or what there is of one. Only the
  // bytes decide what is an error, not how they are split.
  void TakeLine(fio::Connection& connection, std::string_view& input) {
    const size_t newline = input.find('\n');
    const bool is_whole = newline != std::string_view::npos;
    const size_t size = is_whole ? newline + 1 : input.size();
    // A line that is not whole takes one byte more at least.
    if (line_.size() + size + (is_whole ? 0 : 1) > room_bytes_) {
      return Refuse(connection, LineTooLong());
    }
    const std::string_view part = input.substr(0, size);
    input.remove_prefix(size);
    if (!is_whole) {
      line_ += part;
    } else if (line_.empty()) {
      EndLine(connection, part);
    } else {
      line_ += part;
      EndLine(connection, std::exchange(line_, {}));
    }
  }

  std::string_view LineTooLong() const {
    return expect_ == Expect::kChunkSize || expect_ == Expect::kChunkEnd
               ? kBadRequest
               : kHeadTooLarge;
  }

  // `line` ends with LF, and must end with CR LF.
  void EndLine(fio::Connection& connection, std::string_view line) {
    room_bytes_ -= line.size();
    const std::string_view error = absl::ConsumeSuffix(&line, kLineEnd)
                                       ? HearLine(connection, line)
                                       : kBadRequest;
    if (!error.empty()) Refuse(connection, error);
  }

  std::string_view HearLine(fio::Connection& connection,
                            std::string_view line) {
    switch (expect_) {
      case Expect::kRequestLine:
        if (line.empty()) {
          return ++empty_lines_ > kMaxEmptyLines ? kBadRequest : "";
        }
        expect_ = Expect::kHeader;
        return ParseRequestLine(line, request_);
      case Expect::kHeader:
        if (line.empty()) return EndHead(connection);
        return ParseHeader(line, request_);
      case Expect::kChunkSize:
        return BeginChunk(line);
      case Expect::kChunkEnd:
        if (!line.empty()) return kBadRequest;
        ExpectChunkSize();
        return {};
      case Expect::kTrailer:
        if (line.empty()) {
          Answer(connection);
          return {};
        }
        return ParseField(line) ? std::string_view() : kBadRequest;
    }
    return {};
  }

  std::string_view EndHead(fio::Connection& connection) {
    const std::string_view error = CheckHead(request_);
    if (!error.empty()) return error;
    is_in_body_ = true;
    has_deadline_ = false;
    skip_bytes_ = request_.content_length.value_or(0);
    if (request_.is_chunked) {
      ExpectChunkSize();
    } else if (skip_bytes_ == 0) {
      Answer(connection);
      return {};
    }
    if (request_.expects_continue && !request_.is_old) {
      connection.Write("HTTP/1.1 100 Continue\r\n\r\n");
    }
    return {};
  }

  void SkipBody(fio::Connection& connection, std::string_view& input) {
    const size_t skipped = std::min<uint64_t>(input.size(), skip_bytes_);
    input.remove_prefix(skipped);
    skip_bytes_ -= skipped;
    if (skip_bytes_ == 0 && !request_.is_chunked) Answer(connection);
  }

  void ExpectChunkSize() {
    expect_ = Expect::kChunkSize;
    room_bytes_ = kMaxSizeDigits + kLineEnd.size() + kMaxExtensionBytes -
                  extension_bytes_;
  }

  std::string_view BeginChunk(std::string_view line) {
    uint64_t size;
    const std::string_view error = ParseChunkSize(line, size);
    if (!error.empty()) return error;
    extension_bytes_ += line.size() - std::min(line.size(), line.find(';'));
    if (extension_bytes_ > kMaxExtensionBytes) return kBadRequest;
    if (size == 0) {
      expect_ = Expect::kTrailer;
      room_bytes_ = kMaxHeadBytes;
      return {};
    }
    if (size > kMaxBodyBytes - body_bytes_) return kTooLarge;
    body_bytes_ += size;
    skip_bytes_ = size;
    expect_ = Expect::kChunkEnd;
    room_bytes_ = kLineEnd.size();
    return {};
  }

  void Answer(fio::Connection& connection) {
    const bool closes =
        request_.is_last() || stopping_ || connection.loop().draining();
    connection.Write(kHelloHead);
    if (closes) {
      connection.Write("Connection: close\r\n");
    } else if (request_.is_old) {
      connection.Write("Connection: keep-alive\r\n");
    }
    connection.Write("\r\n");
    if (!request_.is_head) connection.Write(kHello);
    if (closes) connection.Close();
    ExpectRequest();
  }

  void ExpectRequest() {
    expect_ = Expect::kRequestLine;
    request_ = Request();
    is_in_body_ = false;
    has_deadline_ = false;
    room_bytes_ = kMaxHeadBytes;
    empty_lines_ = 0;
    body_bytes_ = 0;
    extension_bytes_ = 0;
  }

  // What follows cannot be understood, so the connection ends.
  static void Refuse(fio::Connection& connection, std::string_view status) {
    connection.Write(absl::StrCat("HTTP/1.1 ", status,
                                  "\r\nContent-Length: 0\r\n"
                                  "Connection: close\r\n\r\n"));
    connection.Close();
  }

  const absl::Duration head_time_;
  bool has_deadline_ = false;  // The head has, or the body.
  bool is_in_body_ = false;
  Expect expect_ = Expect::kRequestLine;
  bool stopping_ = false;
  int empty_lines_ = 0;
  std::string line_;                   // The beginning of an incomplete line.
  size_t room_bytes_ = kMaxHeadBytes;  // What lines may still take.
  Request request_;
  uint64_t skip_bytes_ =
      0;  // Of the body, or of a chunk, before the next line.
  uint64_t body_bytes_ = 0;  // Of all chunks so far.
  size_t extension_bytes_ = 0;
};

absl::Status Serve() {
  const absl::Duration timeout = absl::GetFlag(FLAGS_timeout).value;
  if (timeout < absl::ZeroDuration()) {
    return absl::InvalidArgumentError("--timeout is negative");
  }

  fio::Reactor reactor({.threads = absl::GetFlag(FLAGS_threads),
                        .workers = absl::GetFlag(FLAGS_workers)});
  const absl::StatusOr<fio::ListenerId> listener = reactor.Listen(
      absl::GetFlag(FLAGS_url),
      {.on_open = [timeout](fio::Connection& connection) {
        connection.SetTimeout(timeout);
        connection.Attach(std::make_unique<HttpHello>(
            timeout == absl::ZeroDuration() ? absl::InfiniteDuration()
                                            : timeout));
      }});
  if (!listener.ok()) return listener.status();

  // Once, before there are workers, and when signals are taken care of.
  reactor.lifecycle().Add(fio::LifecycleEvent::kPreStart, [&] {
    examples::PrintListening("http", *reactor.ListenAddress(*listener));
  });
  return reactor.Run();
}

}  // namespace

int main(int argc, char** argv) {
  const absl::Status flags =
      examples::ParseCommandLine("Says hello by HTTP.", argc, argv);
  return fio::ExitWith(flags.ok() ? Serve() : flags);
}
