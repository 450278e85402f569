// Requests that two readers could understand in two ways, sent to the
// http_hello example: a proxy in front of it that sees one request where it
// sees two lets the second one past its rules ("request smuggling", RFC 9112,
// section 11.2). Each is answered by an error, and the connection is closed.

#include <sys/socket.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "fio/sock/socket.h"
#include "fio/testing/loopback_pair.h"
#include "gtest/gtest.h"
#include "tests/example.h"

namespace fio {
namespace {

using testing::ReadUntil;
using testing::Send;
using testing::Server;

constexpr std::string_view kGet = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";

struct Case {
  std::string bytes;
  // The statuses of the answers. "*" follows one that says "Connection: close".
  std::string answers;
};

// A request with that header, and behind it another one, or what may be seen as
// one.
std::string With(std::string_view header) {
  return absl::StrCat("POST / HTTP/1.1\r\nHost: a\r\n", header, "\r\n\r\n",
                      kGet);
}

// A request with that chunked body, and behind it another one.
std::string Chunked(std::string_view body) {
  return absl::StrCat(
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", body,
      kGet);
}

std::vector<Case> Cases() {
  const auto nul = [](std::string_view before, std::string_view after) {
    return With(absl::StrCat(before, std::string_view("\0", 1), after));
  };
  const std::string te = "Transfer-Encoding: ";
  const std::string length = absl::StrCat("Content-Length: ", kGet.size());
  return {
      // What is right.
      {absl::StrCat(kGet, kGet), "200 200"},
      {With("Content-Length: 0"), "200 200"},
      {With(length), "200"},
      {With("Content-Length:\t 0 \t"), "200 200"},
      {With("X: \x80\xff"), "200 200"},
      {With("X:"), "200 200"},
      {With("Connection: close"), "200*"},
      {Chunked("0\r\n\r\n"), "200 200"},
      {Chunked("5\r\nhello\r\n1\r\n\n\r\n0\r\n\r\n"), "200 200"},
      {Chunked("00A\r\n0123456789\r\n000\r\n\r\n"), "200 200"},
      {absl::StrCat(kGet.substr(0, kGet.size() - 2),
                    "transfer-encoding: Chunked\r\n\r\n0\r\n\r\n", kGet),
       "200 200"},
      // Transfer-Encoding and Content-Length.
      {With(absl::StrCat(length, "\r\n", te, "chunked")), "400*"},
      {With(absl::StrCat(te, "chunked\r\n", length)), "400*"},
      {With(absl::StrCat(te, "chunked\r\nContent-Length: 0")), "400*"},
      // Other transfer codings.
      {With(te + "xchunked"), "400*"},
      {With(te + "chunked, identity"), "400*"},
      {With(te + "identity"), "400*"},
      {With(te + "\"chunked\""), "400*"},
      {With(te + "chunked;q=1"), "400*"},
      {With(te + "\vchunked"), "400*"},
      {With(te + "chunked\f"), "400*"},
      {With(te), "400*"},
      {With(te + "gzip, chunked"), "501*"},
      {With(te + "gzip,chunked"), "501*"},
      // Transfer-Encoding twice, or in HTTP/1.0.
      {With(absl::StrCat(te, "chunked\r\n", te, "chunked")), "400*"},
      {With(absl::StrCat(te, "chunked\r\n", te, "identity")), "400*"},
      {absl::StrCat("POST / HTTP/1.0\r\n", te, "chunked\r\n\r\n0\r\n\r\n",
                    kGet),
       "400*"},
      // Content-Length twice, and what is no number.
      {With("Content-Length: 0\r\nContent-Length: 0"), "400*"},
      {With(absl::StrCat("Content-Length: 0\r\n", length)), "400*"},
      {With("Content-Length: 4, 4"), "400*"},
      {With("Content-Length: +0"), "400*"},
      {With("Content-Length: -0"), "400*"},
      {With("Content-Length: 0x0"), "400*"},
      {With("Content-Length: 0 0"), "400*"},
      {With("Content-Length: 1e1"), "400*"},
      {With("Content-Length: "), "400*"},
      {With("Content-Length: 0\r"), "400*"},
      {With("Content-Length: \v0"), "400*"},
      {With("Content-Length: 0\f"), "400*"},
      {With("Content-Length:\n0"), "400*"},
      {With("Content-Length: 9223372036854775808"), "413*"},
      {With("Content-Length: 18446744073709551616"), "413*"},
      // White space where there is none.
      {With("Content-Length : 0"), "400*"},
      {With("Content-Length\t: 0"), "400*"},
      {With("X: a\r\n Content-Length: 5"), "400*"},
      {With("X: a\r\n\tContent-Length: 5"), "400*"},
      {With(absl::StrCat(te, "\r\n chunked")), "400*"},
      {absl::StrCat("GET / HTTP/1.1\r\n Host: a\r\n\r\n", kGet), "400*"},
      {absl::StrCat("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", kGet), "400*"},
      {absl::StrCat("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", kGet), "400*"},
      {absl::StrCat("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", kGet), "400*"},
      {absl::StrCat(" GET / HTTP/1.1\r\nHost: a\r\n\r\n", kGet), "400*"},
      // Lines that end with LF alone.
      {absl::StrCat("GET / HTTP/1.1\nHost: a\n\n", kGet), "400*"},
      {absl::StrCat("GET / HTTP/1.1\r\nHost: a\n\r\n", kGet), "400*"},
      {absl::StrCat("GET / HTTP/1.1\r\nHost: a\r\n\n", kGet), "400*"},
      {With(absl::StrCat("X:\n", length)), "400*"},
      {With("X: a\nContent-Length: 0"), "400*"},
      {absl::StrCat("\n", kGet), "400*"},
      // Control characters: bare CR, NUL and others.
      {With("X: a\rContent-Length: 0"), "400*"},
      {With("X:\r a"), "400*"},
      {With("\rX: a"), "400*"},
      {With("X: a\r\r"), "400*"},
      {nul("X: a", "b"), "400*"},
      {nul("X", ": b"), "400*"},
      {With("X: a\x01"), "400*"},
      {With("X: a\x7f"), "400*"},
      {absl::StrCat("GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", kGet), "400*"},
      {absl::StrCat("GET /\v HTTP/1.1\r\nHost: a\r\n\r\n", kGet), "400*"},
      // Names.
      {With(": a"), "400*"},
      {With("X"), "400*"},
      {With("(X): a"), "400*"},
      {With("X\x80: a"), "400*"},
      {With("X Y: a"), "400*"},
      {With("Host: a"), "400*"},  // The second one.
      // The sizes of chunks.
      {Chunked("0x0\r\n\r\n"), "400*"},
      {Chunked("-0\r\n\r\n"), "400*"},
      {Chunked("+0\r\n\r\n"), "400*"},
      {Chunked("\r\n\r\n"), "400*"},
      {Chunked(";a\r\n\r\n"), "400*"},
      {Chunked(" 0\r\n\r\n"), "400*"},
      {Chunked("0 \r\n\r\n"), "400*"},
      {Chunked("0\r\r\n\r\n"), "400*"},
      {Chunked("g\r\n\r\n"), "400*"},
      {Chunked("10000000000000000\r\n\r\n"), "400*"},
      {Chunked("ffffffffffffffff\r\n\r\n"), "413*"},
      {Chunked("100001\r\n\r\n"), "413*"},
      {Chunked("1\r\na\r\nfffffffffffffffe\r\n"), "413*"},
      // Chunks that are longer or shorter than said, or end with LF alone.
      {Chunked("2\r\nabc\r\n0\r\n\r\n"), "400*"},
      {Chunked("2\r\na\r\n0\r\n\r\n"), "400*"},
      {Chunked("1\r\na0\r\n\r\n"), "400*"},
      {Chunked("1\na\r\n0\r\n\r\n"), "400*"},
      {Chunked("1\r\na\n0\r\n\r\n"), "400*"},
      {Chunked("1\r\na\r\r\n0\r\n\r\n"), "400*"},
      {Chunked("0\n\n"), "400*"},
      {Chunked("0\r\n\n"), "400*"},
      // Chunk extensions mean nothing.
      {Chunked("1;a=\"b\"\r\nx\r\n0;c\r\n\r\n"), "200 200"},
      {Chunked("1;a\nb\r\nx\r\n0\r\n\r\n"), "400*"},
      {Chunked("1;a\rb\r\nx\r\n0\r\n\r\n"), "400*"},
      // Trailers mean nothing, and are read as headers are.
      {Chunked("0\r\nX: a\r\nContent-Length: 28\r\n\r\n"), "200 200"},
      {Chunked("0\r\nX: a\n\r\n"), "400*"},
      {Chunked("0\r\nX : a\r\n\r\n"), "400*"},
      {Chunked("0\r\nX: a\r\n b\r\n\r\n"), "400*"},
      {Chunked("0\r\nX\r\n\r\n"), "400*"},
      // Empty lines before a request: 4 bytes.
      {absl::StrCat("\r\n\r\n", kGet, "\r\n\r\n", kGet), "200 200"},
      {absl::StrCat("\r\n\r\n\r\n", kGet), "400*"},
      {absl::StrCat("\r", kGet), "400*"},
      // The answers before the error come first.
      {absl::StrCat(kGet, kGet, "nonsense\r\n\r\n", kGet), "200 200 400*"},
  };
}

// The status of the next answer, as in Case; empty at the end.
std::string ReadAnswer(Socket& socket) {
  std::string head;
  while (!absl::EndsWith(head, "\r\n\r\n")) {
    const std::string byte = ReadUntil(socket, 1);
    if (byte.empty()) return head;
    head += byte;
  }
  const std::string_view kLength = "Content-Length: ";
  const size_t at = head.find(kLength);
  size_t length = 0;
  EXPECT_TRUE(
      absl::StartsWith(head, "HTTP/1.1 ") && at != std::string::npos &&
      absl::SimpleAtoi(head.substr(at + kLength.size(),
                                   head.find('\r', at) - at - kLength.size()),
                       &length))
      << head;
  EXPECT_EQ(ReadUntil(socket, length).size(), length);
  return absl::StrCat(
      head.substr(9, 3),
      absl::StrContains(head, "Connection: close\r\n") ? "*" : "");
}

class Client {
 public:
  explicit Client(const Server& server)
      : socket_(server.Connect()), onlooker_(server.Connect()) {}

