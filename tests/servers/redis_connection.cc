#include "tests/servers/redis_connection.h"

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "absl/log/absl_check.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace fio::testing {

RedisConnection::RedisConnection(const std::string& path)
    : fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  ABSL_CHECK_LT(path.size(), sizeof(address.sun_path));
  path.copy(address.sun_path, path.size());
  ABSL_CHECK_EQ(connect(fd_.get(), reinterpret_cast<sockaddr*>(&address),
                        sizeof(address)),
                0)
      << path;
}

void RedisConnection::Add(std::initializer_list<std::string_view> command) {
  absl::StrAppend(&to_send_, "*", command.size(), "\r\n");
  for (const std::string_view word : command) {
    absl::StrAppend(&to_send_, "$", word.size(), "\r\n", word, "\r\n");
  }
}

void RedisConnection::Send() {
  std::string_view rest = to_send_;
  while (!rest.empty()) {
    const ssize_t sent =
        send(fd_.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
    ABSL_CHECK(sent > 0 || errno == EINTR);
    if (sent > 0) rest.remove_prefix(static_cast<size_t>(sent));
  }
  to_send_.clear();
}

RedisReply RedisConnection::Read() {
  const std::string line = ReadLine();
  RedisReply reply;
  ABSL_CHECK(!line.empty());
  reply.type = line[0];
  reply.text = line.substr(1);
  if (reply.type == '+' || reply.type == '-' || reply.type == '_') return reply;

  int64_t number = 0;
  ABSL_CHECK(absl::SimpleAtoi(reply.text, &number)) << line;
  reply.text.clear();
  if (reply.type == ':') {
    reply.integer = number;
  } else if (number < 0) {
    reply.type = '_';
  } else if (reply.type == '$') {
    reply.text = ReadBytes(static_cast<size_t>(number));
  } else {
    ABSL_CHECK(reply.type == '*' || reply.type == '>' || reply.type == '%');
    if (reply.type == '%') number *= 2;
    while (number-- > 0) reply.items.push_back(Read());
  }
  return reply;
}

std::string RedisConnection::ReadLine() {
  size_t end;
  while ((end = received_.find("\r\n", read_)) == received_.npos) Receive();
  std::string line = received_.substr(read_, end - read_);
  read_ = end + 2;
  return line;
}

std::string RedisConnection::ReadBytes(size_t size) {
  while (received_.size() < read_ + size + 2) Receive();
  std::string bytes = received_.substr(read_, size);
  read_ += size + 2;
  return bytes;
}

void RedisConnection::Receive() {
  received_.erase(0, read_);
  read_ = 0;
  char buffer[1 << 16];
  const ssize_t size = recv(fd_.get(), buffer, sizeof(buffer), 0);
  ABSL_CHECK(size > 0 || (size < 0 && errno == EINTR)) << "the server is gone";
  if (size > 0) received_.append(buffer, static_cast<size_t>(size));
}

}  // namespace fio::testing
