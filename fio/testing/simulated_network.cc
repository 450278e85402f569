#include "fio/testing/simulated_network.h"

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "fio/base/syscalls.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/event.h"
#include "fio/sock/socket_address.h"
#include "fio/testing/fake_poller.h"
#include "fio/testing/internal/simulated_connection.h"

namespace fio::testing {

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

// --- SimulatedNetwork ---

constinit std::atomic<SimulatedNetwork*> SimulatedNetwork::live_ = nullptr;

// What becomes of a call: an errno, or 0 and how much it may move.
struct SimulatedNetwork::Verdict {
  int error = 0;
  size_t size = 0;
};

SimulatedNetwork::SimulatedNetwork(const SimulatedNetworkOptions& options,
                                   FakePoller* poller)
    : options_(options), poller_(poller), random_(options.seed) {
  SimulatedNetwork* none = nullptr;
  ABSL_CHECK(live_.compare_exchange_strong(none, this))
      << "Only one SimulatedNetwork may live at a time";
  replaced_ = &Sys();
  table_ = TableOver(*replaced_);
  ReplaceSyscalls(&table_);
}

SimulatedNetwork::~SimulatedNetwork() {
  ABSL_CHECK(ReplaceSyscalls(replaced_) == &table_)
      << "What was put into the table later, as a FaultPlan, has to go before "
         "the SimulatedNetwork";
  live_ = nullptr;
  for (const std::shared_ptr<Link>& link : links_) {
    if (link != nullptr) link->Orphan();
  }
}

SimulatedNetwork::Connection SimulatedNetwork::Connect() {
  std::shared_ptr<Link> link = Open(Link::State::kConnected);
  return {.near = UniqueFd(link->fd()), .peer = Peer(std::move(link))};
}

std::shared_ptr<SimulatedNetwork::Link> SimulatedNetwork::Open(
    Link::State state) {
  const int fd = TakeNumber();
  Link::Host& host = *this;
  auto link = std::make_shared<Link>(host, fd, options_.window_bytes, state);
  links_[static_cast<size_t>(fd - kFirstFd)] = link;
  ++open_count_;
  if (poller_ != nullptr) poller_->Open(fd, link->readiness());
  if (options_.trace) Note(absl::StrCat("fd ", fd, " opens"));
  return link;
}

void SimulatedNetwork::Listen(const SocketAddress& address,
                              std::function<void(Peer)> on_connect) {
  makes_sockets_ = true;
  const bool added =
      listeners_.try_emplace(address, std::move(on_connect)).second;
  ABSL_CHECK(added) << "SimulatedNetwork::Listen: " << address
                    << " is listened at";
}

void SimulatedNetwork::StopListening(const SocketAddress& address) {
  ABSL_CHECK_EQ(listeners_.erase(address), 1u)
      << "SimulatedNetwork::StopListening: nobody listens at " << address;
}

int SimulatedNetwork::ConnectTo(Link& link, const sockaddr* to,
                                socklen_t size) {
  if (to->sa_family == AF_UNSPEC) return link.Disconnect();
  const absl::StatusOr<SocketAddress> address =
      SocketAddress::FromSockaddr(to, size);
  if (!address.ok()) return -EAFNOSUPPORT;
  if (!link.is_connecting()) return -EISCONN;
  const auto listener = listeners_.find(*address);
  if (listener == listeners_.end()) return -ECONNREFUSED;
  if (listener->second == nullptr) return -EINPROGRESS;
  link.Establish();
  servers_[link.fd()] = *address;
  // It may end the listener.
  const std::function<void(Peer)> on_connect = listener->second;
  on_connect(Peer(links_[static_cast<size_t>(link.fd() - kFirstFd)]));
  return -EINPROGRESS;  // As on Linux, which has established it by then.
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
  servers_.erase(fd);
  free_.push(fd);
  --open_count_;
  return 0;
}

}  // namespace fio::testing
