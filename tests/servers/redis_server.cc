#include "tests/servers/redis_server.h"

#include <unistd.h>

#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/subprocess.h"

namespace fio::testing {
namespace {

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

RedisServer::RedisServer(const std::vector<std::string>& options)
    : folder_(MakeFolder()), path_(absl::StrCat(folder_, "/socket")) {
  Start(options);
}

RedisServer::~RedisServer() {
  process_.reset();
  unlink(path_.c_str());
  ABSL_CHECK_EQ(rmdir(folder_.c_str()), 0) << folder_;
}

void RedisServer::Start(const std::vector<std::string>& options) {
  // env finds it in $PATH, and becomes it.
  std::vector<std::string> arguments = {
      "/usr/bin/env", "redis-server", "--port",    "0", "--unixsocket", path_,
      "--dir",        folder_,        "--save",    "",  "--appendonly", "no",
      "--daemonize",  "no",           "--logfile", ""};
  arguments.insert(arguments.end(), options.begin(), options.end());
  process_.emplace(arguments);
  std::string log;
  bool ready = false;
  while (!ready) {
    const std::string line = process_->ReadLine();
    if (line.empty()) break;  // Its end: no line of its log is empty.
    ready = absl::StrContains(line, "ready to accept connections");
    absl::StrAppend(&log, line, "\n");
  }
  if (!ready) process_->Wait();
  ABSL_CHECK(ready) << "redis-server, of tools/setup, does not start:\n"
                    << log << process_->ReadStderr();
}

}  // namespace fio::testing
