// A chat in lines of text: what a client types reaches the others of its room,
// on whatever loop and in whatever process they are.
//
//   bazel run -c opt //examples/chat -- --url=tcp://127.0.0.1:3000 --workers=2
//   nc 127.0.0.1 3000   # In two terminals; then type.
//
// Two chats share their rooms by a Redis or NATS server:
//
//   C="bazel run -c opt //examples/chat -- --redis=redis://127.0.0.1:6379/"
//   $C --url=tcp://127.0.0.1:3000
//   $C --url=tcp://127.0.0.1:3001
//
// A client begins as guest-N in the room lobby. /nick NAME, /join ROOM, /who
// and /history N are commands. SIGUSR1 replaces the workers.

#include <memory>
#include <string>

#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "examples/chat/hall.h"
#include "examples/chat/line_client.h"
#include "examples/chat/outside.h"
#include "examples/command_line.h"
#include "fio/fio.h"

ABSL_FLAG(std::string, url, "tcp://127.0.0.1:3000",
          "where to listen, tcp or unix; port 0 picks a free one");
ABSL_FLAG(int, threads, 1, "event loops, each on a thread of its own");
ABSL_FLAG(int, workers, 1, "processes that serve");
ABSL_FLAG(std::string, redis, "",
          "a Redis server that shares the rooms with other chats, as in "
          "redis://user:password@host:6379/");
ABSL_FLAG(std::string, nats, "",
          "instead: NATS servers, as in nats://user:password@host:4222");

namespace {

using EngineOr = absl::StatusOr<std::unique_ptr<fio::Engine>>;

// Null if the rooms are those of this server alone.
EngineOr UseOutside(fio::Reactor& reactor, fio::PubSub& pubsub) {
  const std::string redis = absl::GetFlag(FLAGS_redis);
  const std::string nats = absl::GetFlag(FLAGS_nats);
  if (!redis.empty() && !nats.empty()) {
    return absl::InvalidArgumentError("--redis and --nats: one of them");
  }
  if (!redis.empty()) return chat::UseRedis(reactor, pubsub, redis);
  if (!nats.empty()) return chat::UseNats(reactor, pubsub, nats);
  return nullptr;
}

absl::Status Serve() {
  fio::Reactor reactor({.threads = absl::GetFlag(FLAGS_threads),
                        .workers = absl::GetFlag(FLAGS_workers)});
  fio::PubSub pubsub(reactor);
  absl::Status kept = pubsub.broker().KeepHistory(
      chat::kKept, fio::Match::kRedis, {.max_messages = 1000});
  if (!kept.ok()) return kept;
  const EngineOr outside = UseOutside(reactor, pubsub);
  if (!outside.ok()) return outside.status();
  chat::Hall hall(reactor, pubsub, /*shared=*/*outside != nullptr);
  if (!hall.status().ok()) return hall.status();

  const absl::StatusOr<fio::ListenerId> listener = reactor.Listen(
      absl::GetFlag(FLAGS_url), {.on_open = [&](fio::Connection& connection) {
        connection.Attach(std::make_unique<chat::LineClient>(hall));
      }});
  if (!listener.ok()) return listener.status();
  reactor.lifecycle().Add(fio::LifecycleEvent::kPreStart, [&] {
    examples::PrintListening("tcp", *reactor.ListenAddress(*listener));
  });
  return reactor.Run();
}

}  // namespace

int main(int argc, char** argv) {
  const absl::Status flags =
      examples::ParseCommandLine("A chat in lines of text.", argc, argv);
  return fio::ExitWith(flags.ok() ? Serve() : flags);
}
