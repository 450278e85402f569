// A TCP proxy: what a client sends goes to the server at --to, and what the
// server answers comes back.
//
//   bazel run -c opt //examples:proxy -- --url=tcp://127.0.0.1:3000
//   --to=tcp://127.0.0.1:8080
//
// Each side may end its stream while the other one goes on (half-close). A side
// that reads slowly slows down the other one: the proxy keeps little more than
// 1 MiB for each direction. A connection that fails, or is silent for
// --timeout, is reset on both sides: a clean end would say that everything has
// arrived.

#include <memory>
#include <string>
#include <utility>

#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "examples/command_line.h"
#include "fio/fio.h"

ABSL_FLAG(std::string, url, "tcp://127.0.0.1:3000",
          "where to listen, tcp or unix; port 0 picks a free one");
ABSL_FLAG(std::string, to, "tcp://127.0.0.1:8080", "the server, tcp or unix");
ABSL_FLAG(int, threads, 1, "event loops, each on a thread of its own");
ABSL_FLAG(int, workers, 1, "processes that serve");
ABSL_FLAG(examples::TimeSpan, timeout, {absl::Minutes(5)},
          "how long a connection may be silent, as in 5m; 0 for ever");
ABSL_FLAG(examples::TimeSpan, grace, {absl::Seconds(10)},
          "how long connections may go on when the proxy is told to stop");

namespace {

// One of the two connections of a client: what is read here is written to the
// other one. Both live on the same loop, so that they may call each other.
class Side : public fio::Protocol {
 public:
  void set_other(fio::ConnectionId other) { other_ = other; }
  bool has_ended() const { return has_ended_; }

  void OnData(fio::Connection& connection) override {
    fio::Connection* const other = FindOther(connection);
    if (other != nullptr) other->Write(connection.Received());
  }

  // Half-close: the other side is told, and may go on sending. When both have
  // ended, what is still queued leaves first.
  void OnEnd(fio::Connection& connection) override {
    has_ended_ = true;
    fio::Connection* const other = FindOther(connection);
    if (other == nullptr) return;  // The server is not connected yet.
    other->ShutdownWrite();
    if (!SideOf(*other).has_ended()) return;
    connection.Close();
    other->Close();
  }

  void OnTimeout(fio::Connection& connection) override { connection.Abort(); }

  // What is still open after that time is reset, too: the base class aborts in
  // OnDeadline(). The loop itself would end it cleanly, a second later.
  absl::Duration OnShutdown(fio::Connection& connection) override {
    const absl::Duration grace = absl::GetFlag(FLAGS_grace).value;
    connection.SetDeadline(grace);
    return grace + absl::Seconds(1);
  }

  // One side without the other is of no use, unless both streams have ended.
  void OnClose(fio::Connection& connection,
               const fio::CloseReason& /*reason*/) override {
    fio::Connection* const other = FindOther(connection);
    if (other == nullptr) return;
    if (!has_ended() || !SideOf(*other).has_ended()) other->Abort();
  }

 private:
  // Null if it is gone.
  fio::Connection* FindOther(fio::Connection& connection) const {
    return connection.loop().Find(other_);
  }
  static Side& SideOf(fio::Connection& connection) {
    return static_cast<Side&>(*connection.protocol());
  }

  fio::ConnectionId other_;
  bool has_ended_ = false;
};

// The side of the client, which connects the other one.
class Client final : public Side {
 public:
  // `reactor` outlives the client.
  explicit Client(fio::Reactor& reactor) : reactor_(reactor) {}

  void OnOpen(fio::Connection& client) override {
    client.Suspend();  // Nothing is read that cannot be passed on.
    absl::StatusOr<std::unique_ptr<fio::Connector>> connector =
        reactor_.ConnectOn(
            client.loop(), absl::GetFlag(FLAGS_to),
            {.on_open = [this, &client](
                            fio::Connection& server) { Join(client, server); },
             .on_failed = [&client](const absl::Status&) { client.Abort(); }});
    if (!connector.ok()) return client.Abort();
    connector_ = *std::move(connector);
  }

 private:
  void Join(fio::Connection& client, fio::Connection& server) {
    if (!client.is_open()) return server.Abort();
    auto side = std::make_unique<Side>();
    side->set_other(client.id());
    set_other(server.id());
    server.SetTimeout(client.timeout());
    server.Attach(std::move(side));
    // Who has too much to write holds up the reading of the other one.
    client.LinkWith(server);
    if (has_ended()) server.ShutdownWrite();
    client.Resume();
  }

  fio::Reactor& reactor_;
  // Dies with the client, and with it an attempt that is under way: its
  // callbacks never find the client gone.
  std::unique_ptr<fio::Connector> connector_;
};

absl::Status Serve() {
  const absl::Duration timeout = absl::GetFlag(FLAGS_timeout).value;
  if (timeout < absl::ZeroDuration()) {
    return absl::InvalidArgumentError("--timeout is negative");
  }
  if (absl::GetFlag(FLAGS_grace).value < absl::ZeroDuration()) {
    return absl::InvalidArgumentError("--grace is negative");
  }
  absl::Status server = fio::Connector::Check(
      absl::GetFlag(FLAGS_to), {.on_open = [](fio::Connection&) {}});
  if (!server.ok()) return server;

  fio::Reactor reactor({.threads = absl::GetFlag(FLAGS_threads),
                        .workers = absl::GetFlag(FLAGS_workers)});
  const absl::StatusOr<fio::ListenerId> listener = reactor.Listen(
      absl::GetFlag(FLAGS_url),
      {.on_open = [timeout, &reactor](fio::Connection& connection) {
        connection.SetTimeout(timeout);
        connection.Attach(std::make_unique<Client>(reactor));
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
      examples::ParseCommandLine("A TCP proxy.", argc, argv);
  return fio::ExitWith(flags.ok() ? Serve() : flags);
}
