// A SimulatedNetwork simulates connected TCP sockets in memory. During its
// lifetime it replaces the table of fio/base/syscalls.h: calls on its
// descriptors behave as on Linux; all others are forwarded to the previous
// table.
//
//   SimulatedNetwork network({.seed = 7, .short_read = 0.5});
//   SimulatedNetwork::Connection connection = network.Connect();
//   Socket socket(std::move(connection.near));
//   connection.peer.Send("hello");
//   connection.peer.Close();
//   network.Step();
//   socket.Read(out);
//
// The far end of each connection is a Peer, which the test controls. Bytes that
// it sends have arrived when Send() returns, up to the window; the rest arrives
// by Step(). Bytes that arrived before an end or a reset stay readable. Sending
// to a closed end, and closing with unread bytes, cause a reset.
//
// Its descriptors are numbers from kFirstFd on, the lowest free one first. They
// support recv, send, sendmsg, sendfile, poll (which never waits), shutdown,
// close, getsockname, getpeername, getsockopt, setsockopt, fcntl (F_GETFL) and
// ioctl (SIOCOUTQ: the bytes that the peer has not taken), and connect to
// AF_UNSPEC, which resets. An idle connection takes less than 200 bytes.
//
// After the first Listen() the network also has the TCP sockets that socket(2)
// creates. They support bind, which takes any address, and connect, which is
// refused if nobody listens at the address.
//
// The same seed and the same calls in the same order give the same results.
//
// Thread safety: none. No other thread may make a call of the table while the
// network is created or destroyed. Other threads may use descriptors of the
// kernel.

#ifndef FIO_TESTING_SIMULATED_NETWORK_H_
#define FIO_TESTING_SIMULATED_NETWORK_H_

#include <sys/socket.h>
#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <queue>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "fio/base/syscalls.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/event.h"
#include "fio/sock/socket_address.h"
#include "fio/testing/fake_poller.h"
#include "fio/testing/internal/random.h"
#include "fio/testing/internal/simulated_connection.h"

namespace fio::testing {

// The far end of a simulated connection. Copies refer to the same end. When the
// connection has ended or the network is destroyed, it keeps what it has
// received, and its other methods do nothing.
class Peer {
 public:
  // A peer without a connection.
  Peer() = default;

  // Accepts all bytes. What exceeds the near end's window is in flight until
  // the near end reads.
  void Send(std::string_view bytes);
  // Ends its stream, after what was sent.
  void ShutdownWrite();
  // Ends its stream; bytes that arrive later are answered with a reset. If
  // bytes have arrived that were not taken, resets at once.
  void Close();
  // Resets the connection. Bytes in flight are lost.
  void Reset();

  // Bytes that have arrived and were not taken. Valid until more arrive or are
  // taken.
  std::string_view received() const;
  // Takes and returns the first `limit` of those bytes, or all.
  std::string TakeReceived(size_t limit = ~size_t{0});
  // How many bytes have arrived so far.
  uint64_t received_bytes() const;
  // False: bytes that arrive are counted, but not kept.
  void KeepReceived(bool on);

  // How many bytes the near end can send before they are taken, or, with auto
  // read, in one step of the network. 0: the peer stalls.
  void SetWindow(size_t bytes);
  // True, as at the start: the window opens again in each step. False: only
  // TakeReceived() opens it.
  void SetAutoRead(bool on);

  // How many bytes were sent and have not reached the near end.
  size_t in_flight_bytes() const;
  // Whether the near end has ended its stream, or has reset the connection.
  bool saw_end() const;
  bool saw_reset() const;
  // Whether the near end's descriptor is open.
  bool is_connected() const;
  // The near end's descriptor, also after it was closed; -1 for a peer without
  // a connection.
  int near_fd() const;

 private:
  friend class SimulatedNetwork;
  using Connection = testing_internal::SimulatedConnection;
  explicit Peer(std::shared_ptr<Connection> connection)
      : connection_(std::move(connection)) {}

  std::shared_ptr<Connection> connection_;
};

// How the network behaves; by default without faults. Likelihoods are from 0
// for never to 1 for always, for each call on one of its descriptors.
struct SimulatedNetworkOptions {
  uint64_t seed = 1;

  // How many unread bytes each end can hold.
  uint32_t window_bytes = 64 * 1024;

  // Of n bytes 1 to n - 1 are moved.
  double short_read = 0;
  double short_write = 0;
  // EAGAIN, although it is ready; readiness is reported again in the next step.
  double would_block = 0;
  // EINTR, at most kMaxInterrupts in a row.
  double interrupted = 0;
  // ENOBUFS: send, sendmsg. ENOMEM: those, recv and sendfile.
  double no_buffers = 0;
  double no_memory = 0;
  // The peer resets: for each call, and in each step for one connection.
  double reset = 0;
  // Bytes that peers send take one step or more; the likelihood that a piece is
  // cut.
  double segmented = 0;

