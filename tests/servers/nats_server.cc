#include "tests/servers/nats_server.h"

#include <netinet/in.h>
#include <sys/socket.h>

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

uint16_t ReserveNatsPort(UniqueFd& reserved) {
  reserved = UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  ABSL_CHECK_EQ(
      setsockopt(reserved.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  ABSL_CHECK_EQ(
      bind(reserved.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  ABSL_CHECK_EQ(
      getsockname(reserved.get(), reinterpret_cast<sockaddr*>(&address), &size),
      0);
  return ntohs(address.sin_port);
}

NatsServer::NatsServer(std::vector<std::string> options)
    : options_(std::move(options)), port_(ReserveNatsPort(reserved_)) {
  Start();
}

NatsServer::~NatsServer() = default;

std::string NatsServer::url() const {
  return absl::StrCat("nats://127.0.0.1:", port_);
}

void NatsServer::Kill() {
  ABSL_CHECK(process_.has_value());
  process_.reset();
}

void NatsServer::Start() {
  ABSL_CHECK(!process_.has_value());
  // env finds it: Debian has it in /usr/sbin, which is not in every $PATH.
  const char* const path = std::getenv("PATH");
  std::vector<std::string> arguments = {
      "/usr/bin/env",
      absl::StrCat("PATH=", path == nullptr ? "/usr/bin:/bin" : path,
                   ":/usr/sbin"),
      "nats-server",
      "--addr",
      "127.0.0.1",
      "--port",
      absl::StrCat(port_)};
  arguments.insert(arguments.end(), options_.begin(), options_.end());
  process_.emplace(arguments);
  AwaitLog("Server is ready");
}

void NatsServer::AwaitLog(const std::string& text) {
  std::string log;
  while (true) {
    const std::string line = process_->ReadErrorLine();
    absl::StrAppend(&log, line, "\n");
    if (absl::StrContains(line, text)) return;
    // Its end: no line of its log is empty.
    ABSL_CHECK(!line.empty())
        << "nats-server, of tools/setup, does not say '" << text << "':\n"
        << log;
  }
}

}  // namespace fio::testing
