#include "tests/subprocess.h"

#include <fcntl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/log/absl_check.h"
#include "fio/base/unique_fd.h"

namespace fio::testing {
namespace {

struct Pipe {
  Pipe() {
    int fds[2];
    ABSL_CHECK_EQ(pipe2(fds, O_CLOEXEC), 0);
    reader.Reset(fds[0]);
    writer.Reset(fds[1]);
  }
  UniqueFd reader, writer;
};

// Up to `size` bytes; 0 at the end.
size_t ReadSome(const UniqueFd& fd, char* bytes, size_t size) {
  ssize_t n;
  do {
    n = read(fd.get(), bytes, size);
  } while (n < 0 && errno == EINTR);
  return n < 0 ? 0 : static_cast<size_t>(n);
}

std::string ReadLineOf(const UniqueFd& fd) {
  std::string line;
  char byte;
  while (ReadSome(fd, &byte, 1) > 0 && byte != '\n') line += byte;
  return line;
}

std::string ReadAllOf(const UniqueFd& fd) {
  std::string all;
  char buffer[1 << 14];
  while (const size_t size = ReadSome(fd, buffer, sizeof(buffer))) {
    all.append(buffer, size);
  }
  return all;
}

}  // namespace

Subprocess::Subprocess(const std::vector<std::string>& arguments,
                       UniqueFd input, const std::vector<int>& closed) {
  Pipe out;
  Pipe error;
  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (const std::string& argument : arguments) {
    argv.push_back(const_cast<char*>(argument.c_str()));
  }
  argv.push_back(nullptr);
  pid_ = fork();
  ABSL_CHECK_GE(pid_, 0);
  if (pid_ == 0) {
    if (input) dup2(input.get(), STDIN_FILENO);
    dup2(out.writer.get(), STDOUT_FILENO);
    dup2(error.writer.get(), STDERR_FILENO);
    for (const int fd : closed) close(fd);
    execv(argv[0], argv.data());
    _exit(127);
  }
  out_ = std::move(out.reader);
  error_ = std::move(error.reader);
}

Subprocess::~Subprocess() {
  if (pid_ < 0) return;
  Signal(SIGKILL);
  Wait();
}

std::string Subprocess::ReadLine() { return ReadLineOf(out_); }
std::string Subprocess::ReadStdout() { return ReadAllOf(out_); }
std::string Subprocess::ReadErrorLine() { return ReadLineOf(error_); }
std::string Subprocess::ReadStderr() { return ReadAllOf(error_); }

void Subprocess::Signal(int signal) { ABSL_CHECK_EQ(kill(pid_, signal), 0); }

int Subprocess::Wait() {
  int status;
  pid_t waited;
  do {
    waited = waitpid(pid_, &status, 0);
  } while (waited < 0 && errno == EINTR);
  ABSL_CHECK_EQ(waited, pid_);
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

}  // namespace fio::testing
