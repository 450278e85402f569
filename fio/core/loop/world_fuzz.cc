#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_group.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/loop/protocol_lock.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/sock/file_range.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"
#include "fio/testing/memory_file.h"
#include "fio/testing/simulated_network.h"
#include "fio/testing/world.h"

// The input says what peers, the network and user code do in a World: a byte
// for each decision, until none is left. Whatever they do, each protocol is
// told OnOpen() first and OnClose() once and last, bytes arrive whole and in
// order both ways, everything that was promised once happens once, and the loop
// ends.

namespace fio {
namespace {

using testing::MemoryFile;
using testing::Peer;
using testing::World;
using testing::WorldOptions;

constexpr size_t kMaxLinks = 40;

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
char StreamByte(uint64_t offset) {
  return static_cast<char>((offset * 0x9E3779B97F4A7C15U) >> 56);
}

std::string StreamPart(uint64_t begin, size_t size) {
  std::string part(size, '\0');
  for (size_t i = 0; i < size; ++i) part[i] = StreamByte(begin + i);
  return part;
}

void CheckStream(uint64_t begin, std::string_view bytes) {
  for (size_t i = 0; i < bytes.size(); ++i) {
    ABSL_CHECK_EQ(bytes[i], StreamByte(begin + i)) << "at " << begin + i;
  }
}

// One connection as it should be.
struct Link {
  Peer peer;
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

