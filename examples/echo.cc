// An echo server: what a client sends comes back.
//
//   bazel run -c opt //examples:echo -- --url=tcp://127.0.0.1:3000
//   nc 127.0.0.1 3000
//
// Encrypted, with a certificate of one's own or one that is made for the run;
// SIGHUP reads a renewed one:
//
//   bazel run -c opt //examples:echo -- --tls_self_signed=localhost
//   openssl s_client -connect 127.0.0.1:3000
//
// A client that is silent for --timeout is asked whether it is there. A client
// that says "bye" is disconnected. SIGINT or SIGTERM ends the server. With
// --workers=2 or more, SIGUSR1 replaces the workers.

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "examples/command_line.h"
#include "fio/fio.h"

ABSL_FLAG(std::string, url, "tcp://127.0.0.1:3000",
          "where to listen, tcp or unix; port 0 picks a free one");
ABSL_FLAG(int, threads, 1, "event loops, each on a thread of its own");
ABSL_FLAG(int, workers, 1, "processes that serve");
ABSL_FLAG(examples::TimeSpan, timeout, {absl::Seconds(5)},
          "how long a client may be silent, as in 5s; 0 for ever");
ABSL_FLAG(std::string, tls_cert, "",
          "a file with our certificate, and those that it builds on");
ABSL_FLAG(std::string, tls_key, "", "a file with the key of --tls_cert");
ABSL_FLAG(std::string, tls_self_signed, "",
          "instead: names for a certificate that is made for this run, as in "
          "localhost,127.0.0.1");

namespace {

using TlsSlotOr = absl::StatusOr<std::shared_ptr<fio::TlsSlot>>;

class Echo final : public fio::Protocol {
 public:
  void OnData(fio::Connection& connection) override {
    const std::string_view received = connection.Received();
    connection.Write(received);
    if (absl::StartsWithIgnoreCase(received, "bye")) {
      connection.Write("Goodbye.\n");
      connection.Close();
    }
  }

  void OnTimeout(fio::Connection& connection) override {
    connection.Write("Server: Are you there?\n");
  }

  // A restart. There is no way to say "connect anew", so the client is let go.
  void OnDrain(fio::Connection& connection) override {
    OnShutdown(connection);
    connection.Close();
  }

  absl::Duration OnShutdown(fio::Connection& connection) override {
    connection.Write("Echo server shutting down\nGoodbye.\n");
    return absl::ZeroDuration();
  }
};

// What is made once, and what is read again at each SIGHUP.
absl::StatusOr<fio::TlsCertificate> MakeCertificate() {
  const std::string names = absl::GetFlag(FLAGS_tls_self_signed);
  if (!names.empty()) {
    return fio::TlsCertificate::SelfSigned(absl::StrSplit(names, ','));
  }
  return fio::TlsCertificate::FromFiles(absl::GetFlag(FLAGS_tls_cert),
                                        absl::GetFlag(FLAGS_tls_key));
}

// Tickets are for all workers, and for those that replace them.
TlsSlotOr MakeTls() {
  auto keys = fio::TlsTicketKeys::Create();
  if (!keys.ok()) return keys.status();
  return fio::TlsSlot::Create(
      [keys =
           *keys]() -> absl::StatusOr<std::shared_ptr<const fio::TlsContext>> {
        absl::StatusOr<fio::TlsCertificate> certificate = MakeCertificate();
        if (!certificate.ok()) return certificate.status();
        fio::TlsServerOptions options;
        options.certificates = {*std::move(certificate)};
        options.ticket_keys = keys;
        return fio::TlsContext::Server(std::move(options));
      });
}

bool IsSecure(const std::string& url) {
  const absl::StatusOr<fio::Url> parsed = fio::Url::Parse(url);
  return parsed.ok() && parsed->is_secure();
}

bool WantsTls() {
  return !absl::GetFlag(FLAGS_tls_cert).empty() ||
         !absl::GetFlag(FLAGS_tls_key).empty() ||
         !absl::GetFlag(FLAGS_tls_self_signed).empty();
}

absl::Status Serve() {
  const absl::Duration timeout = absl::GetFlag(FLAGS_timeout).value;
  if (timeout < absl::ZeroDuration()) {
    return absl::InvalidArgumentError("--timeout is negative");
  }

  const std::string url = absl::GetFlag(FLAGS_url);
  const bool secure = WantsTls() || IsSecure(url);

  fio::Reactor reactor({.threads = absl::GetFlag(FLAGS_threads),
                        .workers = absl::GetFlag(FLAGS_workers)});
  fio::ListenOptions options;
  options.on_open = [timeout](fio::Connection& connection) {
    connection.SetTimeout(timeout);
    connection.Attach(std::make_unique<Echo>());
  };
  options.secure = fio::ReloadedTls(reactor);  // For a url such as tls://.
  if (WantsTls()) {
    TlsSlotOr tls = MakeTls();
    if (!tls.ok()) return tls.status();
    options.transport = fio::TlsFactory(*tls);
    fio::ReloadTls(reactor, *std::move(tls));
  }
  const absl::StatusOr<fio::ListenerId> listener =
      reactor.Listen(url, std::move(options));
  if (!listener.ok()) return listener.status();

  // Once, before there are workers, and when signals are taken care of.
  reactor.lifecycle().Add(fio::LifecycleEvent::kPreStart, [&] {
    examples::PrintListening(secure ? "tls" : "tcp",
                             *reactor.ListenAddress(*listener));
  });
  return reactor.Run();
}

}  // namespace

int main(int argc, char** argv) {
  const absl::Status flags =
      examples::ParseCommandLine("An echo server.", argc, argv);
  return fio::ExitWith(flags.ok() ? Serve() : flags);
}
