// HTTP/1.1 on bare bytes: every GET, HEAD or POST is answered with a greeting.
//
//   bazel run -c opt //examples:http_hello -- --url=tcp://127.0.0.1:3000
//   curl -v http://127.0.0.1:3000/
//
// Requests may come split anywhere, and many at once; they are answered in
// order. A request whose head lies whole in what was received is looked at
// where it lies: it costs no copy and no allocation. What a peer can make the
// server keep is one head of kMaxHeadBytes.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "fio/fio.h"

ABSL_FLAG(std::string, url, "tcp://0.0.0.0:3000",
          "where to listen, tcp or unix; port 0 picks a free one");
ABSL_FLAG(int, threads, 1, "event loops, each on a thread of its own");
ABSL_FLAG(int, workers, 1, "processes that serve");
ABSL_FLAG(absl::Duration, timeout, absl::Seconds(10),
          "how long a client may be silent; 0 for ever");

namespace {

constexpr size_t kMaxHeadBytes = size_t{8} << 10;
constexpr uint64_t kMaxBodyBytes = uint64_t{1} << 20;
// For a request that is under way when the server is told to stop.
constexpr absl::Duration kLastRequest = absl::Seconds(5);

constexpr std::string_view kHeadEnd = "\r\n\r\n";
constexpr std::string_view kHello = "Hello, World!\n";
constexpr std::string_view kHelloHead =
    "HTTP/1.1 200 OK\r\n"
    "Content-Type: text/plain\r\n"
    "Content-Length: 14\r\n";
static_assert(kHello.size() == 14);

// What is worth knowing of a request, or what is wrong with it.
struct Request {
  std::string_view error;  // As "400 Bad Request"; empty if all is well.
  bool is_head = false;
  bool is_old = false;  // HTTP/1.0.
  bool says_close = false;
  bool says_keep_alive = false;
  bool expects_continue = false;
  uint64_t body_bytes = 0;

  bool is_last() const { return says_close || (is_old && !says_keep_alive); }
};

// A name as RFC 9110 has it: a "token".
bool IsToken(std::string_view name) {
  static constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
           absl::StrContains(kMarks, c);
  });
}

bool IsDigit(char c) {
  return absl::ascii_isdigit(static_cast<unsigned char>(c));
}

bool HasControl(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    return c != '\t' && absl::ascii_iscntrl(static_cast<unsigned char>(c));
  });
}

// Takes the text up to `end`, and that, off the front of `rest`.
std::optional<std::string_view> TakeUntil(std::string_view end,
                                          std::string_view& rest) {
  const size_t at = rest.find(end);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view taken = rest.substr(0, at);
  rest.remove_prefix(at + end.size());
  return taken;
}

// "GET /index.html HTTP/1.1"
void ParseRequestLine(std::string_view line, Request& request) {
  const bool has_control = HasControl(line);
  const std::optional<std::string_view> method = TakeUntil(" ", line);
  const std::optional<std::string_view> target = TakeUntil(" ", line);
  if (has_control || !method || !IsToken(*method) || !target ||
      target->empty() || !absl::ConsumePrefix(&line, "HTTP/") ||
      line.size() != 3 || !IsDigit(line[0]) || line[1] != '.' ||
      !IsDigit(line[2])) {
    request.error = "400 Bad Request";
  } else if (line[0] != '1') {
    request.error = "505 HTTP Version Not Supported";
  } else if (*method != "GET" && *method != "HEAD" && *method != "POST") {
    request.error = "501 Not Implemented";
  }
  request.is_head = method == "HEAD";
  request.is_old = line == "1.0";
}

// "Content-Length: 5". Several must agree.
void ParseContentLength(std::string_view value,
                        std::optional<std::string_view>& before,
                        Request& request) {
  if (value.empty() || !std::all_of(value.begin(), value.end(), IsDigit) ||
      before.value_or(value) != value) {
    request.error = "400 Bad Request";
  } else if (!absl::SimpleAtoi(value, &request.body_bytes) ||
             request.body_bytes > kMaxBodyBytes) {
    request.error = "413 Content Too Large";
  }
  before = value;
}

// "Connection: close, x"
void ParseConnection(std::string_view value, Request& request) {
  for (std::string_view option : absl::StrSplit(value, ',')) {
    option = absl::StripAsciiWhitespace(option);
    request.says_close |= absl::EqualsIgnoreCase(option, "close");
    request.says_keep_alive |= absl::EqualsIgnoreCase(option, "keep-alive");
  }
}

// `head` ends with an empty line. The first thing that is wrong counts.
Request ParseHead(std::string_view head) {
  Request request;
  ParseRequestLine(*TakeUntil("\r\n", head), request);
  int hosts = 0;
  std::optional<std::string_view> content_length;
  while (request.error.empty()) {
    std::string_view value = *TakeUntil("\r\n", head);
    if (value.empty()) break;
    const std::optional<std::string_view> name = TakeUntil(":", value);
    value = absl::StripAsciiWhitespace(value);
    if (!name || !IsToken(*name) || HasControl(value)) {
      request.error = "400 Bad Request";
    } else if (absl::EqualsIgnoreCase(*name, "Host")) {
      ++hosts;
    } else if (absl::EqualsIgnoreCase(*name, "Content-Length")) {
      ParseContentLength(value, content_length, request);
    } else if (absl::EqualsIgnoreCase(*name, "Transfer-Encoding")) {
      request.error = "501 Not Implemented";
    } else if (absl::EqualsIgnoreCase(*name, "Connection")) {
      ParseConnection(value, request);
    } else if (absl::EqualsIgnoreCase(*name, "Expect")) {
      request.expects_continue = absl::EqualsIgnoreCase(value, "100-continue");
    }
  }
  if (request.error.empty() && (hosts > 1 || (hosts == 0 && !request.is_old))) {
    request.error = "400 Bad Request";
  }
  return request;
}