  WorldOptions Options();
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
  World world_;
  ConnectionGroup group_;
  std::deque<Link> links_;
  std::vector<ProtocolLock> locks_;
};

Probe::Probe(Scenario& scenario, Link& link)
    : scenario_(scenario), link_(link) {
  ++scenario_.probes;
}

Probe::~Probe() {
  ABSL_CHECK(closed_);
  --scenario_.probes;
}

void Probe::Enter() {
  ABSL_CHECK(open_);
  ABSL_CHECK(!closed_);
  ABSL_CHECK(!runs_);
}

void Probe::Told(Connection& connection) {
  Enter();
  ABSL_CHECK(connection.id() == link_.id);
  runs_ = true;
  ++scenario_.callbacks;
  scenario_.Act(link_);
  --scenario_.callbacks;
  runs_ = false;
}

void Probe::OnOpen(Connection& connection) {
  ABSL_CHECK(!open_);
  open_ = true;
  link_.id = connection.id();
  Told(connection);
}

void Probe::OnData(Connection& connection) {
  Enter();
  Input& input = scenario_.input();
  const size_t how = input.Below(8);
  if (how == 1) {
    char bytes[7];
    const size_t n = connection.Read(absl::MakeSpan(bytes));
    CheckStream(link_.read, {bytes, n});
    link_.read += n;
  } else if (how != 2 || input.empty()) {
    const std::string_view received = connection.Received();
    CheckStream(link_.read, received);
    link_.read += received.size();
  }
  ABSL_CHECK_LE(link_.read, link_.sent);
  Told(connection);
}

void Probe::OnEnd(Connection& connection) {
  ABSL_CHECK(!end_told_);
  end_told_ = true;
  if (!link_.read_ended) {
    ABSL_CHECK(link_.peer_ended);
    ABSL_CHECK_EQ(link_.read, link_.sent);
  }
  Told(connection);
  if (scenario_.input().Below(2) == 0 && connection.is_open()) {
    link_.closed = true;
    connection.Close();
  }
}

absl::Duration Probe::OnShutdown(Connection& connection) {
  Told(connection);
  switch (scenario_.input().Below(4)) {
    case 1:
      return absl::Seconds(1);
    case 2:
      return absl::InfiniteDuration();
    default:
      return absl::ZeroDuration();
  }
}

void Probe::OnClose(Connection& connection, const CloseReason& reason) {
  ABSL_CHECK(!closed_);
  ABSL_CHECK_EQ(scenario_.callbacks, 0);
  closed_ = true;
  if (reason.origin == CloseReason::Origin::kReleased) {
    ABSL_CHECK(link_.given_up);
  } else if (reason.origin != CloseReason::Origin::kReplaced &&
             reason.error != EBADF) {
    ABSL_CHECK_EQ(connection.pending_bytes(), 0u);
    ABSL_CHECK_EQ(connection.pending_calls(), 0u);
    // A failure of the peer's comes behind all that has arrived.
    if ((reason.error == ECONNRESET || reason.error == EPIPE) &&
        !link_.closed && !link_.given_up && !link_.read_ended &&
        !scenario_.stopped) {
      ABSL_CHECK_GE(link_.read, link_.arrived) << "error " << reason.error;
    }
  }
  ++scenario_.callbacks;
  scenario_.Act(link_);
  --scenario_.callbacks;
}

// --- The world ---

WorldOptions Scenario::Options() {
  WorldOptions options;
  const auto likelihood = [this](size_t one_in) {
    const uint8_t drawn = input_.Next();
    const size_t strength = drawn / one_in + 1;
    return drawn % one_in == 1 ? static_cast<double>(strength) * 0.004 : 0;
  };
  options.seed = input_.Next();
  options.shuffle_events = input_.Below(2) == 1;
  options.network.window_bytes = static_cast<uint32_t>(
      input_.Below(2) == 1 ? 500 + input_.Size() : 1 << 16);
  options.network.short_read = likelihood(4);
  options.network.short_write = likelihood(4);
  options.network.would_block = likelihood(4);
  options.network.interrupted = likelihood(4);
  options.network.no_buffers = likelihood(4);
  options.network.no_memory = likelihood(4);
  options.network.segmented = likelihood(4);
  options.network.reset = likelihood(16) / 16;
  resets_ = options.network.reset > 0;
  hides_bytes_ =
      options.network.would_block > 0 || options.network.no_memory > 0;
  if (input_.Below(2) == 1) {
    options.loop.receive_buffer_bytes = 500 + input_.Size();
  }
  if (input_.Below(2) == 1) {
    options.loop.read_budget_bytes = 500 + input_.Size();
  }
  if (input_.Below(2) == 1) options.loop.watermarks.high_bytes = input_.Size();
  if (input_.Below(8) == 1) {
    options.loop.watermarks.limit_bytes = 4 * input_.Size();
  }
  return options;
}

void Scenario::Connect() {
  if (links_.size() >= kMaxLinks) return;
  Link& link = links_.emplace_back();
  std::pair<Socket, Peer> made = world_.MakeConnection();
  link.peer = std::move(made.second);
  if (input_.Below(4) == 1) {
    link.peer.Send(StreamPart(0, 100));
    link.sent = 100;
  }
  ReAdopt(link, std::move(made.first));
}

void Scenario::ReAdopt(Link& link, Socket socket) {
  const absl::StatusOr<ConnectionId> id =
      loop().Adopt(std::move(socket), [&](Connection& connection) {
        link.id = connection.id();
        if (input_.Below(16) == 1) {
          Act(link);
        } else {
          connection.Attach(NewProbe(link));
        }
      });
  if (!id.ok()) link.given_up = true;
}

// --- User code ---

void Scenario::Act(Link& link) {
  const size_t count = input_.Below(4);
  for (size_t i = 0; i < count && !input_.empty(); ++i) {
    Operate(input_.Below(3) == 1 ? links_[input_.Below(links_.size())] : link);
  }
}

absl::Cord Scenario::NewCord(Link& link, size_t size) {
  auto memory = std::make_shared<std::string>(StreamPart(link.written, size));
  auto promise = std::make_shared<Promise>();
  const std::string_view view = *memory;
  return absl::MakeCordFromExternal(
      view, [this, memory, promise, &link](std::string_view) {
        promise->Happens();
        Act(link);
      });
}

// The count is first, since a callback inside of the call may write, too.
void Scenario::WriteTo(Link& link, Connection& connection) {
  const uint64_t begin = link.written;
  bool taken = false;
  size_t size = input_.Size();
  switch (input_.Below(6)) {
    case 1:
      taken = connection.Write(NewCord(link, size));
      break;
    case 2:
      taken = connection.Write(
          *FileRange::Own(MemoryFile(StreamPart(begin, size))));
      break;
    case 3: {
      const IoResult result =
          connection.TryWrite(StreamPart(begin, size), Socket::More::kNo);
      size = result.bytes;
      taken = true;
      break;
    }
    default:
      taken = connection.Write(StreamPart(begin, size));
      break;
  }
  if (taken) {
    // What wrote meanwhile was told the same place in the stream.
    ABSL_CHECK_EQ(link.written, begin);
    link.written += size;
  }
  // Past the limit.
  if (!taken && !connection.is_open()) link.given_up = true;
}

void Scenario::Operate(Link& link) {
  Connection* const found = loop().Find(link.id);
  const uint8_t operation = input_.Next();
  if (operation % 64 == 0) Connect();
  if (found == nullptr) return;
  Connection& connection = *found;
  const bool open = connection.is_open();
  switch (operation % 64) {
    case 1:
      link.closed = true;
      connection.Close(static_cast<uint16_t>(input_.Next()));
      break;
    case 2:
      link.given_up = true;
      connection.Abort();
      break;
    case 3:
    case 4:
      connection.Attach(NewProbe(link));
      break;
    case 5:
      connection.Detach();
      break;
    case 6: {
      if (!open) break;
      link.given_up = true;
      const bool adopts = input_.Below(2) == 1;
      connection.Release([this, adopts, &link](Socket socket) {
        if (adopts) ReAdopt(link, std::move(socket));
      });
      break;
    }
    case 7:
    case 8:
      connection.Flush();
      break;
    case 9:
      connection.ShutdownWrite();
      break;
    case 10:
      if (input_.Below(4) == 1) {
        link.read_ended = true;
        connection.ShutdownRead();
      }
      break;
    case 11:
    case 12:
      connection.Suspend();
      break;
    case 13:
    case 14:
      connection.Resume();
      break;
    case 15:
      connection.Force(Connection::Callback::kData);
      break;
    case 16:
      connection.Force(Connection::Callback::kReady);
      break;
    case 17:
      connection.Force(Connection::Callback::kTimeout);
      break;
    case 18:
      connection.SetTimeout(absl::Milliseconds(input_.Size()));
      break;
    case 19:
      connection.Touch();
      break;
    case 20:
    case 21: {
      const auto promise = std::make_shared<Promise>();
      connection
          .SetEnv({.type = static_cast<int64_t>(input_.Below(3))}, this,
                  [this, promise, &link](void*) {
                    promise->Happens();
                    Act(link);
                  })
          .IgnoreError();
      break;
    }
    case 22:
      connection.RemoveEnv({.type = static_cast<int64_t>(input_.Below(3))})
          .IgnoreError();
      break;
    case 23:
      connection.SetTransport(std::make_unique<Transport>()).IgnoreError();
      break;
    case 24:
      connection.SetTransport(nullptr).IgnoreError();
      break;
    case 25:
      connection.SetWatermarks({.high_bytes = input_.Size()});
      break;
    case 26: {
      Connection* const other =
          loop().Find(links_[input_.Below(links_.size())].id);
      if (other != nullptr && other != found && open && other->is_open()) {
        connection.LinkWith(*other);
      }
      break;
    }
    case 27: {
      const auto promise = std::make_shared<Promise>();
      loop().Post(link.id, [this, promise, &link](Connection*) {
        promise->Happens();
        ++callbacks;
        Act(link);
        --callbacks;
      });
      break;
    }
    case 28:
      loop().Defer([this, &link] { Act(link); });
      break;
    case 29:
      loop().RunAfter(absl::Milliseconds(input_.Size()),
                      [this, &link] { Act(link); });
      break;
    case 30: {
      const auto promise = std::make_shared<Promise>();
      static_cast<void>(loop().RunEvery(
          {.callback =
               [this, &link] {
                 Act(link);
                 return TimerWheel::Next::kContinue;
               },
           .interval = absl::Milliseconds(input_.Size()),
           .repetitions = static_cast<int64_t>(1 + input_.Below(4)),
           .on_finish = [promise] { promise->Happens(); }}));
      break;
    }
    case 31:
      loop().FlushAll();
      break;
    case 32:
    case 33: {
      absl::StatusOr<ProtocolLock> lock = loop().handle().TryLock(
          link.id, input_.Below(2) == 0 ? ProtocolLock::Kind::kTask
                                        : ProtocolLock::Kind::kWrite);
      if (lock.ok()) locks_.push_back(*std::move(lock));
      break;
    }
    case 34:
    case 35:
      locks_.clear();
      break;
    case 36:
      group_.Add(connection);
      break;
    case 37:
      group_.Remove(connection);
      break;
    case 38:
      group_.ForEach([this](Connection& each) {
        for (Link& one : links_) {
          if (one.id == each.id()) Act(one);
        }
      });
      break;
    case 39:
      if (input_.Below(16) != 1) break;
      stopped = true;
      loop().Stop();
      break;
    case 40: {
      if (link.id != connection.id()) break;
      char bytes[100];
      const size_t n = connection.Read(absl::MakeSpan(bytes));
      CheckStream(link.read, {bytes, n});
      link.read += n;
      break;
    }
    default:
      WriteTo(link, connection);
      break;
  }
}

// --- Peers ---

void Scenario::MovePeer(Link& link) {
  switch (input_.Below(16)) {
    case 1:
      link.peer_ended = true;
      link.peer.ShutdownWrite();
      break;
    case 2:
      link.peer_ended = true;
      Note();
      link.peer_gone = true;
      link.peer.Close();
      break;
    case 3:
      Note();
      link.peer_gone = true;
      link.peer.Reset();
      break;
    case 4:
      link.peer.SetWindow(input_.Below(2) == 0 ? 0 : input_.Size());
      break;
    case 5:
      link.peer.SetAutoRead(input_.Below(2) == 0);
      break;
    case 6:
      CheckPeer(link);
      break;
    default: {
      if (link.peer_ended || link.peer_gone) break;
      const size_t size = input_.Size();
      link.peer.Send(StreamPart(link.sent, size));
      link.sent += size;
      break;
    }
  }
}

// What is in the kernels now can be read, whatever happens.
void Scenario::Note() {
  if (resets_ || hides_bytes_) return;
  for (Link& link : links_) {
    if (!link.peer_gone && link.peer.is_connected() && !link.peer.saw_reset()) {
      link.arrived = link.sent - link.peer.in_flight_bytes();
    }
  }
}

void Scenario::CheckPeer(Link& link) {
  const std::string received = link.peer.TakeReceived();
  CheckStream(link.taken, received);
  link.taken += received.size();
  ABSL_CHECK_LE(link.taken, link.written);
}

void Scenario::MoveWorld() {
  switch (input_.Below(8)) {
    case 0:
    case 1:
      Note();
      world_.Turn();
      break;
    case 2:
      world_.Advance(absl::Milliseconds(input_.Size()));
      break;
    case 3:
      Connect();
      break;
    case 4:
      if (!links_.empty()) Act(links_[input_.Below(links_.size())]);
      break;
    default:
      if (!links_.empty()) MovePeer(links_[input_.Below(links_.size())]);
      break;
  }
}

// With peers that read and a network that is patient, everything arrives.
void Scenario::Settle() {
  locks_.clear();
  for (Link& link : links_) {
    CheckPeer(link);
    link.peer.SetAutoRead(true);
    link.peer.SetWindow(1 << 20);
    Connection* const connection = loop().Find(link.id);
    if (connection != nullptr) connection->Resume();
  }
  // It takes some time if memory is short.
  for (int i = 0; i < 200 && !HasSettled(); ++i) {
    for (const Link& link : links_) {
      // A callback that has read nothing is not called again by itself.
      Connection* const connection = loop().Find(link.id);
      if (connection != nullptr) {
        connection->Force(Connection::Callback::kData);
      }
    }
    world_.Advance(absl::Seconds(1));
  }
  ABSL_CHECK(HasSettled());
}

bool Scenario::HasSettled() {
  if (resets_) return true;
  for (Link& link : links_) {
    CheckPeer(link);
    Connection* const connection = loop().Find(link.id);
    if (connection == nullptr || !connection->is_open()) continue;
    if (link.peer_gone || link.peer.saw_reset()) continue;
    if (connection->pending_bytes() > 0 || link.taken < link.written) {
      return false;
    }
    if (connection->protocol() != nullptr && !link.read_ended &&
        link.read < link.sent) {
      return false;
    }
  }
  return true;
}

void Scenario::End() {
  stopped = true;
  loop().Stop();
  world_.Advance(absl::Seconds(30));
  ABSL_CHECK_EQ(loop().connection_count(), 0u);
  ABSL_CHECK_EQ(probes, 0);
  ABSL_CHECK_EQ(group_.size(), 0u);
  ABSL_CHECK_EQ(world_.network().open_count(), 0u);
  ABSL_CHECK_EQ(loop().stats().opened, loop().stats().closed);
  for (Link& link : links_) {
    CheckPeer(link);
    const bool graceful = !link.given_up && !link.peer_gone && !resets_;
    if (graceful && !link.peer.saw_reset()) {
      ABSL_CHECK_EQ(link.taken, link.written);
    }
  }
}

void Scenario::Run() {
  Connect();
  Connect();
  while (!input_.empty()) MoveWorld();
  Settle();
  End();
}

}  // namespace
}  // namespace fio

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size <= 4096) fio::Scenario({data, size}).Run();
  return 0;
}
