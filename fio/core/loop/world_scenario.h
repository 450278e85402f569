// What world_fuzz.cc plays: peers, the network and user code in a World, as the
// input has it. Whatever they do, each protocol is told OnOpen() first and
// OnClose() once and last, bytes arrive whole and in order both ways,
// everything that was promised once happens once, and the loop ends.

#ifndef FIO_CORE_LOOP_WORLD_SCENARIO_H_
#define FIO_CORE_LOOP_WORLD_SCENARIO_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/strings/cord.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_group.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/loop/protocol_lock.h"
#include "fio/sock/socket.h"
#include "fio/testing/simulated_network.h"
#include "fio/testing/world.h"

namespace fio::loop_internal {

// A byte for each decision, until none is left.
class Input {
 public:
  explicit Input(absl::Span<const uint8_t> bytes) : bytes_(bytes) {}

  bool empty() const { return bytes_.empty(); }
  // 0 once there is nothing left.
  uint8_t Next() {
    if (bytes_.empty()) return 0;
    const uint8_t next = bytes_.front();
    bytes_.remove_prefix(1);
    return next;
  }
  size_t Below(size_t end) { return Next() % end; }
  // Of each size about as often.
  size_t Size() {
    const uint8_t next = Next();
    return (size_t{1} << (next % 16)) + next / 18;
  }

 private:
  absl::Span<const uint8_t> bytes_;
};

// The stream that each side sends, so that an offset says what is there.
std::string StreamPart(uint64_t begin, size_t size);
void CheckStream(uint64_t begin, std::string_view bytes);

// One connection as it should be.
struct Link {
  testing::Peer peer;
  ConnectionId id;

  uint64_t sent = 0;     // By the peer,
  uint64_t arrived = 0;  // of this, at least, in the near end's kernel,
  uint64_t read = 0;     // and by the protocol.
  bool peer_ended = false;
  bool peer_gone = false;  // By Close() or Reset().

  uint64_t written = 0;  // Taken by the connection,
  uint64_t taken = 0;    // and checked at the peer.

  bool closed = false;      // By Close(),
  bool given_up = false;    // Abort(), Release() or a limit.
  bool read_ended = false;  // By ShutdownRead().
};

class Scenario;

class Probe final : public Protocol {
 public:
  Probe(Scenario& scenario, Link& link);
  ~Probe() override;

  void OnOpen(Connection& connection) override;
  void OnData(Connection& connection) override;
  void OnReady(Connection& connection) override { Told(connection); }
  void OnHighWater(Connection& connection) override { Told(connection); }
  void OnLowWater(Connection& connection) override { Told(connection); }
  void OnEnd(Connection& connection) override;
  void OnTimeout(Connection& connection) override { Told(connection); }
  absl::Duration OnShutdown(Connection& connection) override;
  void OnClose(Connection& connection, const CloseReason& reason) override;

 private:
  void Enter();
  void Told(Connection& connection);

  Scenario& scenario_;
  Link& link_;
  bool open_ = false;
  bool closed_ = false;
  bool runs_ = false;
  bool end_told_ = false;
};

class Scenario {
 public:
  explicit Scenario(absl::Span<const uint8_t> bytes)
      : input_(bytes), world_(Options()), group_(world_.loop()) {}

  void Run();

  // --- For probes ---

  Input& input() { return input_; }
  // What user code does; `link` is whose callback runs.
  void Act(Link& link);
  int probes = 0;  // Alive.
  int callbacks = 0;
  bool stopped = false;

 private:
  // Something that must have happened once by the end.
  struct Promise {
    ~Promise() { ABSL_CHECK(times == 1 || (times == 0 && optional)); }
    void Happens() { ABSL_CHECK_EQ(++times, 1); }
    int times = 0;
    bool optional = false;
  };

  testing::WorldOptions Options();
  Loop& loop() { return world_.loop(); }
  std::unique_ptr<Protocol> NewProbe(Link& link) {
    return std::make_unique<Probe>(*this, link);
  }

  void Connect();
  void ReAdopt(Link& link, Socket socket);
  void Operate(Link& link);
  void WriteTo(Link& link, Connection& connection);
  absl::Cord NewCord(Link& link, size_t size);
  void MoveWorld();
  void MovePeer(Link& link);
  void Note();
  void CheckPeer(Link& link);
  void Settle();
  bool HasSettled();
  void End();

  Input input_;
  bool resets_ = false;       // The network resets at will,
  bool hides_bytes_ = false;  // or says that there is nothing to read.
  testing::World world_;
  ConnectionGroup group_;
  std::deque<Link> links_;
  std::vector<ProtocolLock> locks_;
};

}  // namespace fio::loop_internal

#endif  // FIO_CORE_LOOP_WORLD_SCENARIO_H_
