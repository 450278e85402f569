#include "fio/testing/world.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/loop.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"
#include "fio/testing/fake_poller.h"
#include "fio/testing/simulated_network.h"

namespace fio::testing {
namespace {

SimulatedNetworkOptions NetworkOptions(const WorldOptions& options) {
  SimulatedNetworkOptions network = options.network;
  network.seed = options.seed;
  return network;
}

FakePoller::Options PollerOptions(const WorldOptions& options) {
  if (!options.shuffle_events) return {};
  return {.shuffle_seed = ~options.seed};  // Not what the network draws.
}

SocketAddress AddressOf(std::string_view text) {
  const absl::StatusOr<Url> url = Url::Parse(text);
  ABSL_CHECK_OK(url.status());
  ABSL_CHECK(url->kind() == Url::Kind::kStream && url->port().value_or(0) != 0)
      << "World::Listen " << text << ": give the port of a TCP url";
  const absl::StatusOr<SocketAddress> address =
      SocketAddress::FromIp(url->host(), *url->port());
  ABSL_CHECK_OK(address.status()) << "World::Listen " << text;
  return *address;
}

}  // namespace

World::World(const WorldOptions& options)
    : max_turns_(options.max_turns),
      network_(NetworkOptions(options)),
      serials_(SimulatedNetwork::kFirstFd) {
  auto poller = std::make_unique<FakePoller>(PollerOptions(options));
  poller_ = poller.get();
  network_.SetPoller(poller_);
  LoopOptions loop_options = options.loop;
  loop_options.clock = &clock_;
  absl::StatusOr<std::unique_ptr<Loop>> loop =
      Loop::Create(loop_options, std::move(poller));
  ABSL_CHECK_OK(loop.status());
  loop_ = *std::move(loop);
}

World::~World() {
  loop_ = nullptr;
  network_.SetPoller(nullptr);
}

Peer World::Connect(absl::FunctionRef<void(Connection&)> on_open) {
  std::pair<Socket, Peer> made = MakeConnection();
  loop_->Adopt(std::move(made.first), on_open).status().IgnoreError();
  return std::move(made.second);
}

std::pair<Socket, Peer> World::MakeConnection() {
  SimulatedNetwork::Connection made = network_.Connect();
  return {Socket(std::move(made.near)), std::move(made.peer)};
}

void World::Listen(std::string_view url, WorldListenOptions options) {
  std::function<void(Peer)> on_connect = std::move(options.on_peer);
  if (options.on_open != nullptr) {
    ABSL_CHECK(on_connect == nullptr)
        << "World::Listen " << url << ": on_peer and on_open";
    on_connect = [this, on_open = std::move(options.on_open)](Peer client) {
      Accept(std::move(client), on_open);
    };
  }
  network_.Listen(AddressOf(url), std::move(on_connect));
}

void World::StopListening(std::string_view url) {
  network_.StopListening(AddressOf(url));
}

// In connect(2), wherever that is called: the server is called later.
void World::Accept(Peer client,
                   const std::function<void(Connection&)>& on_open) {
  std::pair<Socket, Peer> made = MakeConnection();
  Peer server = std::move(made.second);
  client.SetAutoRead(false);
  server.SetAutoRead(false);
  streams_.push_back({.from = client, .to = server});
  streams_.push_back({.from = std::move(server), .to = std::move(client)});
  loop_->Defer([this, socket = std::move(made.first), on_open]() mutable {
    loop_->Adopt(std::move(socket), on_open).status().IgnoreError();
  });
}

// Returns whether there was anything to carry.
bool World::Carry(Stream& stream) {
  const bool moves =
      !stream.from.received().empty() && stream.to.in_flight_bytes() == 0;
  if (moves) stream.to.Send(stream.from.TakeReceived());
  if (!stream.from.received().empty()) return moves;  // Until there is room.
  const Stream::State before = stream.state;
  if (!stream.from.is_connected()) {
    stream.state = Stream::State::kClosed;
    const bool ended = stream.from.saw_end() && !stream.from.saw_reset();
    ended ? stream.to.Close() : stream.to.Reset();
  } else if (stream.from.saw_end()) {
    stream.state = Stream::State::kEnded;
    stream.to.ShutdownWrite();
  }
  return moves || stream.state != before;
}

bool World::CarryAll() {
  bool carried = false;
  for (Stream& stream : streams_) carried |= Carry(stream);
  std::erase_if(streams_, [](const Stream& stream) {
    return stream.state == Stream::State::kClosed;
  });
  return carried;
}

void World::Turn(int count) {
  for (int i = 0; i < count; ++i) {
    network_.Step();
    ABSL_CHECK_OK(loop_->RunOnce(MonotonicTime::InfiniteFuture()));
    carried_ = CarryAll();
  }
}

void World::RunUntilIdle() {
  int turns = 0;
  do {
    ABSL_CHECK_LT(turns, max_turns_)
        << "World::RunUntilIdle: something goes on without end: a callback "
           "that causes its own next call, as a task that posts itself, a "
           "timer of no delay, or an OnData() that leaves bytes unread";
    Turn();
    ++turns;
  } while (!IsIdle());
}

void World::RunUntil(absl::FunctionRef<bool()> condition) {
  while (!condition()) {
    Turn();
    if (IsIdle()) std::this_thread::yield();
  }
}

// A loop that has more to do, or a task, asks its poller not to wait.
bool World::IsIdle() {
  if (carried_ || poller_->last_told() > 0 || !network_.quiet()) return false;
  if (loop_->next_deadline() <= clock_.Now()) return false;
  if (poller_->last_deadline() > clock_.Now()) return true;
  // One that has stopped never waits. That it has, Adopt() says first of all.
  return loop_->connection_count() == 0 &&
         absl::IsFailedPrecondition(
             loop_->Adopt(Socket(), [](Connection&) {}).status());
}

void World::Advance(absl::Duration span) {
  ABSL_CHECK(span >= absl::ZeroDuration() && span < absl::InfiniteDuration())
      << "World::Advance by " << span;
  const MonotonicTime end = clock_.Now() + span;
  RunUntilIdle();
  while (loop_->next_deadline() <= end &&
         loop_->next_deadline() < MonotonicTime::InfiniteFuture()) {
    MoveClock(loop_->next_deadline());
    RunUntilIdle();
  }
  MoveClock(end);
  RunUntilIdle();
}

void World::MoveClock(MonotonicTime time) {
  if (time <= clock_.Now()) return;
  clock_.Advance(time - clock_.Now());
  network_.Note(
      absl::StrCat("clock ", absl::FormatDuration(time - MonotonicTime())));
}

}  // namespace fio::testing
