#include "fio/testing/internal/simulated_connection.h"

#include <sys/socket.h>
#include <sys/types.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/cord.h"
#include "fio/core/poller/event.h"

// What Linux does where RFC 9293 leaves a choice is told by the functions of
// net/ipv4/tcp.c and tcp_input.c that are named below.

namespace fio::testing_internal {
namespace {

// A change of state wakes everybody.
constexpr uint32_t kEverything = ~uint32_t{0};

void CopyFront(const absl::Cord& from, char* out, size_t size) {
  for (const std::string_view chunk : from.Chunks()) {
    const size_t part = std::min(size, chunk.size());
    if (part == 0) return;
    std::memcpy(out, chunk.data(), part);
    out += part;
    size -= part;
  }
}

}  // namespace

// --- The near end ---

// tcp_poll()
Readiness SimulatedConnection::readiness() const {
  if (is_connecting()) return Readiness();
  uint32_t bits = 0;
  const bool no_reads = Has(kReadEnded | kEndArrived | kReset);
  const bool no_writes = Has(kWriteEnded | kReset);
  if (no_reads && no_writes) bits |= Readiness::kHangUp;
  if (no_reads) bits |= Readiness::kReadable | Readiness::kReadClosed;
  if (!arrived_.empty()) bits |= Readiness::kReadable;
  if (no_writes || untaken() < far_window_) bits |= Readiness::kWritable;
  if (error_ != 0) bits |= Readiness::kError;
  return Readiness(bits);
}

void SimulatedConnection::Establish() {
  Clear(kConnecting);
  Changed(kEverything);
}

// tcp_recvmsg_locked(): bytes first, then the end, then the error.
ssize_t SimulatedConnection::Receive(char* out, size_t size, bool peek) {
  if (size == 0) return 0;
  if (!arrived_.empty()) {
    const size_t taken = std::min(size, arrived_.size());
    CopyFront(arrived_, out, taken);
    if (peek) return static_cast<ssize_t>(taken);
    arrived_.RemovePrefix(taken);
    if (!in_flight_.empty()) host_->MoveLater(*this);
    Changed();
    return static_cast<ssize_t>(taken);
  }
  if (Has(kEndArrived)) return 0;
  if (error_ != 0) return -TakeError();
  return Has(kReadEnded | kReset) ? 0 : -EAGAIN;
}

size_t SimulatedConnection::Room() const {
  if (error_ != 0 || Has(kWriteEnded | kReset)) return 0;
  return far_window_ - std::min(untaken(), far_window_);
}

// tcp_sendmsg_locked()
ssize_t SimulatedConnection::Send(std::string_view bytes) {
  if (is_connecting()) return -EAGAIN;
  if (error_ != 0) return -TakeError();
  if (Has(kWriteEnded | kReset)) return -EPIPE;
  if (bytes.empty()) return 0;
  if (Has(kPeerClosed)) {
    TakeReset();  // Nobody is there any more.
    return static_cast<ssize_t>(bytes.size());
  }
  const size_t taken = std::min(bytes.size(), Room());
  if (taken < bytes.size()) WantRoom();
  if (taken == 0) return -EAGAIN;
  untaken_ = untaken() + taken;
  untaken_step_ = host_->step();
  received_bytes_ += taken;
  if (!Has(kForgets)) received_.Append(bytes.substr(0, taken));
  Changed();
  return static_cast<ssize_t>(taken);
}

void SimulatedConnection::WantRoom() {
  Set(kBlocked);
  if (!Has(kLeavesUnread)) host_->MoveLater(*this);
}

// inet_shutdown()
int SimulatedConnection::Shutdown(int how) {
  const bool disconnected = is_disconnected();
  if (how != SHUT_WR) Set(kReadEnded);
  if (how != SHUT_RD) {
    Set(kWriteEnded);
    if (!disconnected) Set(kSawEnd);
  }
  Changed(kEverything);
  return disconnected ? -ENOTCONN : 0;
}

// tcp_disconnect()
int SimulatedConnection::Disconnect() {
  if (!is_disconnected()) Set(kSawReset);
  Set(kReset);
  arrived_.Clear();
  in_flight_.Clear();
  Changed(kEverything);
  return 0;
}

int SimulatedConnection::TakeError() {
  const int error = std::exchange(error_, uint16_t{0});
  if (error != 0) Changed();
  return error;
}

// __tcp_close(): what is unread makes it a reset; RFC 2525, section 2.17.
void SimulatedConnection::Close() {
  if (!is_disconnected()) {
    if (!arrived_.empty() || Has(kResetOnClose)) {
      Set(kSawReset);
    } else {
      Set(kSawEnd);
      if (!in_flight_.empty()) Set(kSawReset);
    }
  }
  arrived_.Clear();
  in_flight_.Clear();
  host_ = nullptr;
}

// --- On the wire ---

void SimulatedConnection::Arrive(size_t limit) {
  if (!is_open() || Has(kReset)) return;
  if (!in_flight_.empty() && Has(kReadEnded) && Has(kWriteEnded)) {
    Set(kSawReset);  // tcp_rcv_state_process(): nobody would ever read it.
    TakeReset();
    return;
  }
  const size_t room =
      near_window_ - std::min<size_t>(near_window_, arrived_.size());
  const size_t moved = std::min({limit, room, in_flight_.size()});
  if (moved == in_flight_.size()) {
    arrived_.Append(std::exchange(in_flight_, absl::Cord()));
  } else {
    arrived_.Append(in_flight_.Subcord(0, moved));
    in_flight_.RemovePrefix(moved);
  }
  const bool ends =
      in_flight_.empty() && moved < limit && Has(kEndSent) && !Has(kEndArrived);
  if (ends) Set(kEndArrived);
  if (moved > 0 || ends) {
    Changed(ends ? kEverything : uint32_t{Readiness::kReadable});
  }
  // Cut short by the limit, not by the window.
  if (moved == limit &&
      (!in_flight_.empty() || (Has(kEndSent) && !Has(kEndArrived)))) {
    host_->MoveLater(*this);
  }
}

void SimulatedConnection::Renew() {
  if (!is_open()) return;
  if (Has(kRenew)) {
    Clear(kRenew);
    Changed(kEverything);
  }
  Unblock();
}

void SimulatedConnection::RenewLater() {
  Set(kRenew);
  host_->MoveLater(*this);
}

void SimulatedConnection::Changed(uint32_t anew) {
  if (is_open()) host_->OnChange(*this, Readiness(anew));
}

void SimulatedConnection::ArriveSoon() {
  if (host_->delays()) {
    host_->MoveLater(*this);
  } else {
    Arrive();
  }
}

// tcp_reset(): what has arrived stays, what is in flight does not.
void SimulatedConnection::TakeReset() {
  if (!is_open() || is_disconnected()) return;
  error_ = Has(kEndArrived) ? EPIPE : ECONNRESET;
  Set(kReset);
  in_flight_.Clear();
  Changed(kEverything);
}

// --- The far end ---

// A peer that takes by itself has done so by the next step.
size_t SimulatedConnection::untaken() const {
  const bool taken = host_ == nullptr || host_->step() != untaken_step_;
  return taken && !Has(kLeavesUnread) ? 0 : untaken_;
}

void SimulatedConnection::PeerSend(std::string_view bytes) {
  if (bytes.empty() || Has(kEndSent | kSawReset | kReset)) return;
  if (!is_open()) {
    Set(kSawReset);
    return;
  }
  host_->OnPeer(*this, "sends", bytes.size());
  in_flight_.Append(bytes);
  ArriveSoon();
}

void SimulatedConnection::PeerShutdownWrite() {
  if (Has(kEndSent | kSawReset | kReset)) return;
  Set(kEndSent);
  if (!is_open()) return;
  host_->OnPeer(*this, "ends", 0);
  ArriveSoon();
}

void SimulatedConnection::PeerClose() {
  if (!peer_is_open()) return;
  if (untaken() > 0 && Has(kLeavesUnread)) {
    PeerReset();
    return;
  }
  PeerShutdownWrite();
  Set(kPeerClosed);
}

void SimulatedConnection::PeerReset() {
  if (!peer_is_open()) return;
  Set(kPeerClosed | kEndSent);
  if (!is_open()) return;
  host_->OnPeer(*this, "resets", 0);
  TakeReset();
}

void SimulatedConnection::SetWindow(size_t bytes) {
  far_window_ = bytes;
  Unblock();
}

void SimulatedConnection::SetAutoRead(bool on) {
  const size_t left = untaken();
  on ? Clear(kLeavesUnread) : Set(kLeavesUnread);
  untaken_ = on ? 0 : left;
  Unblock();
}

std::string SimulatedConnection::TakeReceived(size_t limit) {
  const size_t size = std::min(limit, received_.size());
  std::string taken(received_.Subcord(0, size));
  received_.RemovePrefix(size);
  untaken_ -= std::min(untaken_, limit);
  Unblock();
  return taken;
}

void SimulatedConnection::Unblock() {
  if (!is_open()) return;
  const bool unblocks = Has(kBlocked) && untaken() < far_window_;
  if (unblocks) Clear(kBlocked);
  Changed(unblocks ? uint32_t{Readiness::kWritable} : 0);
}

}  // namespace fio::testing_internal
