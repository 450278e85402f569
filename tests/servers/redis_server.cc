#include "tests/servers/redis_server.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "fio/base/unique_fd.h"
#include "tests/subprocess.h"

namespace fio::testing {
namespace {

// A socket that is bound to a free port and does not listen. Another socket
// with SO_REUSEADDR, as the server's, can still be bound to it.
UniqueFd ReservePort() {
  UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  ABSL_CHECK_EQ(setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)),
                0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ABSL_CHECK_EQ(
      bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)),
      0);
  return fd;
}

uint16_t PortOf(const UniqueFd& fd) {
  sockaddr_in address = {};
  socklen_t size = sizeof(address);
  ABSL_CHECK_EQ(
      getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  return ntohs(address.sin_port);
}

// A new folder, in the test's own if a socket's path of at most 107 bytes has
// room in that.
std::string MakeFolder() {
  const char* const given = std::getenv("TEST_TMPDIR");
  const std::string_view parent = given == nullptr ? "" : given;
  const bool fits = !parent.empty() && parent.size() < 64;
  std::string folder = absl::StrCat(fits ? parent : "/tmp", "/redis_XXXXXX");
  ABSL_CHECK(mkdtemp(folder.data()) != nullptr) << folder;
  return folder;
}

}  // namespace

RedisServer::RedisServer(std::vector<std::string> options)
    : options_(std::move(options)),
      reserved_(ReservePort()),
      port_(PortOf(reserved_)),
      folder_(MakeFolder()),
      path_(absl::StrCat(folder_, "/socket")) {
  Start();
}

RedisServer::~RedisServer() {
  process_.reset();
  unlink(path_.c_str());
  ABSL_CHECK_EQ(rmdir(folder_.c_str()), 0) << folder_;
}

void RedisServer::Kill() {
  ABSL_CHECK(process_.has_value());
  process_.reset();
}

void RedisServer::Signal(int signal) {
  ABSL_CHECK(process_.has_value());
  process_->Signal(signal);
}

void RedisServer::Start() {
  ABSL_CHECK(!process_.has_value());
  // env finds it in $PATH, and becomes it.
  std::vector<std::string> arguments = {"/usr/bin/env", "redis-server"};
  const std::string port = absl::StrCat(port_);
  for (const std::string_view argument :
       {"--bind", "127.0.0.1", "--port", port.c_str(), "--unixsocket",
        path_.c_str(), "--dir", folder_.c_str(), "--save", "", "--appendonly",
        "no", "--daemonize", "no", "--logfile", ""}) {
    arguments.emplace_back(argument);
  }
  for (const std::string& option : options_) {
    arguments.push_back(option == "$PORT" ? port : option);
  }
  process_.emplace(arguments);
  std::string log;
  bool ready = false;
  while (!ready) {
    const std::string line = process_->ReadLine();
    if (line.empty()) break;  // Its end: no line of its log is empty.
    // The Unix socket's line is the last.
    ready = absl::StrContains(line, "ready to accept connections at");
    absl::StrAppend(&log, line, "\n");
  }
  if (!ready) process_->Wait();
  ABSL_CHECK(ready) << "redis-server, of tools/setup, does not start:\n"
                    << log << process_->ReadStderr();
}

}  // namespace fio::testing
