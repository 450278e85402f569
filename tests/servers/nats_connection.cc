#include "tests/servers/nats_connection.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "fio/base/unique_fd.h"

namespace fio::testing {
namespace {

sockaddr_in Loopback(uint16_t port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

}  // namespace

NatsConnection::NatsConnection(uint16_t port, std::string_view members)
    : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  const sockaddr_in address = Loopback(port);
  ABSL_CHECK_EQ(connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address),
                        sizeof(address)),
                0);
  ReadUntil("INFO ");
  Send(absl::StrCat("CONNECT {\"verbose\":false,\"headers\":true,",
                    "\"protocol\":1", members, "}\r\n"));
  Sync();
}

void NatsConnection::Send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent =
        send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return;  // The peer may be gone: what is read tells.
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
}

std::string NatsConnection::ReadLine() {
  size_t end;
  while ((end = received_.find("\r\n")) == received_.npos) {
    if (!Receive()) return "END";
  }
  std::string line = received_.substr(0, end);
  received_.erase(0, end + 2);
  return line;
}

std::string NatsConnection::ReadUntil(std::string_view start) {
  while (true) {
    std::string line = ReadLine();
    if (line.starts_with(start)) return line;
    ABSL_CHECK_NE(line, "END") << "before a line with " << start;
  }
}

std::string NatsConnection::ReadBytes(size_t size) {
  while (received_.size() < size) ABSL_CHECK(Receive()) << "the peer is gone";
  std::string bytes = received_.substr(0, size);
  received_.erase(0, size);
  return bytes;
}

void NatsConnection::Publish(std::string_view subject, std::string_view body) {
  Send(absl::StrCat("PUB ", subject, " ", body.size(), "\r\n", body, "\r\n"));
}

void NatsConnection::Sync() {
  Send("PING\r\n");
  ReadUntil("PONG");
}

std::string NatsConnection::ReadMessage() {
  const std::vector<std::string> words = absl::StrSplit(ReadUntil("MSG "), ' ');
  size_t size = 0;
  ABSL_CHECK(absl::SimpleAtoi(words.back(), &size));
  std::string body = ReadBytes(size + 2);
  body.resize(size);
  return absl::StrCat(words[1], " ", body);
}

bool NatsConnection::Receive() {
  char buffer[1 << 16];
  while (true) {
    const ssize_t size = recv(fd_.get(), buffer, sizeof(buffer), 0);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return false;
    received_.append(buffer, static_cast<size_t>(size));
    return true;
  }
}

NatsListener::NatsListener()
    : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address = Loopback(0);
  socklen_t size = sizeof(address);
  ABSL_CHECK_EQ(bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), size),
                0);
  ABSL_CHECK_EQ(listen(fd_.get(), 16), 0);
  ABSL_CHECK_EQ(
      getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  port_ = ntohs(address.sin_port);
}

std::string NatsListener::url() const {
  return absl::StrCat("nats://127.0.0.1:", port_);
}

NatsConnection NatsListener::Accept() {
  while (true) {
    UniqueFd fd(accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (fd.get() >= 0) return NatsConnection(std::move(fd));
    ABSL_CHECK_EQ(errno, EINTR);
  }
}

}  // namespace fio::testing
