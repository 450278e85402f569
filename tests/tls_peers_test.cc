// The echo example over TLS, talked to by the clients that people have.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "fio/base/unique_fd.h"
#include "fio/tls/tls_certificate.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/example.h"
#include "tests/subprocess.h"

namespace fio {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using testing::Subprocess;

constexpr char kProgram[] = "examples/echo";

// A file of this test alone, which others may not read.
std::string Write(const std::string& name, std::string_view text) {
  const std::string path = absl::StrCat(::testing::TempDir(), "/", name);
  unlink(path.c_str());
  const UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  ABSL_CHECK(write(fd.get(), text.data(), text.size()) ==
             static_cast<ssize_t>(text.size()))
      << path;
  return path;
}

// A certificate in files, which is its own authority.
struct Files {
  explicit Files(const std::string& name) : name(name) { Renew(); }

  void Renew() {
    const auto made = TlsCertificate::SelfSigned({"localhost", "127.0.0.1"});
    ABSL_CHECK_OK(made);
    certificate = Write(name + "-cert.pem", made->chain_pem());
    key = Write(name + "-key.pem", made->key_pem());
  }

  std::string name, certificate, key;
};

struct Outcome {
  int code = 0;
  std::string said;  // On stdout and stderr.
};

Outcome RunInShell(const std::string& command) {
  Subprocess shell({"/bin/sh", "-c", absl::StrCat("(", command, ") 2>&1")});
  Outcome outcome;
  outcome.said = shell.ReadStdout();
  outcome.code = shell.Wait();
  return outcome;
}

class TlsPeers : public ::testing::Test {
 protected:
  // An echo server with what `more` adds to its url.
  testing::Server Start(std::string_view more = "",
                        std::vector<std::string> flags = {}) {
    flags.push_back(
        absl::StrCat("--url=tls://127.0.0.1:0?cert=", files_.certificate,
                     "&key=", files_.key, more));
    flags.push_back("--timeout=0");
    return testing::Server(kProgram, flags);
  }

  static int PortOf(const testing::Server& server) {
    return server.address().port();
  }

  // "bye" is answered by an end.
  std::string OpenSsl(const testing::Server& server,
                      std::string_view options) const {
    return absl::StrCat("printf 'bye\\n' | openssl s_client -ign_eof -connect ",
                        "127.0.0.1:", PortOf(server), " -servername localhost",
                        " -CAfile ", files_.certificate, " ", options);
  }
  std::string Curl(const testing::Server& server, std::string_view options,
                   std::string_view host = "localhost") const {
    return absl::StrCat("curl -sSv --http0.9 -X bye --max-time 30 ",
                        "--resolve ", host, ":", PortOf(server),
                        ":127.0.0.1 https://", host, ":", PortOf(server), "/ ",
                        options);
  }

  Files files_{"server"};
};

TEST_F(TlsPeers, OpenSslSpeaksBothVersions) {
  testing::Server server = Start();
  const Outcome newest = RunInShell(OpenSsl(server, "-tls1_3"));
  EXPECT_THAT(newest.said,
              AllOf(HasSubstr("New, TLSv1.3"), HasSubstr("Goodbye."),
                    HasSubstr("Verification: OK")));
  const Outcome older = RunInShell(OpenSsl(server, "-tls1_2"));
  EXPECT_THAT(older.said,
              AllOf(HasSubstr("New, TLSv1.2"), HasSubstr("Goodbye."),
                    HasSubstr("Secure Renegotiation IS supported")));
  const Outcome old =
      RunInShell(OpenSsl(server, "-tls1_1 -cipher DEFAULT@SECLEVEL=0"));
  EXPECT_THAT(old.said, HasSubstr("alert protocol version"));
}

TEST_F(TlsPeers, OpenSslResumes) {
  testing::Server server = Start();
  for (const char* const version : {"-tls1_3", "-tls1_2"}) {
    const std::string session = absl::StrCat(::testing::TempDir(), "/session");
    RunInShell(OpenSsl(server, absl::StrCat(version, " -sess_out ", session)));
    const Outcome again = RunInShell(
        OpenSsl(server, absl::StrCat(version, " -sess_in ", session)));
    EXPECT_THAT(again.said, AllOf(HasSubstr("Reused, "), HasSubstr("Goodbye.")))
        << version;
  }
}

// Its commands are lines of their own: K and k update keys, R renegotiates.
class OpenSslSession {
 public:
  explicit OpenSslSession(const std::string& command) : input_(Pipe()) {
    client_ = std::make_unique<Subprocess>(
        std::vector<std::string>{"/bin/sh", "-c", command + " 2>&1"},
        std::move(read_end_));
  }