  // Returns when the server has read it: its one loop has answered somebody who
  // came later. It may have closed the connection before.
  void SendAlone(std::string_view bytes) {
    SendAtOnce(bytes);
    Send(onlooker_, kGet);
    EXPECT_EQ(ReadAnswer(onlooker_), "200");
  }
  void SendAtOnce(std::string_view bytes) const {
    static_cast<void>(
        send(socket_.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL));
  }

  // All answers; stops early at one that was not expected. If the last one does
  // not say that the server closes, this end closes.
  std::string ReadAnswers(std::string_view expected) {
    const bool server_closes = absl::EndsWith(expected, "*");
    if (!server_closes) shutdown(socket_.fd(), SHUT_WR);
    std::string answers;
    for (;;) {
      const std::string answer = ReadAnswer(socket_);
      if (answer.empty()) return answers;
      absl::StrAppend(&answers, answers.empty() ? "" : " ", answer);
      if (!absl::StartsWith(expected, answers)) return answers;
    }
  }

 private:
  Socket socket_, onlooker_;
};

TEST(HttpHello, SmugglingPairs) {
  Server server("examples/http_hello", {"--timeout=0"});
  for (const Case& one : Cases()) {
    SCOPED_TRACE(::testing::PrintToString(one.bytes));
    Client at_once(server);
    at_once.SendAtOnce(one.bytes);
    ASSERT_EQ(at_once.ReadAnswers(one.answers), one.answers);
    for (size_t at = 1; at < one.bytes.size(); ++at) {
      Client split(server);
      split.SendAlone(one.bytes.substr(0, at));
      split.SendAtOnce(one.bytes.substr(at));
      ASSERT_EQ(split.ReadAnswers(one.answers), one.answers) << at;
    }
    Client byte_by_byte(server);
    for (const char byte : one.bytes) byte_by_byte.SendAlone({&byte, 1});
    ASSERT_EQ(byte_by_byte.ReadAnswers(one.answers), one.answers);
  }
}

// Of all chunks of a body together.
TEST(HttpHello, ChunkExtensionsAreBounded) {
  Server server("examples/http_hello", {"--timeout=0"});
  const auto with = [](size_t extension_bytes) {
    const std::string half(extension_bytes / 2, ';');
    return Chunked(absl::StrCat("1", half, "\r\nx\r\n0", half, "\r\n\r\n"));
  };
  const size_t kMax = 4096;
  for (const size_t excess : {0, 2, 4096}) {
    const std::string bytes = with(kMax + excess);
    const std::string answers = excess == 0 ? "200 200" : "400*";
    for (const size_t at :
         {size_t{100}, bytes.size() / 2, bytes.size() - 100}) {
      Client client(server);
      client.SendAlone(bytes.substr(0, at));
      client.SendAtOnce(bytes.substr(at));
      EXPECT_EQ(client.ReadAnswers(answers), answers) << excess << " " << at;
    }
  }
}

}  // namespace
}  // namespace fio