class HttpHello final : public fio::Protocol {
 public:
  void OnData(fio::Connection& connection) override {
    std::string_view input = connection.Received();
    while (!input.empty() && connection.is_open()) {
      if (in_body_) {
        SkipBody(connection, input);
      } else {
        TakeHead(connection, input);
      }
    }
  }

  absl::Duration OnShutdown(fio::Connection&) override {
    stopping_ = true;
    return in_body_ || !head_.empty() ? kLastRequest : absl::ZeroDuration();
  }

 private:
  // Takes a head off the front of `input`, or all that there is of one.
  void TakeHead(fio::Connection& connection, std::string_view& input) {
    if (head_.empty()) {
      // Lines that are empty may come before a request.
      while (input.starts_with('\r') || input.starts_with('\n')) {
        input.remove_prefix(1);
      }
      const size_t end = input.substr(0, kMaxHeadBytes).find(kHeadEnd);
      if (end != std::string_view::npos) {
        const std::string_view head = input.substr(0, end + kHeadEnd.size());
        input.remove_prefix(head.size());
        return Begin(connection, ParseHead(head));
      }
    }
    // The end may be in both what was kept and what has come.
    const size_t kept = head_.size();
    head_ += input.substr(0, kMaxHeadBytes - kept);
    const size_t end = head_.find(kHeadEnd, kept - std::min<size_t>(kept, 3));
    if (end != std::string::npos) {
      head_.resize(end + kHeadEnd.size());
      input.remove_prefix(head_.size() - kept);
      const Request request = ParseHead(head_);
      head_.clear();
      return Begin(connection, request);
    }
    if (head_.size() == kMaxHeadBytes) {
      return Refuse(connection, "431 Request Header Fields Too Large");
    }
    input = {};
  }

  void Begin(fio::Connection& connection, const Request& request) {
    if (!request.error.empty()) return Refuse(connection, request.error);
    request_ = request;
    in_body_ = request.body_bytes > 0;
    if (!in_body_) return Answer(connection);
    if (request.expects_continue && !request.is_old) {
      connection.Write("HTTP/1.1 100 Continue\r\n\r\n");
    }
  }

  void SkipBody(fio::Connection& connection, std::string_view& input) {
    const size_t skipped =
        std::min<uint64_t>(input.size(), request_.body_bytes);
    input.remove_prefix(skipped);
    request_.body_bytes -= skipped;
    if (request_.body_bytes > 0) return;
    in_body_ = false;
    Answer(connection);
  }

  void Answer(fio::Connection& connection) {
    const bool closes = request_.is_last() || stopping_;
    connection.Write(kHelloHead);
    if (closes) {
      connection.Write("Connection: close\r\n");
    } else if (request_.is_old) {
      connection.Write("Connection: keep-alive\r\n");
    }
    connection.Write("\r\n");
    if (!request_.is_head) connection.Write(kHello);
    if (closes) connection.Close();
  }

  // What follows cannot be understood, so the connection ends.
  static void Refuse(fio::Connection& connection, std::string_view status) {
    connection.Write(absl::StrCat("HTTP/1.1 ", status,
                                  "\r\nContent-Length: 0\r\n"
                                  "Connection: close\r\n\r\n"));
    connection.Close();
  }

  std::string head_;  // The beginning of a head that has not come whole.
  bool in_body_ = false;
  Request request_;  // Whose body is under way.
  bool stopping_ = false;
};

absl::Status Serve(const std::vector<char*>& arguments) {
  if (arguments.size() > 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("unexpected argument '", arguments[1], "'"));
  }
  const absl::Duration timeout = absl::GetFlag(FLAGS_timeout);
  if (timeout < absl::ZeroDuration()) {
    return absl::InvalidArgumentError("--timeout is negative");
  }

  fio::Reactor reactor({.threads = absl::GetFlag(FLAGS_threads),
                        .workers = absl::GetFlag(FLAGS_workers)});
  const absl::StatusOr<fio::ListenerId> listener =
      reactor.Listen(absl::GetFlag(FLAGS_url),
                     {.on_open = [timeout](fio::Connection& connection) {
                       connection.SetTimeout(timeout);
                       connection.Attach(std::make_unique<HttpHello>());
                     }});
  if (!listener.ok()) return listener.status();

  // Once, before there are workers, and when signals are taken care of.
  reactor.lifecycle().Add(fio::LifecycleEvent::kPreStart, [&] {
    const fio::SocketAddress address = *reactor.ListenAddress(*listener);
    std::printf("listening on %s%s\n", address.ip().empty() ? "" : "http://",
                address.ToString().c_str());
    std::fflush(stdout);
  });
  return reactor.Run();
}

}  // namespace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Says hello by HTTP; see --helpfull.");
  return fio::ExitWith(Serve(absl::ParseCommandLine(argc, argv)));
}
