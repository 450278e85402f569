#include "fio/testing/simulated_network.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/strings/str_cat.h"
#include "fio/base/syscalls.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/event.h"
#include "fio/testing/fake_poller.h"
#include "fio/testing/internal/simulated_connection.h"

namespace fio::testing {
namespace {

// The functions of a table have no place for a network in their arguments.
constinit std::atomic<SimulatedNetwork*> live_network = nullptr;

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

int CopyAddress(uint16_t port, sockaddr* address, socklen_t* size) {
  sockaddr_in loopback = {};
  loopback.sin_family = AF_INET;
  loopback.sin_port = htons(port);
  loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return CopyOut(&loopback, sizeof(loopback), address, size);
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

// --- Peer ---

void Peer::Send(std::string_view bytes) {
  if (connection_ != nullptr) connection_->PeerSend(bytes);
}

void Peer::ShutdownWrite() {
  if (connection_ != nullptr) connection_->PeerShutdownWrite();
}

void Peer::Close() {
  if (connection_ != nullptr) connection_->PeerClose();
}

void Peer::Reset() {
  if (connection_ != nullptr) connection_->PeerReset();
}

std::string_view Peer::received() const {
  return connection_ == nullptr ? "" : connection_->received();
}

std::string Peer::TakeReceived(size_t limit) {
  return connection_ == nullptr ? "" : connection_->TakeReceived(limit);
}

uint64_t Peer::received_bytes() const {
  return connection_ == nullptr ? 0 : connection_->received_bytes();
}

void Peer::KeepReceived(bool on) {
  if (connection_ != nullptr) connection_->KeepReceived(on);
}

void Peer::SetWindow(size_t bytes) {
  if (connection_ != nullptr) connection_->SetWindow(bytes);
}

void Peer::SetAutoRead(bool on) {
  if (connection_ != nullptr) connection_->SetAutoRead(on);
}

size_t Peer::in_flight_bytes() const {
  return connection_ == nullptr ? 0 : connection_->in_flight_bytes();
}

bool Peer::saw_end() const {
  return connection_ != nullptr && connection_->saw_end();
}

bool Peer::saw_reset() const {
  return connection_ != nullptr && connection_->saw_reset();
}

bool Peer::is_connected() const {
  return connection_ != nullptr && connection_->is_open();
}

int Peer::near_fd() const {
  return connection_ == nullptr ? -1 : connection_->fd();
}

// --- The table ---

// What becomes of a call: an errno, or 0 and how much it may move.
struct SimulatedNetwork::Verdict {
  int error = 0;
  size_t size = 0;
};

// What takes the places of the functions that were in the table before.
struct SimulatedNetwork::Table {
  // Calls `own` for a descriptor of the live network, or else the function
  // that was in the place before.
  template <auto kEntry, typename Own, typename... Args>
  static auto Call(int fd, Own own, Args... args)
      -> decltype((kKernel.*kEntry)(fd, args...)) {
    SimulatedNetwork& network = *live_network.load();
    Link* link = network.Find(fd);
    if (link == nullptr) return (network.replaced_->*kEntry)(fd, args...);
    ++network.calls_;
    return static_cast<decltype((kKernel.*kEntry)(fd, args...))>(
        Result(own(network, *link)));
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
        [&](SimulatedNetwork&, Link&) {
          return CopyAddress(kNearPort, address, size);
        },
        address, size);
  }

  static int Getpeername(int fd, sockaddr* address, socklen_t* size) {
    return Call<&Syscalls::getpeername>(
        fd,
        [&](SimulatedNetwork&, Link& link) {
          return link.is_disconnected()
                     ? -ENOTCONN
                     : CopyAddress(PeerPort(fd), address, size);
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

  // Some options make pollers report a ready socket again, as on Linux.
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
    table.getsockname = Getsockname;
    table.getpeername = Getpeername;
    table.setsockopt = Setsockopt;
    table.getsockopt = Getsockopt;
    table.ioctl = Ioctl;
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
  SimulatedNetwork& network = *live_network.load();
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

// --- SimulatedNetwork ---

SimulatedNetwork::SimulatedNetwork(const SimulatedNetworkOptions& options,
                                   FakePoller* poller)
    : options_(options), poller_(poller), random_(options.seed) {
  SimulatedNetwork* none = nullptr;
  ABSL_CHECK(live_network.compare_exchange_strong(none, this))
      << "Only one SimulatedNetwork may live at a time";
  replaced_ = &Sys();
  table_ = Table::Over(*replaced_);
  ReplaceSyscalls(&table_);
}

SimulatedNetwork::~SimulatedNetwork() {
  ABSL_CHECK(ReplaceSyscalls(replaced_) == &table_)
      << "What was put into the table later, as a FaultPlan, has to go before "
         "the SimulatedNetwork";
  live_network = nullptr;
  for (const std::shared_ptr<Link>& link : links_) {
    if (link != nullptr) link->Orphan();
  }
}

SimulatedNetwork::Connection SimulatedNetwork::Connect() {
  const int fd = TakeNumber();
  Link::Host& host = *this;
  auto link = std::make_shared<Link>(host, fd, options_.window_bytes);
  links_[static_cast<size_t>(fd - kFirstFd)] = link;
  ++open_count_;
  if (poller_ != nullptr) poller_->Open(fd, link->readiness());
  if (options_.trace) Note(absl::StrCat("fd ", fd, " opens"));
  return {.near = UniqueFd(fd), .peer = Peer(std::move(link))};
}

bool SimulatedNetwork::Step() {
  ++step_;
  if (random_.Chance(options_.reset)) ResetOne();
  moving_now_.swap(moving_);
  for (const std::shared_ptr<Link>& link : moving_now_) Move(*link);
  const bool moved = !moving_now_.empty();
  moving_now_.clear();
  return moved;
}

void SimulatedNetwork::SetPoller(FakePoller* poller) {
  ABSL_CHECK(poller == nullptr || open_count_ == 0)
      << "SimulatedNetwork::SetPoller: descriptors are open";
  poller_ = poller;
}

Readiness SimulatedNetwork::readiness(int fd) {
  const Link* link = Find(fd);
  ABSL_CHECK(link != nullptr)
      << "SimulatedNetwork::readiness: fd " << fd << " is not open";
  return link->readiness();
}

void SimulatedNetwork::Note(std::string_view what) {
  if (options_.trace) absl::StrAppend(&trace_, step_, " ", what, "\n");
}

void SimulatedNetwork::OnChange(Link& link, Readiness anew) {
  if (poller_ != nullptr) {
    poller_->SetReadiness(link.fd(), link.readiness(), anew);
  }
}

void SimulatedNetwork::MoveLater(Link& link) {
  if (link.moves()) return;
  link.SetMoves(true);
  moving_.push_back(links_[static_cast<size_t>(link.fd() - kFirstFd)]);
}

void SimulatedNetwork::OnPeer(const Link& link, std::string_view what,
                              size_t bytes) {
  if (!options_.trace) return;
  Note(absl::StrCat("fd ", link.fd(), " peer ", what, " ", bytes));
}

SimulatedNetwork::Link* SimulatedNetwork::Find(int fd) const {
  if (fd < kFirstFd) return nullptr;
  const size_t index = static_cast<size_t>(fd) - kFirstFd;
  return index < links_.size() ? links_[index].get() : nullptr;
}

int SimulatedNetwork::TakeNumber() {
  if (free_.empty()) {
    links_.emplace_back();
    return kFirstFd + static_cast<int>(links_.size()) - 1;
  }
  const int fd = free_.top();
  free_.pop();
  return fd;
}

void SimulatedNetwork::Move(Link& link) {
  link.SetMoves(false);
  if (!link.is_open()) return;
  link.Renew();
  const size_t in_flight = link.in_flight_bytes();
  if (in_flight > 0 && random_.Chance(options_.segmented)) {
    link.Arrive(1 + random_.Below(in_flight));
  } else {
    link.Arrive();
  }
}

// One that is drawn of all numbers, so that it costs nothing to find.
void SimulatedNetwork::ResetOne() {
  if (links_.empty()) return;
  Link* link = links_[random_.Below(links_.size())].get();
  if (link == nullptr) return;
  ++faults_;
  link->PeerReset();
}

SimulatedNetwork::Verdict SimulatedNetwork::Judge(Link& link, bool reads,
                                                  bool buffers, size_t size) {
  if (random_.Chance(options_.reset)) {
    ++faults_;
    link.PeerReset();
  }
  Verdict verdict = {.error = 0, .size = size};
  if (link.interrupts < kMaxInterrupts &&
      random_.Chance(options_.interrupted)) {
    ++link.interrupts;
    verdict.error = EINTR;
  } else {
    link.interrupts = 0;
    if (random_.Chance(options_.would_block)) {
      verdict.error = EAGAIN;
    } else if (buffers && random_.Chance(options_.no_buffers)) {
      verdict.error = ENOBUFS;
    } else if (random_.Chance(options_.no_memory)) {
      verdict.error = ENOMEM;
    } else if (size > 1 && random_.Chance(reads ? options_.short_read
                                                : options_.short_write)) {
      verdict.size = 1 + random_.Below(size - 1);
    }
  }
  if (verdict.error != 0 || verdict.size < size) ++faults_;
  // The caller was told that there is no more, so it waits for an event.
  if (verdict.error == EAGAIN || verdict.size < size) link.RenewLater();
  return verdict;
}

ssize_t SimulatedNetwork::Finish(const Link& link, std::string_view call,
                                 ssize_t result) {
  if (options_.trace) {
    Note(absl::StrCat("fd ", link.fd(), " ", call, " = ", result));
  }
  return result;
}

ssize_t SimulatedNetwork::Recv(Link& link, void* out, size_t size, int flags) {
  const Verdict verdict = Judge(link, true, false, size);
  const ssize_t result =
      verdict.error != 0 ? -verdict.error
                         : link.Receive(static_cast<char*>(out), verdict.size,
                                        (flags & MSG_PEEK) != 0);
  return Finish(link, "recv", result);
}

ssize_t SimulatedNetwork::Send(Link& link, std::string_view bytes) {
  const Verdict verdict = Judge(link, false, true, bytes.size());
  const ssize_t result = verdict.error != 0
                             ? -verdict.error
                             : link.Send(bytes.substr(0, verdict.size));
  return Finish(link, "send", result);
}

ssize_t SimulatedNetwork::Sendmsg(Link& link, const msghdr& message) {
  std::string bytes;
  for (size_t i = 0; i < message.msg_iovlen; ++i) {
    const iovec& piece = message.msg_iov[i];
    bytes.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
  }
  const Verdict verdict = Judge(link, false, true, bytes.size());
  bytes.resize(verdict.size);
  const ssize_t result = verdict.error != 0 ? -verdict.error : link.Send(bytes);
  return Finish(link, "sendmsg", result);
}

// Reads no more of the file than can be sent.
ssize_t SimulatedNetwork::Sendfile(Link& link, int file, off_t* offset,
                                   size_t size) {
  const Verdict verdict = Judge(link, false, false, size);
  if (verdict.error != 0) return Finish(link, "sendfile", -verdict.error);
  const size_t room = std::max<size_t>(link.Room(), 1);
  std::string bytes(std::min(verdict.size, room), '\0');
  const off_t from = offset != nullptr ? *offset : lseek(file, 0, SEEK_CUR);
  const ssize_t read = replaced_->pread(file, bytes.data(), bytes.size(), from);
  if (read <= 0) {
    return Finish(link, "sendfile", read < 0 ? -errno : 0);
  }
  bytes.resize(static_cast<size_t>(read));
  const ssize_t sent = link.Send(bytes);
  if (sent > 0) {
    if (static_cast<size_t>(sent) == room && room < verdict.size) {
      link.WantRoom();
    }
    if (offset != nullptr) {
      *offset += sent;
    } else {
      lseek(file, from + sent, SEEK_SET);
    }
  }
  return Finish(link, "sendfile", sent);
}

int SimulatedNetwork::Close(Link& link) {
  const int fd = link.fd();
  link.Close();
  Finish(link, "close", 0);
  if (poller_ != nullptr) poller_->Close(fd);
  // A peer may still have it.
  links_[static_cast<size_t>(fd - kFirstFd)] = nullptr;
  free_.push(fd);
  --open_count_;
  return 0;
}

}  // namespace fio::testing