  // Whether trace() is recorded.
  bool trace = false;
};

class SimulatedNetwork final
    : private testing_internal::SimulatedConnection::Host {
 public:
  static constexpr int kFirstFd = 1 << 16;
  static constexpr int kMaxInterrupts = 3;

  struct Connection {
    UniqueFd near;
    Peer peer;
  };

  // `poller`, if not null, gets every descriptor and its readiness. It must
  // outlive the network, or live until SetPoller(nullptr). REQUIRES: no other
  // network exists.
  explicit SimulatedNetwork(const SimulatedNetworkOptions& options,
                            FakePoller* poller = nullptr);
  SimulatedNetwork() : SimulatedNetwork(SimulatedNetworkOptions()) {}
  SimulatedNetwork(const SimulatedNetwork&) = delete;
  SimulatedNetwork& operator=(const SimulatedNetwork&) = delete;
  // Closes its descriptors; their numbers are invalid afterwards. REQUIRES: a
  // table that has replaced this one since was removed again.
  ~SimulatedNetwork();

  // A new connection, established.
  Connection Connect();

  // From now on connect(2) to `address` makes a connection and, before it
  // returns, calls `on_connect` with the far end. If `on_connect` is null, the
  // host does not answer: the connection is never established. REQUIRES:
  // `address` has an IP address and a port, and is not listened at.
  void Listen(const SocketAddress& address,
              std::function<void(Peer)> on_connect);
  // Established connections stay. REQUIRES: `address` is listened at.
  void StopListening(const SocketAddress& address);

  // Simulates a short time: bytes in flight arrive, windows open, and readiness
  // that a fault has hidden is reported again. Returns whether there was
  // anything to do.
  bool Step();
  // Whether Step() has nothing to do.
  bool quiet() const { return moving_.empty(); }

  // Replaces the poller; null: none. REQUIRES: no descriptor is open, or
  // `poller` is null.
  void SetPoller(FakePoller* poller);

  // The readiness of one of its open descriptors.
  Readiness readiness(int fd);

  // How many of its descriptors are open.
  size_t open_count() const { return open_count_; }
  // How many calls were made on its descriptors, and how many of them an option
  // made fail, partial or reset.
  uint64_t calls() const { return calls_; }
  uint64_t faults() const { return faults_; }

  // The events so far, one per line, for people to read. Empty without
  // SimulatedNetworkOptions::trace.
  const std::string& trace() const { return trace_; }
  // Adds a line to the trace.
  void Note(std::string_view what);

 private:
  using Link = testing_internal::SimulatedConnection;
  struct Table;
  struct Verdict;

  void OnChange(Link& link, Readiness anew) override;
  void MoveLater(Link& link) override;
  void OnPeer(const Link& link, std::string_view what, size_t bytes) override;
  bool delays() const override { return options_.segmented > 0; }
  uint32_t step() const override { return step_; }

  // Of the one that lives.
  static std::atomic<SimulatedNetwork*> live_;
  static Syscalls TableOver(const Syscalls& replaced);

  // A new descriptor.
  std::shared_ptr<Link> Open(Link::State state);
  int ConnectTo(Link& link, const sockaddr* to, socklen_t size);

  // Null if the descriptor is not one of its own.
  Link* Find(int fd) const;
  int TakeNumber();
  void Move(Link& link);
  void ResetOne();
  Verdict Judge(Link& link, bool reads, bool buffers, size_t size);
  ssize_t Finish(const Link& link, std::string_view call, ssize_t result);

  ssize_t Recv(Link& link, void* out, size_t size, int flags);
  ssize_t Send(Link& link, std::string_view bytes);
  ssize_t Sendmsg(Link& link, const msghdr& message);
  ssize_t Sendfile(Link& link, int file, off_t* offset, size_t size);
  int Close(Link& link);

  const SimulatedNetworkOptions options_;
  FakePoller* poller_;
  const Syscalls* replaced_;
  Syscalls table_;  // The current table meanwhile.
  testing_internal::Random random_;

  std::vector<std::shared_ptr<Link>> links_;  // From kFirstFd on.
  std::priority_queue<int, std::vector<int>, std::greater<int>> free_;
  size_t open_count_ = 0;

  bool makes_sockets_ = false;
  absl::flat_hash_map<SocketAddress, std::function<void(Peer)>> listeners_;
  // Whom its own sockets have connected to, by descriptor.
  absl::flat_hash_map<int, SocketAddress> servers_;

  uint32_t step_ = 1;
  std::vector<std::shared_ptr<Link>> moving_, moving_now_;

  uint64_t calls_ = 0;
  uint64_t faults_ = 0;
  std::string trace_;
};

}  // namespace fio::testing

#endif  // FIO_TESTING_SIMULATED_NETWORK_H_
