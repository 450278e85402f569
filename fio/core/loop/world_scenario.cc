#include "fio/core/loop/world_scenario.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/protocol.h"
#include "fio/sock/socket.h"
#include "fio/testing/simulated_network.h"
#include "fio/testing/world.h"

namespace fio::loop_internal {

using testing::Peer;
using testing::WorldOptions;

namespace {

constexpr size_t kMaxLinks = 40;

char StreamByte(uint64_t offset) {
  return static_cast<char>((offset * 0x9E3779B97F4A7C15U) >> 56);
}

}  // namespace

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
      // Not of single bytes: all that an input can write would take more turns
      // than a World grants.
      link.peer.SetWindow(input_.Below(2) == 0 ? 0 : 500 + input_.Size());
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

}  // namespace fio::loop_internal
