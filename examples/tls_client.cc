// Connects to a TLS server, and prints what the two sides have agreed on and
// who the server is.
//
//   bazel run -c opt //examples:tls_client -- --url=tls://127.0.0.1:3000
//       --ca=cert.pem --send=hello
//
// With --send it prints the first answer. With --times=2 it connects again, and
// the second connection resumes the session of the first. It ends with an error
// if the server is not to be trusted.

#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "examples/command_line.h"
#include "fio/fio.h"

ABSL_FLAG(std::string, url, "tls://127.0.0.1:3000", "the server");
ABSL_FLAG(
    std::string, ca, "",
    "a file of the authorities to trust; otherwise those of this machine");
ABSL_FLAG(std::string, server_name, "",
          "what the server must be called, if not as in the url");
ABSL_FLAG(std::string, alpn, "", "application protocols, as in h2,http/1.1");
ABSL_FLAG(std::string, send, "", "what to send; its answer is printed");
ABSL_FLAG(bool, insecure, false, "whether to trust any server");
ABSL_FLAG(int, times, 1, "how often to connect, one after the other");

namespace {

void Print(std::string_view name, std::string_view value) {
  std::printf("%-12s %s\n", std::string(name).c_str(),
              std::string(value).c_str());
}

void PrintCertificate(const fio::TlsPeerCertificate& peer) {
  Print("subject", peer.subject);
  Print("names", absl::StrJoin(peer.names, ", "));
  Print("issuer", peer.issuer);
  Print("valid until", absl::FormatTime(peer.not_after, absl::UTCTimeZone()));
  Print("sha256", peer.fingerprint);
  Print("chain", absl::StrCat(peer.chain_der.size(), " certificates"));
}

void PrintTls(const fio::TlsInfo& tls) {
  Print("version", fio::TlsVersionName(tls.version()));
  Print("cipher", tls.cipher());
  Print("group", tls.group());
  Print("alpn", tls.alpn().empty() ? "none" : tls.alpn());
  Print("resumed", tls.is_resumed() ? "yes" : "no");
  const absl::Status verified = tls.verification();
  Print("verified", verified.ok() ? "yes" : verified.message());
  if (const auto peer = tls.peer_certificate()) PrintCertificate(*peer);
}

// What all connections have in common.
struct Session {
  void Next() {
    if (--left > 0) return;
    reactor.Stop();
  }

  int left = absl::GetFlag(FLAGS_times);
  absl::Status status;
  fio::Reactor reactor{{.threads = 1, .workers = 1}};
};

// Says what it has to say, prints the answer, and ends.
class Visit final : public fio::Protocol {
 public:
  explicit Visit(Session& session) : session_(session) {}

  void OnData(fio::Connection& connection) override {
    const std::string_view answer = connection.Received();
    if (answer.empty()) return;  // A ticket, which is not for us.
    Print("answer", answer);
    connection.Close();
  }

  void OnClose(fio::Connection&, const fio::CloseReason& reason) override {
    // A server that wants a certificate of us refuses only now (TLS 1.3).
    if (!reason.detail.ok()) session_.status.Update(reason.detail);
    session_.Next();
  }

 private:
  Session& session_;
};

absl::StatusOr<std::shared_ptr<const fio::TlsContext>> MakeContext() {
  fio::TlsClientOptions options;
  options.server_name = absl::GetFlag(FLAGS_server_name);
  const std::string alpn = absl::GetFlag(FLAGS_alpn);
  if (!alpn.empty()) options.alpn = absl::StrSplit(alpn, ',');
  if (absl::GetFlag(FLAGS_insecure)) {
    options.trust = fio::TlsTrust::Insecure();
  } else if (const std::string ca = absl::GetFlag(FLAGS_ca); !ca.empty()) {
    absl::StatusOr<fio::TlsTrust> trust = fio::TlsTrust::FromFile(ca);
    if (!trust.ok()) return trust.status();
    options.trust = *std::move(trust);
  }
  return fio::TlsContext::Client(std::move(options));
}

void Open(Session& session, fio::Connection& connection) {
  PrintTls(*fio::TlsInfo::Of(connection.transport()));
  connection.Attach(std::make_unique<Visit>(session));
  connection.SetTimeout(absl::Seconds(10));
  const std::string text = absl::GetFlag(FLAGS_send);
  if (text.empty()) {
    connection.ShutdownWrite();
  } else {
    connection.Write(absl::StrCat(text, "\n"));
  }
}

absl::Status Run() {
  auto context = MakeContext();
  if (!context.ok()) return context.status();
  Session session;
  fio::ConnectorOptions options;
  options.on_open = [&session](fio::Connection& connection) {
    Open(session, connection);
  };
  options.on_failed = [&session](const absl::Status& why) {
    session.status.Update(why);
    session.reactor.Stop();
  };
  options.transport = fio::TlsFactory(*context);
  options.reconnect = session.left > 1;
  options.timeout = absl::Seconds(10);
  const auto connector =
      session.reactor.Connect(absl::GetFlag(FLAGS_url), std::move(options));
  if (!connector.ok()) return connector.status();
  const absl::Status ran = session.reactor.Run();
  return ran.ok() ? session.status : ran;
}

}  // namespace

int main(int argc, char** argv) {
  const absl::Status flags = examples::ParseCommandLine(
      "Tells what a TLS server speaks, and who it is.", argc, argv);
  return fio::ExitWith(flags.ok() ? Run() : flags);
}
