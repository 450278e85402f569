// A ScriptedDriver is the kernel's side of a socket that a SocketDriver drives:
// the test says when bytes come and when which have left. There is no
// descriptor, and no system call is made.
//
//   ScriptedDriver driver;
//   Socket socket = driver.MakeSocket(7);
//   driver.Bring("hello");        // Read() returns it.
//   socket.Write("world");
//   socket.Flush();               // EAGAIN: the driver has it.
//   driver.Complete(2);           // "wo" has left.
//   socket.Flush();               // 2 bytes, and EAGAIN.
//
// It reads what it sends at the last moment, in Complete(), so a sanitizer sees
// memory that was released too early. Each Bring() is a buffer of its own,
// which is freed as soon as it was taken. Files are sent from copies of 16 KiB.
//
// Thread safety: none.

#ifndef FIO_TESTING_SCRIPTED_DRIVER_H_
#define FIO_TESTING_SCRIPTED_DRIVER_H_

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "fio/sock/socket.h"
#include "fio/sock/socket_driver.h"

namespace fio::testing {

class ScriptedDriver {
 public:
  ScriptedDriver() = default;
  ScriptedDriver(const ScriptedDriver&) = delete;
  ScriptedDriver& operator=(const ScriptedDriver&) = delete;
  // REQUIRES: the socket is closed, and nothing is in flight.
  ~ScriptedDriver();

  // `fd` is only a number. REQUIRES: called once.
  Socket MakeSocket(int fd);

  // What the peer sends.
  void Bring(std::string_view bytes);
  void BringEnd();
  void BringError(int error);

  // How many bytes an operation is reading. None begins while another one is in
  // flight, or after one before Left() has told the socket of it.
  size_t in_flight() const;
  // The operation is complete: `bytes` of it have left. It may be fewer, even
  // none, but none is in flight afterwards. REQUIRES: one was in flight.
  void Complete(size_t bytes);
  // All that is in flight.
  void Complete() { Complete(in_flight()); }
  // The operation has failed. REQUIRES: one was in flight.
  void Fail(int error);

  // All that has left.
  const std::string& sent() const { return sent_; }
  bool write_shut() const { return write_shut_; }
  bool read_shut() const { return read_shut_; }
  // How the socket has ended, if it has.
  std::optional<SocketDriver::Ending> ending() const { return ending_; }
  // Whether the descriptor is closed: the socket has ended, and nothing is in
  // flight.
  bool is_closed() const { return closed_; }

 private:
  class Driver;

  Driver* driver_ = nullptr;  // Null before MakeSocket() and once it is closed.
  std::string sent_;
  bool write_shut_ = false;
  bool read_shut_ = false;
  bool closed_ = false;
  std::optional<SocketDriver::Ending> ending_;
};

}  // namespace fio::testing

#endif  // FIO_TESTING_SCRIPTED_DRIVER_H_
