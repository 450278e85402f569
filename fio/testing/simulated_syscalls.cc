#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "fio/base/syscalls.h"
#include "fio/core/poller/event.h"
#include "fio/sock/socket_address.h"
#include "fio/testing/simulated_network.h"

// The calls of a SimulatedNetwork: functions, which have no place for a network
// in their arguments.

namespace fio::testing {
namespace {

constexpr uint16_t kNearPort = 80;
constexpr uint16_t kFirstPeerPort = 1024;

// What a system call gives: a count, or -1 and errno.
ssize_t Result(ssize_t result) {
  if (result >= 0) return result;
  errno = static_cast<int>(-result);
  return -1;
}

int CopyOut(const void* from, size_t from_size, void* to, socklen_t* size) {
  std::memcpy(to, from, std::min<size_t>(*size, from_size));
  *size = static_cast<socklen_t>(from_size);
  return 0;
}

int CopyAddress(const SocketAddress& from, sockaddr* address, socklen_t* size) {
  return CopyOut(from.data(), from.size(), address, size);
}

SocketAddress Loopback(int family, uint16_t port) {
  const char* const ip = family == AF_INET6 ? "::1" : "127.0.0.1";
  return *SocketAddress::FromIp(ip, port);
}

uint16_t PeerPort(int fd) {
  return static_cast<uint16_t>(kFirstPeerPort +
                               (fd - SimulatedNetwork::kFirstFd) %
                                   (65536 - kFirstPeerPort));
}

bool IsOption(int level, int name, int wanted_level, int wanted_name) {
  return level == wanted_level && name == wanted_name;
}

}  // namespace

// What takes the places of the functions that were in the table before.
struct SimulatedNetwork::Table {
  // Calls `own` for a descriptor of the live network, or else the function
  // that was in the place before.
  template <auto kEntry, typename Own, typename... Args>
  static auto Call(int fd, Own own, Args... args)
      -> decltype((kKernel.*kEntry)(fd, args...)) {
    SimulatedNetwork& network = *live_.load();
    Link* link = network.Find(fd);
    if (link == nullptr) return (network.replaced_->*kEntry)(fd, args...);
    ++network.calls_;
    return static_cast<decltype((kKernel.*kEntry)(fd, args...))>(
        Result(own(network, *link)));
  }

  // TCP's, once somebody listens in the network.
  static int Socket(int domain, int type, int protocol) {
    SimulatedNetwork& network = *live_.load();
    constexpr int kFlags = SOCK_NONBLOCK | SOCK_CLOEXEC;
    if (!network.makes_sockets_ || (type & ~kFlags) != SOCK_STREAM ||
        (domain != AF_INET && domain != AF_INET6)) {
      return network.replaced_->socket(domain, type, protocol);
    }
    return network.Open(Link::State::kConnecting)->fd();
  }

  // To an address of this machine's own, whichever it is.
  static int Bind(int fd, const sockaddr* address, socklen_t size) {
    return Call<&Syscalls::bind>(
        fd, [](SimulatedNetwork&, Link&) { return 0; }, address, size);
  }

  static int Connect(int fd, const sockaddr* address, socklen_t size) {
    return Call<&Syscalls::connect>(
        fd,
        [&](SimulatedNetwork& network, Link& link) {
          return network.Finish(link, "connect",
                                network.ConnectTo(link, address, size));
        },
        address, size);
  }

  static ssize_t Recv(int fd, void* out, size_t size, int flags) {
    return Call<&Syscalls::recv>(
        fd,
        [&](SimulatedNetwork& network, Link& link) {
          return network.Recv(link, out, size, flags);
        },
        out, size, flags);
  }

  static ssize_t Send(int fd, const void* bytes, size_t size, int flags) {
    return Call<&Syscalls::send>(
        fd,
        [&](SimulatedNetwork& network, Link& link) {
          return network.Send(link, {static_cast<const char*>(bytes), size});
        },
        bytes, size, flags);
  }

  static ssize_t Sendmsg(int fd, const msghdr* message, int flags) {
    return Call<&Syscalls::sendmsg>(
        fd,
        [&](SimulatedNetwork& network, Link& link) {
          return network.Sendmsg(link, *message);
        },
        message, flags);
  }

  static ssize_t Sendfile(int fd, int file, off_t* offset, size_t size) {
    return Call<&Syscalls::sendfile>(
        fd,
        [&](SimulatedNetwork& network, Link& link) {
          return network.Sendfile(link, file, offset, size);
        },
        file, offset, size);
  }

  static int Fcntl(int fd, int command, ...) {
    va_list arguments;
    va_start(arguments, command);
    const int argument = va_arg(arguments, int);
    va_end(arguments);
    return Call<&Syscalls::fcntl>(
        fd,
        [&](SimulatedNetwork&, Link&) {
          return command == F_GETFL ? O_RDWR | O_NONBLOCK : -EINVAL;
        },
        command, argument);
  }

  static int Shutdown(int fd, int how) {
    return Call<&Syscalls::shutdown>(
        fd,
        [&](SimulatedNetwork& network, Link& link) {
          return network.Finish(link, "shutdown", link.Shutdown(how));
        },
        how);
  }

  static int Close(int fd) {
    return Call<&Syscalls::close>(fd,
                                  [&](SimulatedNetwork& network, Link& link) {
                                    return network.Close(link);
                                  });
  }

