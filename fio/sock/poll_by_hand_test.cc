// fio/sock without an event loop: an echo server in forty lines of poll(2), and
// clients that send more than any kernel buffer holds before they read.

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/io_result.h"
#include "fio/sock/listen_socket.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"
#include "fio/testing/loopback_pair.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

int16_t WaitFor(const Socket& socket) {
  return static_cast<int16_t>((socket.wants_read() ? POLLIN : 0) |
                              (socket.wants_write() ? POLLOUT : 0));
}

void Echo(Socket& socket) {
  char buffer[16 << 10];
  for (;;) {
    const IoResult read = socket.Read(absl::MakeSpan(buffer));
    if (read.bytes == 0) break;  // Nothing now, the end or an error.
    static_cast<void>(socket.Write(std::string_view(buffer, read.bytes)));
    if (!socket.wants_read()) break;  // Enough is queued.
  }
  static_cast<void>(socket.Flush());
}

// Serves until `clients` have come and gone.
void ServeByPoll(ListenSocket& listener, size_t clients) {
  std::vector<Socket> sockets;
  for (size_t gone = 0; gone < clients;) {
    std::vector<pollfd> ready = {
        {.fd = listener.fd(), .events = POLLIN, .revents = 0}};
    for (const Socket& socket : sockets) {
      ready.push_back(
          {.fd = socket.fd(), .events = WaitFor(socket), .revents = 0});
    }
    ASSERT_GT(poll(ready.data(), ready.size(), -1), 0);
    for (size_t i = 0; i < sockets.size(); ++i) {
      if (ready[i + 1].revents != 0) Echo(sockets[i]);
    }
    gone += std::erase_if(sockets, [](const Socket& s) { return s.fd() < 0; });
    for (;;) {
      ListenSocket::Accepted accepted = listener.Accept();
      if (accepted.error != 0) break;
      accepted.socket.SetWatermarks({.high_bytes = 256 << 10});
      sockets.push_back(std::move(accepted.socket));
    }
  }
}

TEST(PollByHand, EchoesToSlowAndGreedyClients) {
  constexpr size_t kClients = 3;
  absl::StatusOr<ListenSocket> listener =
      ListenSocket::Listen(*SocketAddress::FromIp("127.0.0.1", 0), {});
  ASSERT_TRUE(listener.ok()) << listener.status();
  std::thread server([&] { ServeByPoll(*listener, kClients); });
  std::vector<std::thread> clients;
  for (size_t i = 0; i < kClients; ++i) {
    clients.emplace_back([&, i] {
      const SocketAddress& address = listener->local_address();
      UniqueFd fd(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
      ASSERT_EQ(::connect(fd.get(), address.data(), address.size()), 0);
      ASSERT_EQ(fcntl(fd.get(), F_SETFL, O_NONBLOCK), 0);
      Socket client(std::move(fd));
      client.AllowHalfOpen();
      const std::string sent((i + 1) << 22, static_cast<char>('a' + i));
      ASSERT_TRUE(client.Write(sent).ok());
      std::string received;
      while (client.Flush().would_block()) {
        received += testing::ReadAvailable(client);
      }
      ASSERT_TRUE(client.ShutdownWrite().ok());
      received += testing::ReadToEnd(client);
      EXPECT_TRUE(received == sent);
    });
  }
  for (std::thread& client : clients) client.join();
  server.join();
}

}  // namespace
}  // namespace fio
