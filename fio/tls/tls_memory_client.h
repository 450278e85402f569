// A client made of the library alone, whose wire is in memory. It trusts
// everybody, and asks for the name "localhost".

#ifndef FIO_TLS_TLS_MEMORY_CLIENT_H_
#define FIO_TLS_TLS_MEMORY_CLIENT_H_

#include <string>
#include <string_view>

#include "fio/tls/internal/boringssl.h"

namespace fio::tls_testing {

class MemoryClient {
 public:
  MemoryClient();

  // Whether the handshake is over, and nothing has failed.
  bool is_open() const { return done_ && !failed_; }

  // Takes what the server has sent, whatever that is, and goes on.
  void Receive(std::string_view wire);
  // What is for the server. At first, how the handshake begins.
  std::string TakeOutput();

  // REQUIRES for sending: is_open().
  void Send(std::string_view bytes);
  std::string TakeReceived();

 private:
  void Step();
  void Note(int result);

  bssl::UniquePtr<SSL> ssl_;
  bool done_ = false;
  bool failed_ = false;
  std::string received_;
};

}  // namespace fio::tls_testing

#endif  // FIO_TLS_TLS_MEMORY_CLIENT_H_
