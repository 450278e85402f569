// A client like nc(1): sends what it reads from stdin to a server, and prints
// what the server sends.
//
//   bazel run -c opt //examples:client -- --url=tcp://127.0.0.1:3000
//
// At the end of stdin it ends its half of the stream, and goes on printing
// until the server ends the other one. With --reconnect it tries again, after
// longer and longer pauses, when it cannot connect and when the connection
// ends before stdin does; what was on its way then is lost.

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "examples/command_line.h"
#include "fio/fio.h"

ABSL_FLAG(std::string, url, "tcp://127.0.0.1:3000", "the server, tcp or unix");
ABSL_FLAG(bool, reconnect, false, "whether to connect again");

namespace {

// What outlives a connection.
struct Session {
  // For good; with an error, at once.
  void End(const absl::Status& why) {
    status.Update(why);
    reactor.Stop(why.ok() ? absl::InfiniteDuration() : absl::ZeroDuration());
  }

  void Say(std::string_view what) const {
    if (!reconnect) return;
    std::fprintf(stderr, "%s\n", std::string(what).c_str());
  }

  const std::string url = absl::GetFlag(FLAGS_url);
  const bool reconnect = absl::GetFlag(FLAGS_reconnect);
  bool stdin_ended = false;
  absl::Status status;
  fio::Reactor reactor{{.threads = 1, .workers = 1}};
};

// One connection: stdin goes in, stdout comes out.
class Pipe final : public fio::Protocol {
 public:
  explicit Pipe(Session& session) : session_(session) {}

  // Everything so far has left; so it is at the start. Nothing is read from
  // stdin before. That keeps the queue far below its high watermark: above it
  // the connection would not be read from, and a server that sends back what
  // it gets would wait for us as we for it.
  void OnReady(fio::Connection& connection) override { Send(connection); }

  void OnData(fio::Connection& connection) override { Print(connection); }

  // SIGINT, or another. What stdout does not take is not waited for.
  absl::Duration OnShutdown(fio::Connection& connection) override {
    if (stdout_ != fio::WatchId::kNone) connection.Abort();
    return absl::ZeroDuration();
  }

  void OnClose(fio::Connection& connection,
               const fio::CloseReason& reason) override {
    connection.loop().Unwatch(stdin_);
    connection.loop().Unwatch(stdout_);
    if (connection.loop().stopping()) return;
    const absl::Status lost =
        reason.origin == fio::CloseReason::Origin::kError
            ? fio::ErrnoToStatus(reason.error, session_.url)
            : absl::OkStatus();
    if (session_.stdin_ended || !session_.reconnect) return session_.End(lost);
    session_.Say(lost.ok()
                     ? absl::StrCat(session_.url, ": closed by the server")
                     : lost.message());
  }

 private:
  // Has SendSome() called as soon as stdin can be read without waiting.
  void Send(fio::Connection& connection) {
    if (session_.stdin_ended || stdin_ != fio::WatchId::kNone) return;
    fio::Loop& loop = connection.loop();
    const absl::StatusOr<fio::WatchId> watch = loop.Watch(
        STDIN_FILENO, fio::Interest::kReadable, fio::Trigger::kLevel,
        [this, &connection](fio::Readiness) { SendSome(connection); });
    if (watch.ok()) {
      stdin_ = *watch;
    } else if (absl::IsPermissionDenied(watch.status())) {
      // A file, or /dev/null: epoll(7) takes only what may have to be waited
      // for. Others have their turn in between.
      loop.Post(connection.id(), [this](fio::Connection* still_there) {
        if (still_there != nullptr) SendSome(*still_there);
      });
    } else {
      session_.End(watch.status());
    }
  }

  void SendSome(fio::Connection& connection) {
    if (!connection.is_open()) return StopReading(connection);
    char buffer[1 << 14];
    const ssize_t size = read(STDIN_FILENO, buffer, sizeof(buffer));
    if (size < 0) {
      if (errno == EINTR || errno == EAGAIN) return Send(connection);
      return session_.End(fio::ErrnoToStatus(errno, "read stdin"));
    }
    if (size == 0) {
      session_.stdin_ended = true;
      connection.ShutdownWrite();
      return StopReading(connection);
    }
    connection.Write({buffer, static_cast<size_t>(size)});
    // Until OnReady(), if the kernel does not take it all.
    if (!connection.Flush()) StopReading(connection);
  }

  void StopReading(fio::Connection& connection) {
    connection.loop().Unwatch(std::exchange(stdin_, fio::WatchId::kNone));
  }

  // Prints what has come, as far as stdout takes it without waiting, in which
  // case poll(2) promises room for PIPE_BUF bytes.
  void Print(fio::Connection& connection) {
    char buffer[PIPE_BUF];
    for (;;) {
      pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT, .revents = 0};
      if (poll(&out, 1, 0) == 0) return WaitForStdout(connection);
      const size_t size = connection.Read(absl::MakeSpan(buffer));
      if (size == 0) return;
      size_t written = 0;
      while (written < size) {
        const ssize_t n =
            write(STDOUT_FILENO, buffer + written, size - written);
        if (n < 0 && errno != EINTR) {
          return session_.End(fio::ErrnoToStatus(errno, "write stdout"));
        }
        written += static_cast<size_t>(std::max<ssize_t>(n, 0));
      }
    }
  }

  void WaitForStdout(fio::Connection& connection) {
    connection.Suspend();
    const absl::StatusOr<fio::WatchId> watch = connection.loop().Watch(
        STDOUT_FILENO, fio::Interest::kWritable, fio::Trigger::kLevel,
        [this, &connection](fio::Readiness) {
          connection.loop().Unwatch(
              std::exchange(stdout_, fio::WatchId::kNone));
          connection.Resume();
        });
    if (!watch.ok()) return session_.End(watch.status());
    stdout_ = *watch;
  }

  Session& session_;
  // OnClose() ends them, so that they find the connection in its place.
  // kNone unless they are waited for.
  fio::WatchId stdin_ = fio::WatchId::kNone;
  fio::WatchId stdout_ = fio::WatchId::kNone;
};

absl::Status Run() {
  Session session;
  const absl::StatusOr<fio::ConnectorId> connector = session.reactor.Connect(
      session.url,
      {.on_open =
           [&session](fio::Connection& connection) {
             session.Say(absl::StrCat("connected to ", session.url));
             connection.Attach(std::make_unique<Pipe>(session));
           },
       .on_failed =
           [&session](const absl::Status& reason) {
             if (!session.reconnect) return session.End(reason);
             session.Say(reason.message());
           },
       .reconnect = session.reconnect});
  if (!connector.ok()) return connector.status();
  const absl::Status run = session.reactor.Run();
  return run.ok() ? session.status : run;
}

}  // namespace

int main(int argc, char** argv) {
  const absl::Status flags =
      examples::ParseCommandLine("A client like nc(1).", argc, argv);
  return fio::ExitWith(flags.ok() ? Run() : flags);
}
