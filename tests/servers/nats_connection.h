// A NatsConnection is one side of a conversation in the language of NATS: a
// client of a server, or a server that does what the test wants. It waits in
// its calls. What it reads is lines, and the bodies behind them.
//
//   NatsConnection connection(server.port());
//   connection.Send("SUB a 1\r\nPING\r\n");
//   connection.ReadUntil("PONG");
//
// Thread safety: none.

#ifndef FIO_TESTS_SERVERS_NATS_CONNECTION_H_
#define FIO_TESTS_SERVERS_NATS_CONNECTION_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "fio/base/unique_fd.h"

namespace fio::testing {

class NatsConnection {
 public:
  // A client: connects, reads INFO, and sends CONNECT with `members` in it, as
  // ",\"user\":\"me\"". Returns when the server has answered to a PING.
  explicit NatsConnection(uint16_t port, std::string_view members = {});
  // What a NatsListener has accepted.
  explicit NatsConnection(UniqueFd fd) : fd_(std::move(fd)) {}

  void Send(std::string_view bytes);
  // The next line, without its end; waits for it. "END" if the peer has ended.
  std::string ReadLine();
  // Reads lines until one begins so, and returns that.
  std::string ReadUntil(std::string_view start);
  std::string ReadBytes(size_t size);

  // Sends a message, or a ping and waits for its answer.
  void Publish(std::string_view subject, std::string_view body);
  void Sync();
  // The next MSG: "subject body". Skips all else.
  std::string ReadMessage();

 private:
  bool Receive();

  UniqueFd fd_;
  std::string received_;
};

// A server of the test's own.
class NatsListener {
 public:
  NatsListener();
  uint16_t port() const { return port_; }
  std::string url() const;
  // Waits for the next client.
  NatsConnection Accept();

 private:
  UniqueFd fd_;
  uint16_t port_ = 0;
};

}  // namespace fio::testing

#endif  // FIO_TESTS_SERVERS_NATS_CONNECTION_H_
