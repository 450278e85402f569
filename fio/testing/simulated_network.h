// A SimulatedNetwork is a small kernel of connected TCP sockets, in memory.
// While one lives, it stands in the table of fio/base/syscalls.h: calls on its
// descriptors are answered here, as Linux answers them, all others go to the
// table that was in force before.
//
//   SimulatedNetwork network({.seed = 7, .short_read = 0.5});
//   SimulatedNetwork::Connection connection = network.Connect();
//   Socket socket(std::move(connection.near));
//   connection.peer.Send("hello");
//   connection.peer.Close();
//   network.Step();
//   socket.Read(out);
//
// The far end of each connection is a Peer, in the test's hand. What it sends
// has arrived when Send() returns, as far as the window allows; the rest, and
// all that time would do elsewhere, comes with Step(). Bytes that were received
// before an end or a reset stay readable, who sends to a closed end is reset,
// and to close with unread bytes resets.
//
// Its descriptors are numbers from kFirstFd on, the lowest free one first. They
// know recv, send, sendmsg, sendfile, poll (which never waits), shutdown,
// close, getsockname, getpeername, getsockopt, setsockopt and ioctl (SIOCOUTQ:
// what the peer has not taken). An idle connection takes less than 200 bytes.
//
// The same seed and the same calls in the same order do the same.
//
// Thread safety: none; and no other thread may make a call of the table while
// the network is made or dies. Other threads may use descriptors of the kernel.

#ifndef FIO_TESTING_SIMULATED_NETWORK_H_
#define FIO_TESTING_SIMULATED_NETWORK_H_

#include <sys/socket.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <queue>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fio/base/syscalls.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/event.h"
#include "fio/testing/fake_poller.h"
#include "fio/testing/internal/random.h"
#include "fio/testing/internal/simulated_connection.h"

namespace fio::testing {

// The far end of a simulated connection. Copies are the same end. One whose
// connection has ended, or whose network has gone, keeps what it has received
// and does nothing.
class Peer {
 public:
  // Of no connection.
  Peer() = default;

  // Takes all; what exceeds the near end's window is in flight until that has
  // been read.
  void Send(std::string_view bytes);
  // Ends its stream, behind what was sent.
  void ShutdownWrite();
  // The same, and nobody is there any more: what comes is answered by a reset.
  // At once a reset, if the peer has bytes that were not taken.
  void Close();
  // What is in flight is lost.
  void Reset();

  // What has arrived and was not taken yet; good until more arrives.
  std::string_view received() const;
  // The first `limit` bytes of that, or all.
  std::string TakeReceived(size_t limit = ~size_t{0});
  // All that ever arrived.
  uint64_t received_bytes() const;
  // False: what arrives is counted and forgotten.
  void KeepReceived(bool on);

  // How much the near end can send ahead: of what was not taken, or, with auto
  // read, in one step of the network. 0 is a peer that has stalled.
  void SetWindow(size_t bytes);
  // On, as at the beginning: the peer takes what arrives, so that its window is
  // open again in the next step. Off: only TakeReceived() opens it.
  void SetAutoRead(bool on);

  // What was sent and has not reached the near end.
  size_t in_flight_bytes() const;
  // The near end has ended its stream, or has reset the connection.
  bool saw_end() const;
  bool saw_reset() const;
  // Whether the near end's descriptor is open.
  bool is_connected() const;
  // The near end's descriptor, or what it was; -1 for a peer of no connection.
  int near_fd() const;

 private:
  friend class SimulatedNetwork;
  using Connection = testing_internal::SimulatedConnection;
  explicit Peer(std::shared_ptr<Connection> connection)
      : connection_(std::move(connection)) {}

  std::shared_ptr<Connection> connection_;
};

// How the network behaves; by default it is a good one. Likelihoods are from 0
// for never to 1 for always, for each call on one of its descriptors.
struct SimulatedNetworkOptions {
  uint64_t seed = 1;

  // What each end has room for before it reads.
  uint32_t window_bytes = 64 * 1024;

  // Of n bytes 1 to n - 1 are moved.
  double short_read = 0;
  double short_write = 0;
  // EAGAIN, though it is ready; it is told anew in the next step.
  double would_block = 0;
  // EINTR, at most kMaxInterrupts in a row.
  double interrupted = 0;
  // ENOBUFS: send, sendmsg. ENOMEM: those, recv and sendfile.
  double no_buffers = 0;
  double no_memory = 0;
  // The peer resets: for each call, and in each step for one connection.
  double reset = 0;
  // What peers send takes a step or more; each piece is cut this likely.
  double segmented = 0;

  // Whether trace() is kept.
  bool trace = false;
};

class SimulatedNetwork final
    : private testing_internal::SimulatedConnection::Host {
 public:
  static constexpr int kFirstFd = 1 << 20;
  static constexpr int kMaxInterrupts = 3;

  struct Connection {
    UniqueFd near;
    Peer peer;
  };

  // `poller`, if there is one, learns of every descriptor. It lives as long, or
  // until SetPoller(nullptr). REQUIRES: no other network lives.
  explicit SimulatedNetwork(const SimulatedNetworkOptions& options,
                            FakePoller* poller = nullptr);
  SimulatedNetwork() : SimulatedNetwork(SimulatedNetworkOptions()) {}
  SimulatedNetwork(const SimulatedNetwork&) = delete;
  SimulatedNetwork& operator=(const SimulatedNetwork&) = delete;
  // Its descriptors are closed; their numbers mean nothing any more. REQUIRES:
  // whoever has replaced the table since has put it back.
  ~SimulatedNetwork();

  // A new connection, established.
  Connection Connect();

  // Lets a moment pass: what is in flight arrives, windows open, and what was
  // cut short or refused is told anew. Returns whether anything was to do.
  bool Step();
  // Whether Step() has nothing to do.
  bool quiet() const { return moving_.empty(); }

  // nullptr: descriptors are told to nobody any more. REQUIRES: none is open,
  // or `poller` is null.
  void SetPoller(FakePoller* poller);

  // What is so for one of its open descriptors.
  Readiness readiness(int fd);

  // How many of its descriptors are open.
  size_t open_count() const { return open_count_; }
  // How many calls were made on them, and how many of these were failed, cut
  // short or met a reset by an option.
  uint64_t calls() const { return calls_; }
  uint64_t faults() const { return faults_; }

  // What has happened, a line each, for a person; with Options::trace.
  const std::string& trace() const { return trace_; }
  // Adds a line.
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
  Syscalls table_;  // What stands in force instead.
  testing_internal::Random random_;

  std::vector<std::shared_ptr<Link>> links_;  // From kFirstFd on.
  std::priority_queue<int, std::vector<int>, std::greater<int>> free_;
  size_t open_count_ = 0;

  uint32_t step_ = 1;
  std::vector<std::shared_ptr<Link>> moving_, moving_now_;

  uint64_t calls_ = 0;
  uint64_t faults_ = 0;
  std::string trace_;
};

}  // namespace fio::testing

#endif  // FIO_TESTING_SIMULATED_NETWORK_H_
