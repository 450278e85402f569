#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "tests/bench/servers.h"

namespace fio::bench {
namespace {

constexpr int kBatch = 512;

char buffer[64 * 1024];

// The listening socket, or -1. What it accepts inherits TCP_NODELAY.
int Listen(OnListening on_listening) {
  const int one = 1;
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof(address);
  if (bind(listener, generic, size) != 0 || listen(listener, SOMAXCONN) != 0 ||
      getsockname(listener, generic, &size) != 0) {
    return -1;
  }
  on_listening(ntohs(address.sin_port));
  return listener;
}

void Watch(int epoll, int fd) {
  epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};
  epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

void Accept(int epoll, int listener) {
  for (;;) {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK);
    if (fd < 0) return;
    Watch(epoll, fd);
  }
}

void Echo(int fd) {
  const ssize_t got = recv(fd, buffer, sizeof(buffer), 0);
  if (got > 0) {
    send(fd, buffer, static_cast<size_t>(got), MSG_NOSIGNAL);
  } else if (got == 0 || errno != EAGAIN) {
    close(fd);
  }
}

}  // namespace

void ServeRawEpoll(OnListening on_listening) {
  const int listener = Listen(on_listening);
  if (listener < 0) return;
  const int epoll = epoll_create1(0);
  Watch(epoll, listener);
  epoll_event events[kBatch];
  for (;;) {
    const int count = epoll_wait(epoll, events, kBatch, -1);
    for (int i = 0; i < count; ++i) {
      const int fd = events[i].data.fd;
      if (fd == listener) {
        Accept(epoll, listener);
      } else {
        Echo(fd);
      }
    }
  }
}

}  // namespace fio::bench
