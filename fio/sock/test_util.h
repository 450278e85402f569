// Helpers of this package's tests. A failed system call is a failed check.

#ifndef FIO_SOCK_TEST_UTIL_H_
#define FIO_SOCK_TEST_UTIL_H_

#include <string>
#include <string_view>
#include <vector>

#include "fio/base/syscalls.h"
#include "fio/sock/listen_socket.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"

namespace fio::testing {

// A folder for sockets, whose path is short enough for them. It is removed,
// with everything in it, by the destructor.
class TempFolder {
 public:
  TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  ~TempFolder();

  const std::string& path() const { return path_; }
  std::string File(std::string_view name) const;
  std::vector<std::string> List() const;

 private:
  std::string path_;
};

// Makes `table` the current table for its own lifetime.
class ScopedSyscalls {
 public:
  explicit ScopedSyscalls(const Syscalls* table)
      : previous_(ReplaceSyscalls(table)) {}
  ScopedSyscalls(const ScopedSyscalls&) = delete;
  ScopedSyscalls& operator=(const ScopedSyscalls&) = delete;
  ~ScopedSyscalls() { ReplaceSyscalls(previous_); }

 private:
  const Syscalls* previous_;
};

// Counts the calls that go through the table during its own lifetime.
class SyscallCounter {
 public:
  SyscallCounter();
  int count() const;

 private:
  ScopedSyscalls scope_;
};

// REQUIRES: `text` is an address.
SocketAddress Address(std::string_view text);

int IntOption(int fd, int level, int option);
bool NonBlocking(int fd);
bool CloseOnExec(int fd);

// The descriptors that are open.
std::vector<int> OpenDescriptors();

void WaitReadable(int fd);
void WaitWritable(int fd);

// Waits for the next connection.
ListenSocket::Accepted WaitAndAccept(ListenSocket& listener);

// Whether bytes that each end writes arrive at the other end.
bool CarryBytes(Socket& a, Socket& b);

}  // namespace fio::testing

#endif  // FIO_SOCK_TEST_UTIL_H_