  void Say(std::string_view line) {
    ABSL_CHECK(write(input_.get(), line.data(), line.size()) ==
               static_cast<ssize_t>(line.size()));
  }
  // All up to a line that has `what`, or up to the end.
  std::string Await(std::string_view what) {
    std::string all;
    for (;;) {
      const std::string line = client_->ReadLine();
      absl::StrAppend(&all, line, "\n");
      if (absl::StrContains(line, what)) return all;
      if (line.empty() && ++empty_ > 200) return all;  // The end.
    }
  }

 private:
  UniqueFd Pipe() {
    int fds[2];
    ABSL_CHECK(pipe2(fds, O_CLOEXEC) == 0);
    read_end_.Reset(fds[0]);
    return UniqueFd(fds[1]);
  }

  UniqueFd read_end_, input_;
  std::unique_ptr<Subprocess> client_;
  int empty_ = 0;
};

TEST_F(TlsPeers, OpenSslUpdatesKeys) {
  testing::Server server = Start();
  OpenSslSession client(absl::StrCat(
      "stdbuf -oL openssl s_client -tls1_3 -connect 127.0.0.1:", PortOf(server),
      " -CAfile ", files_.certificate));
  client.Await("Verify return code");
  client.Say("one\n");
  EXPECT_THAT(client.Await("one"), HasSubstr("one"));
  client.Say("K\n");
  EXPECT_THAT(client.Await("KEYUPDATE"), HasSubstr("KEYUPDATE"));
  client.Say("two\n");
  EXPECT_THAT(client.Await("two"), HasSubstr("two"));
  client.Say("k\n");
  EXPECT_THAT(client.Await("KEYUPDATE"), HasSubstr("KEYUPDATE"));
  client.Say("bye\n");
  EXPECT_THAT(client.Await("Goodbye."), HasSubstr("Goodbye."));
}

TEST_F(TlsPeers, RenegotiationIsRefused) {
  testing::Server server = Start();
  OpenSslSession client(absl::StrCat(
      "stdbuf -oL openssl s_client -tls1_2 -connect 127.0.0.1:", PortOf(server),
      " -CAfile ", files_.certificate));
  client.Await("Extended master secret");
  client.Say("R\n");
  EXPECT_THAT(client.Await("no renegotiation"), HasSubstr("no renegotiation"));
  EXPECT_THAT(RunInShell(OpenSsl(server, "")).said, HasSubstr("Goodbye."));
}

TEST_F(TlsPeers, CurlChecksWhoItIs) {
  testing::Server server = Start("&alpn=http/1.1");
  const std::string ours = absl::StrCat("--cacert ", files_.certificate);
  const Outcome right = RunInShell(Curl(server, ours));
  EXPECT_EQ(right.code, 0) << right.said;
  EXPECT_THAT(right.said,
              AllOf(HasSubstr("accepted http/1.1"), HasSubstr("Goodbye.")));
  constexpr int kNotTrusted = 60;  // CURLE_PEER_FAILED_VERIFICATION
  const Files other("other");
  EXPECT_EQ(
      RunInShell(Curl(server, absl::StrCat("--cacert ", other.certificate)))
          .code,
      kNotTrusted);
  EXPECT_EQ(RunInShell(Curl(server, ours, "example.org")).code, kNotTrusted);
  const Outcome protocol =
      RunInShell(absl::StrCat(OpenSsl(server, "-alpn h2")));
  EXPECT_THAT(protocol.said, HasSubstr("alert no application protocol"));
}

TEST_F(TlsPeers, CurlShowsItsCertificate) {
  const Files client("client");
  testing::Server server = Start(absl::StrCat("&ca=", client.certificate));
  const std::string ours = absl::StrCat("--cacert ", files_.certificate);
  const Outcome with =
      RunInShell(Curl(server, absl::StrCat(ours, " --cert ", client.certificate,
                                           " --key ", client.key)));
  EXPECT_EQ(with.code, 0) << with.said;
  EXPECT_THAT(with.said, HasSubstr("Goodbye."));
  const Outcome without = RunInShell(Curl(server, ours));
  EXPECT_NE(without.code, 0);
  EXPECT_THAT(without.said, HasSubstr("certificate required"));
  const Files other("other");
  const Outcome wrong =
      RunInShell(Curl(server, absl::StrCat(ours, " --cert ", other.certificate,
                                           " --key ", other.key)));
  EXPECT_NE(wrong.code, 0);
  EXPECT_THAT(wrong.said,
              AnyOf(HasSubstr("unknown CA"), HasSubstr("bad certificate")));
}

TEST_F(TlsPeers, GnuTlsTrustsIt) {
  testing::Server server = Start();
  for (const char* const priority : {"NORMAL", "NORMAL:-VERS-TLS1.3"}) {
    const Outcome outcome = RunInShell(absl::StrCat(
        "printf 'bye\\n' | gnutls-cli --x509cafile ", files_.certificate,
        " --priority ", priority, " --port ", PortOf(server), " localhost"));
    EXPECT_THAT(outcome.said, AllOf(HasSubstr("The certificate is trusted"),
                                    HasSubstr("Handshake was completed"),
                                    HasSubstr("Goodbye.")))
        << priority;
  }
}

TEST_F(TlsPeers, SslScanFindsWhatIsSafeAlone) {
  testing::Server server = Start();
  const Outcome outcome = RunInShell(
      absl::StrCat("sslscan --no-colour 127.0.0.1:", PortOf(server)));
  EXPECT_THAT(
      outcome.said,
      AllOf(HasSubstr("TLSv1.0   disabled"), HasSubstr("TLSv1.1   disabled"),
            HasSubstr("TLSv1.2   enabled"), HasSubstr("TLSv1.3   enabled"),
            HasSubstr("not vulnerable to heartbleed")));
  size_t suites = 0;
  for (const std::string_view line : absl::StrSplit(outcome.said, '\n')) {
    if (!absl::StartsWith(line, "Accepted") &&
        !absl::StartsWith(line, "Preferred")) {
      continue;
    }
    ++suites;
    EXPECT_THAT(std::string(line),
                AnyOf(HasSubstr("GCM"), HasSubstr("CHACHA20")));
  }
  EXPECT_GE(suites, 6u) << outcome.said;
}

TEST_F(TlsPeers, OurClientTellsWhatItHasAgreedOn) {
  testing::Server server = Start("&alpn=echo");
  const std::string client = absl::StrCat(
      "examples/tls_client --url=tls://localhost:", PortOf(server));
  const Outcome right =
      RunInShell(absl::StrCat(client, " --ca=", files_.certificate,
                              " --alpn=echo --send=hello --times=2"));
  EXPECT_EQ(right.code, 0) << right.said;
  EXPECT_THAT(
      right.said,
      AllOf(HasSubstr("TLS 1.3"), HasSubstr("TLS_AES_128_GCM_SHA256"),
            HasSubstr("X25519"), HasSubstr("alpn         echo"),
            HasSubstr("verified     yes"), HasSubstr("localhost, 127.0.0.1"),
            HasSubstr("resumed      no"), HasSubstr("resumed      yes"),
            HasSubstr("answer       hello")));
  const Files other("other");
  const Outcome wrong =
      RunInShell(absl::StrCat(client, " --ca=", other.certificate));
  EXPECT_EQ(wrong.code, 1);
  EXPECT_THAT(wrong.said, HasSubstr("the peer's certificate is not trusted"));
  const Outcome insecure = RunInShell(absl::StrCat(client, " --insecure"));
  EXPECT_EQ(insecure.code, 0) << insecure.said;
  EXPECT_THAT(insecure.said, HasSubstr("verified     the peer's certificate"));
}

// In all workers, while a connection goes on with the old one.
TEST_F(TlsPeers, SighupRenewsTheCertificate) {
  testing::Server server(
      kProgram, {absl::StrCat("--tls_cert=", files_.certificate),
                 absl::StrCat("--tls_key=", files_.key),
                 "--url=tcp://127.0.0.1:0", "--timeout=0", "--workers=2"});
  const std::string old_one = files_.certificate + ".old";
  ABSL_CHECK(rename(files_.certificate.c_str(), old_one.c_str()) == 0);
  OpenSslSession client(absl::StrCat(
      "stdbuf -oL openssl s_client -tls1_3 -connect 127.0.0.1:", PortOf(server),
      " -CAfile ", old_one));
  client.Await("Verify return code");
  files_.Renew();
  server.process().Signal(SIGHUP);
  const std::string trusting_new =
      Curl(server, absl::StrCat("--cacert ", files_.certificate));
  // Each worker reads by itself: asked until both have.
  for (int in_a_row = 0; in_a_row < 16;) {
    in_a_row = RunInShell(trusting_new).code == 0 ? in_a_row + 1 : 0;
  }
  client.Say("bye\n");
  EXPECT_THAT(client.Await("Goodbye."), HasSubstr("Goodbye."));
}

}  // namespace
}  // namespace fio
