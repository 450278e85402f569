#include "fio/sock/test_util.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "fio/base/syscalls.h"
#include "fio/sock/listen_socket.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"
#include "fio/testing/loopback_pair.h"

namespace fio::testing {
namespace {

std::atomic<int> calls = 0;

template <auto member>
struct Counted;
template <typename Result, typename... Arguments,
          Result (*Syscalls::*member)(Arguments...)>
struct Counted<member> {
  static Result Call(Arguments... arguments) {
    ++calls;
    return (kKernel.*member)(arguments...);
  }
};

template <auto... members>
Syscalls Count() {
  Syscalls table;
  ((table.*members = &Counted<members>::Call), ...);
  return table;
}

const Syscalls& CountingTable() {
  using S = Syscalls;
  static const Syscalls table =
      Count<&S::socket, &S::bind, &S::listen, &S::connect, &S::accept4,
            &S::getsockname, &S::getpeername, &S::setsockopt, &S::getsockopt,
            &S::ioctl, &S::shutdown, &S::recv, &S::send, &S::sendmsg,
            &S::recvmmsg, &S::sendmmsg, &S::pread, &S::sendfile, &S::poll,
            &S::close>();
  return table;
}

std::vector<std::string> ListFolder(const std::string& path) {
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir(path.c_str()),
                                                   closedir);
  ABSL_CHECK(folder != nullptr) << path;
  std::vector<std::string> names;
  while (const dirent* entry = readdir(folder.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

void WaitFor(pollfd ready) {
  while (poll(&ready, 1, -1) < 0) ABSL_CHECK_EQ(errno, EINTR);
}

}  // namespace

TempFolder::TempFolder() {
  const char* given = getenv("TEST_TMPDIR");
  const std::string_view parent = given == nullptr ? "" : given;
  // Room for a name within the 108 bytes of a Unix socket's path.
  const bool fits = !parent.empty() && parent.size() < 64;
  path_ = absl::StrCat(fits ? parent : "/tmp", "/fio_XXXXXX");
  ABSL_CHECK(mkdtemp(path_.data()) != nullptr) << path_;
}

TempFolder::~TempFolder() {
  for (const std::string& name : List()) unlink(File(name).c_str());
  ABSL_CHECK_EQ(rmdir(path_.c_str()), 0) << path_;
}

std::string TempFolder::File(std::string_view name) const {
  return absl::StrCat(path_, "/", name);
}

std::vector<std::string> TempFolder::List() const { return ListFolder(path_); }

SyscallCounter::SyscallCounter() : scope_(&CountingTable()) { calls = 0; }

int SyscallCounter::count() const { return calls; }

SocketAddress Address(std::string_view text) {
  const absl::StatusOr<SocketAddress> address = SocketAddress::Parse(text);
  ABSL_CHECK_OK(address.status());
  return *address;
}

int IntOption(int fd, int level, int option) {
  int value = -1;
  socklen_t size = sizeof(value);
  ABSL_CHECK_EQ(getsockopt(fd, level, option, &value, &size), 0);
  return value;
}

bool NonBlocking(int fd) { return (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0; }

bool CloseOnExec(int fd) { return (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0; }

std::vector<int> OpenDescriptors() {
  std::vector<int> open;
  for (const std::string& name : ListFolder("/proc/self/fd")) {
    int fd;
    // The one of the folder itself is closed by now.
    if (absl::SimpleAtoi(name, &fd) && fcntl(fd, F_GETFD) >= 0) {
      open.push_back(fd);
    }
  }
  return open;
}

void WaitReadable(int fd) {
  WaitFor({.fd = fd, .events = POLLIN, .revents = 0});
}

void WaitWritable(int fd) {
  WaitFor({.fd = fd, .events = POLLOUT, .revents = 0});
}

ListenSocket::Accepted WaitAndAccept(ListenSocket& listener) {
  WaitReadable(listener.fd());
  return listener.Accept();
}

bool CarryBytes(Socket& a, Socket& b) {
  WaitWritable(a.fd());
  return a.TryWrite("there").bytes == 5 && ReadUntil(b, 5) == "there" &&
         b.TryWrite("back").bytes == 4 && ReadUntil(a, 4) == "back";
}

}  // namespace fio::testing
