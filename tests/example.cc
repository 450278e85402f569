#include "tests/example.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"
#include "fio/testing/loopback_pair.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/subprocess.h"

namespace fio::testing {
namespace {

using ::testing::HasSubstr;

std::vector<std::string> Arguments(std::vector<std::string> first,
                                   const std::vector<std::string>& flags) {
  first.insert(first.end(), flags.begin(), flags.end());
  return first;
}

}  // namespace

SocketAddress ListeningAddress(std::string_view line, pid_t pid) {
  std::string_view port = line;
  uint32_t number = 0;
  EXPECT_TRUE(
      absl::ConsumePrefix(&port, "listening on ") &&
      (absl::ConsumePrefix(&port, "tcp://127.0.0.1:") ||
       absl::ConsumePrefix(&port, "http://127.0.0.1:")) &&
      absl::ConsumeSuffix(&port, absl::StrCat(" (process ", pid, ")")) &&
      absl::SimpleAtoi(port, &number))
      << line;
  return *SocketAddress::FromIp("127.0.0.1", static_cast<uint16_t>(number));
}

Socket ConnectTo(const SocketAddress& address) {
  UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(connect(fd.get(), address.data(), address.size()), 0)
      << address.ToString();
  const int on = 1;
  EXPECT_EQ(setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), 0);
  return Socket(std::move(fd));
}

Server::Server(const std::string& program,
               const std::vector<std::string>& flags)
    : process_(Arguments({program, "--url=tcp://127.0.0.1:0"}, flags)),
      address_(ListeningAddress(process_.ReadLine(), process_.pid())) {}

void Send(Socket& socket, std::string_view bytes) {
  ASSERT_EQ(socket.TryWrite(bytes).bytes, bytes.size());
}

std::string ReadLine(Socket& socket) {
  std::string line;
  for (;;) {
    const std::string byte = ReadUntil(socket, 1);
    if (byte.empty() || byte == "\n") return line;
    line += byte;
  }
}

void ExpectRefusal(const std::string& program,
                   const std::vector<std::string>& flags,
                   std::string_view message) {
  Subprocess process(Arguments({program}, flags));
  EXPECT_EQ(process.ReadLine(), "");
  EXPECT_EQ(process.Wait(), 1);
  const std::string error = process.ReadStderr();
  EXPECT_THAT(error, HasSubstr(message));
  EXPECT_EQ(std::count(error.begin(), error.end(), '\n'), 1) << error;
  EXPECT_TRUE(error.ends_with('\n')) << error;
}

}  // namespace fio::testing
