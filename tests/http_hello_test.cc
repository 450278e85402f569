// The http_hello example, run and talked to as a user would: by hand, and with
// curl.

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "fio/sock/socket.h"
#include "fio/testing/loopback_pair.h"
#include "gtest/gtest.h"
#include "tests/example.h"
#include "tests/subprocess.h"

namespace fio {
namespace {

using testing::ExpectRefusal;
using testing::ExpectServesWithoutStandardStreams;
using testing::ReadToEnd;
using testing::ReadUntil;
using testing::Send;
using testing::Server;
using testing::Subprocess;

constexpr char kProgram[] = "examples/http_hello";

constexpr char kGet[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

std::string Answer(std::string_view headers = "",
                   std::string_view body = "Hello, World!\n") {
  return absl::StrCat(
      "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n",
      headers, "\r\n", body);
}

const std::string kHello = Answer();
const std::string kLastHello = Answer("Connection: close\r\n");

std::string Refusal(std::string_view status) {
  return absl::StrCat("HTTP/1.1 ", status,
                      "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}

// All that a client gets which sends `request` and reads until the end.
std::string AnswerTo(const Server& server, std::string_view request) {
  Socket client = server.Connect();
  Send(client, request);
  return ReadToEnd(client);
}

// A client whose answers show that the server has had a turn: its one loop
// reads who has sent something before in that turn or earlier.
class Onlooker {
 public:
  explicit Onlooker(const Server& server) : socket_(server.Connect()) {}

  void AwaitTurn() {
    Send(socket_, kGet);
    ASSERT_EQ(ReadUntil(socket_, kHello.size()), kHello);
  }

 private:
  Socket socket_;
};

TEST(HttpHelloExample, AnswersAndKeepsTheConnection) {
  Server server(kProgram);
  Socket client = server.Connect();
  for (int i = 0; i < 3; ++i) {
    Send(client, kGet);
    EXPECT_EQ(ReadUntil(client, kHello.size()), kHello);
  }
}

TEST(HttpHelloExample, RequestsMayBeSplitAtEveryByte) {
  Server server(kProgram);
  Onlooker onlooker(server);
  const std::string requests = absl::StrCat(
      "\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\na\r\n\r\n",
      "HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  const std::string answers =
      absl::StrCat(kHello, kHello, Answer("Connection: close\r\n", ""));
  for (size_t at = 0; at <= requests.size(); ++at) {
    Socket client = server.Connect();
    Send(client, requests.substr(0, at));
    onlooker.AwaitTurn();
    Send(client, requests.substr(at));
    ASSERT_EQ(ReadToEnd(client), answers) << "split at " << at;
  }
}

TEST(HttpHelloExample, RequestsMayComeByteByByte) {
  Server server(kProgram);
  Onlooker onlooker(server);
  Socket client = server.Connect();
  for (int i = 0; i < 2; ++i) {
    for (const char byte : std::string_view(kGet)) {
      Send(client, {&byte, 1});
      onlooker.AwaitTurn();
    }
    ASSERT_EQ(ReadUntil(client, kHello.size()), kHello);
  }
}

TEST(HttpHelloExample, AHundredPipelinedRequestsAreAnsweredInOrder) {
  Server server(kProgram);
  std::string requests;
  std::string answers;
  for (int i = 0; i < 100; ++i) {
    const bool head = i % 3 == 0;
    absl::StrAppend(&requests, head ? "HEAD" : "GET", " /", i,
                    " HTTP/1.1\r\nHost: x\r\n\r\n");
    answers += head ? Answer("", "") : kHello;
  }
  Socket client = server.Connect();
  Send(client, requests);
  EXPECT_EQ(ReadUntil(client, answers.size()), answers);
}

// More than is received at once, so that heads are cut wherever that ends.
TEST(HttpHelloExample, AMegabyteOfPipelinedRequests) {
  Server server(kProgram);
  Socket client = server.Connect();
  for (int round = 0; round < 20; ++round) {
    std::string requests;
    std::string answers;
    for (int i = 0; i < 1000; ++i) {
      absl::StrAppend(&requests, "GET /", std::string(i % 29, 'x'),
                      " HTTP/1.1\r\nHost: x\r\n\r\n");
      answers += kHello;
    }
    Send(client, requests);
    ASSERT_TRUE(ReadUntil(client, answers.size()) == answers);
  }
}

TEST(HttpHelloExample, WhoSaysCloseIsClosed) {
  Server server(kProgram);
  const auto with = [](std::string_view version, std::string_view headers) {
    return absl::StrCat("GET / HTTP/", version, "\r\nHost: x\r\n", headers,
                        "\r\n", kGet);
  };
  for (const char* close :
       {"Connection: close\r\n", "connection:CLOSE\r\n",
        "Connection: x, close ,y\r\n",
        "Connection: close\r\nConnection: keep-alive\r\n"}) {
    EXPECT_EQ(AnswerTo(server, with("1.1", close)), kLastHello) << close;
  }
  EXPECT_EQ(AnswerTo(server, with("1.0", "")), kLastHello);
  EXPECT_EQ(AnswerTo(server, "GET / HTTP/1.0\r\n\r\n"), kLastHello);

  Socket client = server.Connect();
  Send(client, with("1.0", "Connection: keep-alive\r\n"));
  const std::string kept =
      absl::StrCat(Answer("Connection: keep-alive\r\n"), kHello);
  EXPECT_EQ(ReadUntil(client, kept.size()), kept);
}

TEST(HttpHelloExample, WhoEndsItsStreamIsAnsweredFirst) {
  Server server(kProgram);
  Socket client = server.Connect();
  Send(client, absl::StrCat(kGet, kGet, "GET / HT"));
  ASSERT_EQ(shutdown(client.fd(), SHUT_WR), 0);
  EXPECT_EQ(ReadToEnd(client), absl::StrCat(kHello, kHello));
}

TEST(HttpHelloExample, BodiesAreSkipped) {
  Server server(kProgram);
  Socket client = server.Connect();
  for (const size_t size :
       {size_t{0}, size_t{1}, size_t{100'000}, size_t{1} << 20}) {
    Send(client, absl::StrCat("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ",
                              size, "\r\n\r\n", std::string(size, '\n'), kGet));
    const std::string two = absl::StrCat(kHello, kHello);
    EXPECT_EQ(ReadUntil(client, two.size()), two) << size;
  }
  Send(client,
       "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
       "Content-Length: 5\r\n\r\n");
  const std::string go_on = "HTTP/1.1 100 Continue\r\n\r\n";
  EXPECT_EQ(ReadUntil(client, go_on.size()), go_on);
  Send(client, "12345");
  EXPECT_EQ(ReadUntil(client, kHello.size()), kHello);
}

TEST(HttpHelloExample, WhatIsWrongIsToldAndClosed) {
  Server server(kProgram);
  const auto expect = [&server](std::string_view status,
                                std::string_view request) {
    // What follows is not looked at.
    EXPECT_EQ(AnswerTo(server, absl::StrCat(request, "\r\n\r\n", kGet)),
              Refusal(status))
        << request;
  };
  const auto with = [](std::string_view header) {
    return absl::StrCat("GET / HTTP/1.1\r\nHost: x\r\n", header);
  };
  const std::string_view bad = "400 Bad Request";
  expect(bad, "nonsense");
  expect(bad, "GET  / HTTP/1.1\r\nHost: x");
  expect(bad, "GET / HTTP/1.1 \r\nHost: x");
  expect(bad, "GET /\r\nHost: x");
  expect(bad, "GET / http/1.1\r\nHost: x");
  expect(bad, "G@T / HTTP/1.1\r\nHost: x");
  expect(bad, "GET /\n HTTP/1.1\r\nHost: x");
  expect(bad, "GET / HTTP/1.1");  // No host,
  expect(bad, with("Host: y"));   // or two.
  expect(bad, with("X"));
  expect(bad, with(": x"));
  expect(bad, with("X : y"));
  expect(bad, with(" folded: y"));
  expect(bad, with("X: a\nY: b"));
  expect(bad, with(std::string_view("X: \0", 4)));
  expect(bad, with("Content-Length: "));
  expect(bad, with("Content-Length: -1"));
  expect(bad, with("Content-Length: +1"));
  expect(bad, with("Content-Length: 1 1"));
  expect(bad, with("Content-Length: 1\r\nContent-Length: 2"));
  expect("413 Content Too Large", with("Content-Length: 1048577"));
  expect("413 Content Too Large",
         with("Content-Length: 99999999999999999999999999"));
  expect("501 Not Implemented", "BREW / HTTP/1.1\r\nHost: x");
  expect("505 HTTP Version Not Supported", "GET / HTTP/2.0\r\nHost: x");
  // What came before is answered.
  EXPECT_EQ(AnswerTo(server, absl::StrCat(kGet, "nonsense\r\n\r\n")),
            absl::StrCat(kHello, Refusal(bad)));
}

TEST(HttpHelloExample, HeadsAreBounded) {
  Server server(kProgram);
  const auto head = [](size_t size) {
    std::string head = "GET / HTTP/1.1\r\nHost: x\r\nX: ";
    return head + std::string(size - head.size() - 4, 'x') + "\r\n\r\n";
  };
  constexpr size_t kMax = 8192;
  const std::string refusal = Refusal("431 Request Header Fields Too Large");
  Onlooker onlooker(server);
  for (const bool split : {false, true}) {
    for (const size_t size : {kMax, kMax + 1, 10 * kMax}) {
      Socket client = server.Connect();
      const std::string request = head(size);
      if (split) {
        Send(client, request.substr(0, 100));
        onlooker.AwaitTurn();
        Send(client, request.substr(100));
      } else {
        Send(client, request);
      }
      if (size <= kMax) {
        EXPECT_EQ(ReadUntil(client, kHello.size()), kHello) << size;
      } else {
        EXPECT_EQ(ReadToEnd(client), refusal) << size;
      }
    }
  }
  // Nor is the end of it waited for.
  EXPECT_EQ(AnswerTo(server, std::string(kMax, 'x')), refusal);
}

TEST(HttpHelloExample, SilentClientsAreClosed) {
  Server server(kProgram, {"--timeout=10ms"});
  EXPECT_EQ(AnswerTo(server, ""), "");
  EXPECT_EQ(AnswerTo(server, kGet), kHello);
  EXPECT_EQ(AnswerTo(server, "GET / HT"), Refusal("408 Request Timeout"));
}

// Each byte is activity, so that only a deadline ends this.
TEST(HttpHelloExample, ASlowHeadIsCutOffThoughBytesCome) {
  Server server(kProgram, {"--timeout=20ms"});
  Socket client = server.Connect();
  Send(client, "GET / HTTP/1.1\r\nHost: x\r\nX: ");
  std::string answer;
  while (answer.empty()) {
    static_cast<void>(send(client.fd(), "x", 1, MSG_NOSIGNAL));
    Socket onlooker = server.Connect();  // Of the same loop: it has had a turn.
    Send(onlooker, kGet);
    ASSERT_EQ(ReadUntil(onlooker, kHello.size()), kHello);
    char byte;
    if (recv(client.fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0) {
      answer = ReadToEnd(client);
    }
  }
  EXPECT_EQ(answer, Refusal("408 Request Timeout"));
}

TEST(HttpHelloExample, ARequestThatIsUnderWayIsAnsweredBeforeTheEnd) {
  Server server(kProgram);
  Socket idle = server.Connect();
  Send(idle, kGet);
  EXPECT_EQ(ReadUntil(idle, kHello.size()), kHello);
  Socket client = server.Connect();
  Send(client,
       "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
       "Content-Length: 5\r\n\r\n");
  const std::string go_on = "HTTP/1.1 100 Continue\r\n\r\n";
  EXPECT_EQ(ReadUntil(client, go_on.size()), go_on);
  server.process().Signal(SIGTERM);
  EXPECT_EQ(ReadToEnd(idle), "");
  Send(client, absl::StrCat("12345", kGet));
  EXPECT_EQ(ReadToEnd(client), kLastHello);
  EXPECT_EQ(server.process().Wait(), 0);
  EXPECT_EQ(server.process().ReadStderr(), "");
}

TEST(HttpHelloExample, WhoNeverReadsIsNotReadFromForEver) {
  Server server(kProgram);
  Onlooker onlooker(server);
  Socket client = server.Connect();
  std::string requests;
  for (int i = 0; i < 1000; ++i) requests += kGet;
  // Until neither side can take more: what is sent in part is cut off there,
  // and goes on with the rest.
  size_t sent = 0;
  constexpr size_t kBound = size_t{256} << 20;
  for (int full = 0; full < 100 && sent < kBound;) {
    const size_t from = sent % requests.size();
    const ssize_t n = send(client.fd(), requests.data() + from,
                           requests.size() - from, MSG_DONTWAIT);
    if (n < 0) {
      ASSERT_EQ(errno, EAGAIN);
      ++full;
      onlooker.AwaitTurn();
    } else {
      full = 0;
      sent += static_cast<size_t>(n);
    }
  }
  EXPECT_LT(sent, kBound);
  server.process().Signal(SIGTERM);
  server.process().Signal(SIGTERM);  // No grace.
  EXPECT_EQ(server.process().Wait(), 0);
}

TEST(HttpHelloExample, ServesWithThreadsAndWorkers) {
  Server server(kProgram, {"--threads=2", "--workers=2"});
  for (int i = 0; i < 100; ++i) {
    Socket client = server.Connect();
    Send(client, kGet);
    EXPECT_EQ(ReadUntil(client, kHello.size()), kHello);
  }
  server.process().Signal(SIGTERM);
  EXPECT_EQ(server.process().ReadStdout(), "");
  EXPECT_EQ(server.process().Wait(), 0);
  EXPECT_EQ(server.process().ReadStderr(), "");
}

// What curl prints.
std::string Curl(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(),
                   {"/usr/bin/curl", "--silent", "--show-error", "--max-time",
                    "30", "--noproxy", "*"});
  Subprocess curl(arguments);
  const std::string out = curl.ReadStdout();
  EXPECT_EQ(curl.Wait(), 0) << curl.ReadStderr();
  return out;
}

TEST(HttpHelloExample, CurlIsContent) {
  Server server(kProgram);
  const std::string url =
      absl::StrCat("http://", server.address().ToString(), "/");
  const std::string hello = "Hello, World!\n";
  // Of three transfers the first one connects.
  const std::string code = "%{http_code} %{num_connects}\n";
  EXPECT_EQ(Curl({"--write-out", code, url, url, url}),
            absl::StrCat(hello, "200 1\n", hello, "200 0\n", hello, "200 0\n"));
  EXPECT_EQ(Curl({"--http1.0", "--write-out", code, url, url}),
            absl::StrCat(hello, "200 1\n", hello, "200 1\n"));
  EXPECT_EQ(Curl({"--head", url}), Answer("", ""));
  EXPECT_EQ(Curl({"--data", "name=value", "--write-out", code, url, url}),
            absl::StrCat(hello, "200 1\n", hello, "200 0\n"));
  EXPECT_EQ(Curl({"--data", std::string(100'000, 'x'), "--header",
                  "Expect: 100-continue", url}),
            hello);
  EXPECT_EQ(Curl({"--data", "x", "--header", "Transfer-Encoding: chunked",
                  "--write-out", code, url, url}),
            absl::StrCat(hello, "200 1\n", hello, "200 0\n"));
  EXPECT_EQ(Curl({"--request", "DELETE", "--write-out", code, url}), "501 1\n");
}

TEST(HttpHelloExample, ServesWithoutStandardStreams) {
  ExpectServesWithoutStandardStreams(kProgram, kGet, kHello, "");
}

TEST(HttpHelloExample, MistakesAreOneLineAndExitCodeOne) {
  ExpectRefusal(kProgram, {"--url=nonsense"}, "listen: url 'nonsense'");
  ExpectRefusal(kProgram, {"--timeout=5"}, "a time has a unit, as in 5s");
  ExpectRefusal(kProgram, {"--timeout=-1s"}, "--timeout is negative");
  ExpectRefusal(kProgram, {"--threads=many"}, "threads");
  ExpectRefusal(kProgram, {"argument"}, "unexpected argument 'argument'");
}

}  // namespace
}  // namespace fio
