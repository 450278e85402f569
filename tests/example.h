// What the tests of the examples have in common: servers that they run, and
// clients of theirs.

#ifndef FIO_TESTS_EXAMPLE_H_
#define FIO_TESTS_EXAMPLE_H_

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "fio/base/unique_fd.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"
#include "tests/subprocess.h"

namespace fio::testing {

// Where a server listens that says so in `line`, as
// "listening on SCHEME://127.0.0.1:PORT (process PID)". REQUIRES: it is the
// process `pid`.
SocketAddress ListeningAddress(std::string_view line, pid_t pid);

// A client that waits in its calls.
Socket ConnectTo(const SocketAddress& address);

// A server on a free port of 127.0.0.1, which it names in its first line.
class Server {
 public:
  // `program` as in "examples/echo".
  explicit Server(const std::string& program,
                  const std::vector<std::string>& flags = {});

  Socket Connect() const { return ConnectTo(address_); }

  const SocketAddress& address() const { return address_; }
  Subprocess& process() { return process_; }

 private:
  Subprocess process_;
  const SocketAddress address_;
};

// A port of 127.0.0.1, at which nobody listens until Listen().
class Port {
 public:
  Port();

  const std::string& url() const { return url_; }

  void Listen() const;
  // Waits for who connects. Its calls wait, too.
  Socket Accept() const;

 private:
  UniqueFd fd_;
  std::string url_;
};

// Ends the connection so that the peer sees a reset.
void Reset(Socket& socket);

// Writes all of it.
void Send(Socket& socket, std::string_view bytes);

// Up to and without the newline, or all up to the end.
std::string ReadLine(Socket& socket);

// That the program ends with the exit code 1 and `message` somewhere in one
// line on stderr, and prints nothing.
void ExpectRefusal(const std::string& program,
                   const std::vector<std::string>& flags,
                   std::string_view message);

// That the server `program`, started with each of its descriptors 0 to 2 closed
// and with all of them, answers `request` by `answer`, says `farewell` when it
// is told to stop, and nothing else; and that it never has a descriptor of its
// own with such a number, to which what somebody prints would go.
void ExpectServesWithoutStandardStreams(const std::string& program,
                                        std::string_view request,
                                        std::string_view answer,
                                        std::string_view farewell);

}  // namespace fio::testing

#endif  // FIO_TESTS_EXAMPLE_H_
