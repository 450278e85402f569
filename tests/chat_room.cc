#include "tests/chat_room.h"

#include <poll.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/types/span.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket_address.h"
#include "gtest/gtest.h"
#include "tests/example.h"

namespace fio::testing {
namespace {

void Wait(int fd, int16_t events) {
  pollfd asked = {.fd = fd, .events = events, .revents = 0};
  poll(&asked, 1, -1);
}

}  // namespace

ChatClient::ChatClient(const SocketAddress& address)
    : socket_(ConnectTo(address)) {
  // "* You are guest-1 in lobby. ..."
  const std::vector<std::string> words = absl::StrSplit(NextLine(), ' ');
  EXPECT_GT(words.size(), 3u);
  if (words.size() > 3) name_ = words[3];
}

void ChatClient::Say(std::string_view line) {
  (void)socket_.Write(absl::StrCat(line, "\n"));
  while (socket_.Flush().would_block()) Wait(socket_.fd(), POLLOUT);
}

void ChatClient::Read() {
  char bytes[65536];
  Wait(socket_.fd(), POLLIN);
  const IoResult read = socket_.Read(absl::MakeSpan(bytes));
  if (read.bytes == 0) {
    ended_ = true;
    return;
  }
  rest_.append(bytes, read.bytes);
  std::vector<std::string> lines = absl::StrSplit(rest_, '\n');
  rest_ = std::move(lines.back());
  lines.pop_back();
  for (std::string& line : lines) lines_.push_back(std::move(line));
}

std::string ChatClient::NextLine() {
  while (lines_.empty() && !ended_) Read();
  if (lines_.empty()) return "";
  std::string line = std::move(lines_.front());
  lines_.pop_front();
  return line;
}

std::string ChatClient::WaitFor(std::string_view beginning) {
  for (;;) {
    std::string line = NextLine();
    if (absl::StartsWith(line, beginning) || (line.empty() && ended_)) {
      return line;
    }
  }
}

void ReadUntil(std::vector<ChatClient>& clients,
               const std::function<bool()>& done) {
  while (!done()) {
    std::vector<pollfd> asked;
    std::vector<ChatClient*> whose;
    for (ChatClient& client : clients) {
      if (client.ended()) continue;
      asked.push_back({.fd = client.fd(), .events = POLLIN, .revents = 0});
      whose.push_back(&client);
    }
    ASSERT_FALSE(asked.empty()) << "all clients have ended";
    ASSERT_GT(poll(asked.data(), asked.size(), -1), 0);
    for (size_t i = 0; i < asked.size(); ++i) {
      if (asked[i].revents != 0) whose[i]->Read();
    }
  }
}

}  // namespace fio::testing
