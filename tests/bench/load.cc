#include "tests/bench/load.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/types.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "fio/base/clock.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"

namespace fio::bench {
namespace {

constexpr int kSilenceSeconds = 10;
constexpr size_t kLivesAtATime = 8;
constexpr uint64_t kMaxLives = 2'000;

// Each stream is the pattern over and over, from a place of its own, so that
// bytes of another place or connection differ. A prime, so that messages do.
constexpr uint64_t kPeriod = 4'093;
constexpr size_t kBufferBytes = 64 * 1024;

char buffer[kBufferBytes];

// The pattern from `at` on, kBufferBytes of it.
const char* Pattern(uint64_t at) {
  static const auto* const bytes = [] {
    auto* made = new std::array<char, kPeriod + kBufferBytes>;
    uint32_t random = 1;
    for (size_t i = 0; i < made->size(); ++i) {
      random = random * 1'664'525 + 1'013'904'223;
      (*made)[i] =
          i < kPeriod ? static_cast<char>(random >> 24) : (*made)[i - kPeriod];
    }
    return made;
  }();
  return bytes->data() + at % kPeriod;
}

absl::Status Failed(const char* call) {
  if (errno == EAGAIN) {
    return absl::DeadlineExceededError("the server is silent");
  }
  return absl::UnavailableError(absl::ErrnoToStatus(errno, call).message());
}

absl::Status HungUp() { return absl::UnavailableError("the server hung up"); }

absl::Status WrongEcho() {
  return absl::DataLossError("the server sent what it had not received");
}

// What is under way is far less than a socket's buffer: all of it fits.
absl::Status SendAll(const UniqueFd& fd, uint64_t first, size_t size,
                     int flags) {
  const ssize_t taken =
      send(fd.get(), Pattern(first), size, flags | MSG_NOSIGNAL);
  if (taken < 0) return Failed("send");
  return static_cast<size_t>(taken) == size
             ? absl::OkStatus()
             : absl::UnavailableError("send: cut short");
}

// Waits for the echo of one message, then for the end.
absl::Status AwaitEchoAndEnd(const UniqueFd& fd, uint64_t first) {
  ssize_t got = recv(fd.get(), buffer, kMessageBytes, MSG_WAITALL);
  if (got < 0) return Failed("recv");
  if (got < static_cast<ssize_t>(kMessageBytes)) return HungUp();
  if (std::memcmp(buffer, Pattern(first), kMessageBytes) != 0) {
    return WrongEcho();
  }
  if (shutdown(fd.get(), SHUT_WR) != 0) return Failed("shutdown");
  got = recv(fd.get(), buffer, sizeof(buffer), 0);
  if (got < 0) return Failed("recv");
  return got == 0 ? absl::OkStatus() : WrongEcho();
}

// kLivesAtATime lives.
absl::Status Live(uint16_t port, uint64_t first) {
  std::array<UniqueFd, kLivesAtATime> fds;
  for (UniqueFd& fd : fds) {
    absl::StatusOr<UniqueFd> connected = ConnectTo(port);
    if (!connected.ok()) return connected.status();
    fd = *std::move(connected);
  }
  for (size_t i = 0; i < kLivesAtATime; ++i) {
    const absl::Status status = SendAll(fds[i], first + i, kMessageBytes, 0);
    if (!status.ok()) return status;
  }
  for (size_t i = 0; i < kLivesAtATime; ++i) {
    const absl::Status status = AwaitEchoAndEnd(fds[i], first + i);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<UniqueFd> ConnectTo(uint16_t port) {
  UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return Failed("socket");
  const int one = 1;
  const timeval silence = {.tv_sec = kSilenceSeconds, .tv_usec = 0};
  setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof(silence));
  setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &silence, sizeof(silence));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address),
              sizeof(address)) != 0) {
    return Failed("connect");
  }
  return fd;
}

absl::StatusOr<std::unique_ptr<Load>> EchoLoad::Connect(uint16_t port,
                                                        size_t connections,
                                                        size_t depth) {
  std::unique_ptr<EchoLoad> load(new EchoLoad(depth));
  load->epoll_.Reset(epoll_create1(EPOLL_CLOEXEC));
  if (!load->epoll_) return Failed("epoll_create1");
  for (size_t i = 0; i < connections; ++i) {
    absl::StatusOr<UniqueFd> fd = ConnectTo(port);
    if (!fd.ok()) return fd.status();
    epoll_event event = {.events = EPOLLIN, .data = {.u64 = i}};
    if (epoll_ctl(load->epoll_.get(), EPOLL_CTL_ADD, fd->get(), &event) != 0) {
      return Failed("epoll_ctl");
    }
    load->clients_.push_back({.fd = *std::move(fd), .first = i * 61});
  }
  return load;
}

absl::StatusOr<uint64_t> EchoLoad::Run(absl::Duration span) {
  const MonotonicTime deadline = Clock::System().Now() + span;
  for (Client& client : clients_) {
    const absl::Status status = Send(client, depth_);
    if (!status.ok()) return status;
  }
  size_t under_way = clients_.size() * depth_;
  uint64_t answered = 0;
  std::array<epoll_event, 512> events;
  while (under_way > 0) {
    const int count =
        epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()),
                   kSilenceSeconds * 1'000);
    if (count < 0 && errno == EINTR) continue;
    if (count == 0) errno = EAGAIN;
    if (count <= 0) return Failed("epoll_wait");
    const bool over = Clock::System().Now() >= deadline;
    for (int i = 0; i < count; ++i) {
      Client& client = clients_[events[i].data.u64];
      const absl::StatusOr<size_t> complete = Receive(client);
      if (!complete.ok()) return complete.status();
      answered += *complete;
      if (over) {
        under_way -= *complete;
        continue;
      }
      const absl::Status status = Send(client, *complete);
      if (!status.ok()) return status;
    }
  }
  return answered;
}

absl::Status EchoLoad::Send(Client& client, size_t messages) {
  if (messages == 0) return absl::OkStatus();
  const size_t size = messages * kMessageBytes;
  const absl::Status status =
      SendAll(client.fd, client.first + client.sent_bytes, size, MSG_DONTWAIT);
  if (!status.ok()) return status;
  client.sent_bytes += size;
  return absl::OkStatus();
}

absl::StatusOr<size_t> EchoLoad::Receive(Client& client) {
  const ssize_t got =
      recv(client.fd.get(), buffer, sizeof(buffer), MSG_DONTWAIT);
  if (got == 0) return HungUp();
  if (got < 0) {
    if (errno == EAGAIN || errno == EINTR) return size_t{0};
    return Failed("recv");
  }
  const uint64_t before = client.received_bytes;
  client.received_bytes += static_cast<uint64_t>(got);
  if (client.received_bytes > client.sent_bytes ||
      std::memcmp(buffer, Pattern(client.first + before),
                  static_cast<size_t>(got)) != 0) {
    return WrongEcho();
  }
  return client.received_bytes / kMessageBytes - before / kMessageBytes;
}

absl::StatusOr<uint64_t> LifeLoad::Run(absl::Duration span) {
  const MonotonicTime deadline = Clock::System().Now() + span;
  uint64_t lives = 0;
  do {
    const absl::Status status = Live(port_, lives);
    if (!status.ok()) return status;
    lives += kLivesAtATime;
  } while (lives < kMaxLives && Clock::System().Now() < deadline);
  return lives;
}

}  // namespace fio::bench