  static int Getsockname(int fd, sockaddr* address, socklen_t* size) {
    return Call<&Syscalls::getsockname>(
        fd,
        [&](SimulatedNetwork& network, Link&) {
          const auto server = network.servers_.find(fd);
          return CopyAddress(
              server == network.servers_.end()
                  ? Loopback(AF_INET, kNearPort)
                  : Loopback(server->second.family(), PeerPort(fd)),
              address, size);
        },
        address, size);
  }

  static int Getpeername(int fd, sockaddr* address, socklen_t* size) {
    return Call<&Syscalls::getpeername>(
        fd,
        [&](SimulatedNetwork& network, Link& link) {
          if (link.is_disconnected()) return -ENOTCONN;
          const auto server = network.servers_.find(fd);
          return CopyAddress(server == network.servers_.end()
                                 ? Loopback(AF_INET, PeerPort(fd))
                                 : server->second,
                             address, size);
        },
        address, size);
  }

  // Those of whom nothing is known are 0.
  static int Getsockopt(int fd, int level, int name, void* value,
                        socklen_t* size) {
    return Call<&Syscalls::getsockopt>(
        fd,
        [&](SimulatedNetwork&, Link& link) {
          int found = 0;
          if (IsOption(level, name, SOL_SOCKET, SO_ERROR)) {
            found = link.TakeError();
          } else if (IsOption(level, name, SOL_SOCKET, SO_TYPE)) {
            found = SOCK_STREAM;
          } else if (IsOption(level, name, SOL_SOCKET, SO_PROTOCOL)) {
            found = IPPROTO_TCP;
          } else if (IsOption(level, name, SOL_SOCKET, SO_RCVLOWAT)) {
            found = 1;
          }
          return CopyOut(&found, sizeof(found), value, size);
        },
        level, name, value, size);
  }

  // NOLINTNEXTLINE(google-runtime-int)
  static int Ioctl(int fd, unsigned long request, int* value) {
    return Call<&Syscalls::ioctl>(
        fd,
        [&](SimulatedNetwork&, Link& link) {
          if (request != SIOCOUTQ) return -EINVAL;
          *value = static_cast<int>(link.untaken());
          return 0;
        },
        request, value);
  }

  // Some tell pollers anew of a socket that is ready, as on Linux.
  static int Setsockopt(int fd, int level, int name, const void* value,
                        socklen_t size) {
    return Call<&Syscalls::setsockopt>(
        fd,
        [&](SimulatedNetwork& network, Link& link) {
          if (IsOption(level, name, SOL_SOCKET, SO_LINGER)) {
            linger on_close = {};
            std::memcpy(&on_close, value,
                        std::min<size_t>(size, sizeof(on_close)));
            link.SetResetOnClose(on_close.l_onoff != 0 &&
                                 on_close.l_linger == 0);
          } else if (IsOption(level, name, SOL_SOCKET, SO_RCVLOWAT)) {
            network.OnChange(link, Readiness(Readiness::kReadable));
          } else if (IsOption(level, name, IPPROTO_TCP, TCP_NOTSENT_LOWAT)) {
            network.OnChange(link, Readiness(Readiness::kWritable));
          }
          return 0;
        },
        level, name, value, size);
  }

  static int Poll(pollfd* fds, nfds_t count, int timeout_ms);

  static Syscalls Over(const Syscalls& replaced) {
    Syscalls table = replaced;
    table.socket = Socket;
    table.bind = Bind;
    table.connect = Connect;
    table.getsockname = Getsockname;
    table.getpeername = Getpeername;
    table.setsockopt = Setsockopt;
    table.getsockopt = Getsockopt;
    table.ioctl = Ioctl;
    table.fcntl = Fcntl;
    table.shutdown = Shutdown;
    table.recv = Recv;
    table.send = Send;
    table.sendmsg = Sendmsg;
    table.sendfile = Sendfile;
    table.poll = Poll;
    table.close = Close;
    return table;
  }
};

// Asks for the simulated ones here and for the others there, where -1 stands
// for a descriptor that is not asked about.
int SimulatedNetwork::Table::Poll(pollfd* fds, nfds_t count, int timeout_ms) {
  SimulatedNetwork& network = *live_.load();
  std::vector<pollfd> others(fds, fds + count);
  bool any = false;
  for (pollfd& other : others) {
    if (network.Find(other.fd) == nullptr) continue;
    other.fd = -1;
    any = true;
  }
  if (!any) return network.replaced_->poll(fds, count, timeout_ms);
  ++network.calls_;
  const int ready = network.replaced_->poll(others.data(), count, 0);
  if (ready < 0) return ready;
  int told = 0;
  for (nfds_t i = 0; i < count; ++i) {
    fds[i].revents = others[i].revents;
    if (network.Find(fds[i].fd) != nullptr) {
      const uint32_t bits = network.readiness(fds[i].fd).bits();
      fds[i].revents = static_cast<int16_t>(
          bits & (static_cast<uint32_t>(fds[i].events) | POLLERR | POLLHUP));
    }
    if (fds[i].revents != 0) ++told;
  }
  if (told == 0) network.Step();
  return told;
}

Syscalls SimulatedNetwork::TableOver(const Syscalls& replaced) {
  return Table::Over(replaced);
}

}  // namespace fio::testing
