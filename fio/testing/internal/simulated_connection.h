// A SimulatedConnection simulates both ends of one TCP connection on Linux: the
// near end has a descriptor, the far end is a test's Peer. It does not use the
// table of descriptors, but notifies its Host of changes.
//
// Calls of the near end return what the system call does: a count, or a
// negative errno.
//
// Thread safety: none.

#ifndef FIO_TESTING_INTERNAL_SIMULATED_CONNECTION_H_
#define FIO_TESTING_INTERNAL_SIMULATED_CONNECTION_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/strings/cord.h"
#include "fio/core/poller/event.h"

namespace fio::testing_internal {

class SimulatedConnection {
 public:
  // The interface to the network.
  class Host {
   public:
    // The near end's readiness may have changed. Bits in `anew` are edges even
    // if they were set before.
    virtual void OnChange(SimulatedConnection& connection, Readiness anew) = 0;
    // Arrive() or Renew() is due in the next step.
    virtual void MoveLater(SimulatedConnection& connection) = 0;
    // For the trace.
    virtual void OnPeer(const SimulatedConnection& connection,
                        std::string_view what, size_t bytes) = 0;
    // Whether what a peer sends waits for the next step.
    virtual bool delays() const = 0;
    // Counts the steps.
    virtual uint32_t step() const = 0;

   protected:
    ~Host() = default;
  };

  static constexpr size_t kAll = ~size_t{0};

  enum class State : uint8_t { kConnecting, kConnected };

  // `host` lives until Orphan(), or until the near end is closed.
  SimulatedConnection(Host& host, int fd, uint32_t window_bytes, State state)
      : host_(&host),
        far_window_(window_bytes),
        fd_(fd),
        near_window_(window_bytes),
        flags_(state == State::kConnecting ? kConnecting : 0) {}
  SimulatedConnection(const SimulatedConnection&) = delete;
  SimulatedConnection& operator=(const SimulatedConnection&) = delete;

  // --- The near end ---

  int fd() const { return fd_; }
  bool is_open() const { return host_ != nullptr; }
  // Nobody has answered it yet.
  bool is_connecting() const { return Has(kConnecting); }
  void Establish();
  // A reset, or both ends have ended their streams, or none has begun.
  bool is_disconnected() const {
    return Has(kReset | kConnecting) || (Has(kWriteEnded) && Has(kEndArrived));
  }
  Readiness readiness() const;

  ssize_t Receive(char* out, size_t size, bool peek);
  // How many bytes Send() takes now, 0 if it would fail.
  size_t Room() const;
  ssize_t Send(std::string_view bytes);
  // How many sent bytes the peer has not taken.
  size_t untaken() const;
  // For a call that was partial because there was no more room.
  void WantRoom();
  int Shutdown(int how);
  // connect(2) to nobody: a reset.
  int Disconnect();
  int TakeError();
  void SetResetOnClose(bool on) {
    on ? Set(kResetOnClose) : Clear(kResetOnClose);
  }
  void Close();
  // The network is destroyed, and with it the descriptor.
  void Orphan() { host_ = nullptr; }

  // --- On the wire ---

  // At most `limit` bytes, and then the end, arrive at the near end, as far as
  // its window allows.
  void Arrive(size_t limit = kAll);
  // Reports to the near end the room that it has, and the edges of
  // RenewLater().
  void Renew();
  void RenewLater();
  size_t in_flight_bytes() const { return in_flight_.size(); }
  // For the host: whether this is in its list.
  bool moves() const { return Has(kMoves); }
  void SetMoves(bool moves) { moves ? Set(kMoves) : Clear(kMoves); }

  // --- The far end ---

  void PeerSend(std::string_view bytes);
  void PeerShutdownWrite();
  void PeerClose();
  void PeerReset();
  void SetWindow(size_t bytes);
  void SetAutoRead(bool on);
  void KeepReceived(bool on) { on ? Clear(kForgets) : Set(kForgets); }
  std::string_view received() { return received_.Flatten(); }
  std::string TakeReceived(size_t limit);
  uint64_t received_bytes() const { return received_bytes_; }
  bool saw_end() const { return Has(kSawEnd); }
  bool saw_reset() const { return Has(kSawReset); }
  bool peer_is_open() const { return !Has(kPeerClosed | kSawReset); }

  // In a row; for the host.
  uint8_t interrupts = 0;

 private:
  enum Flag : uint16_t {
    kEndSent = 1 << 0,  // The peer ended its stream; in flight if not:
    kEndArrived = 1 << 1,
    kReset = 1 << 2,       // The peer's reset has arrived.
    kWriteEnded = 1 << 3,  // shutdown(2).
    kReadEnded = 1 << 4,
    kResetOnClose = 1 << 5,
    kPeerClosed = 1 << 6,
    kSawEnd = 1 << 7,
    kSawReset = 1 << 8,
    kLeavesUnread = 1 << 9,  // SetAutoRead(false).
    kForgets = 1 << 10,      // received_ is counted, not kept.
    kBlocked = 1 << 11,      // A writer waits for room.
    kMoves = 1 << 12,
    kRenew = 1 << 13,
    kConnecting = 1 << 14,
  };

  bool Has(unsigned flags) const { return flags_ & flags; }
  void Set(unsigned flags) { flags_ |= static_cast<uint16_t>(flags); }
  void Clear(unsigned flags) { flags_ &= static_cast<uint16_t>(~flags); }

  void Changed(uint32_t anew = 0);
  void ArriveSoon();
  void TakeReset();
  void Unblock();

  Host* host_;            // Null once the near end is closed.
  absl::Cord arrived_;    // At the near end, not yet read.
  absl::Cord in_flight_;  // To the near end.
  absl::Cord received_;   // By the peer.
  uint64_t received_bytes_ = 0;
  size_t untaken_ = 0;  // Of what the peer's window has; see untaken().
  size_t far_window_;
  uint32_t untaken_step_ = 0;
  const int fd_;
  uint32_t near_window_;
  uint16_t flags_;
  uint16_t error_ = 0;  // SO_ERROR.
};

}  // namespace fio::testing_internal

#endif  // FIO_TESTING_INTERNAL_SIMULATED_CONNECTION_H_
