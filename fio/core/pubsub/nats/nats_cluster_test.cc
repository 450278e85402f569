// The engine and several servers, and servers with TLS.

#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/strings/str_cat.h"
#include "fio/base/unique_fd.h"
#include "fio/core/pubsub/nats/nats_test_util.h"
#include "fio/tls/tls_certificate.h"
#include "gtest/gtest.h"
#include "tests/servers/nats_connection.h"
#include "tests/servers/nats_server.h"

namespace fio {
namespace {

using nats_internal::NatsNode;
using testing::NatsConnection;
using testing::NatsListener;
using testing::NatsServer;

// Two servers that carry each other's messages, and tell of each other.
class Cluster {
 public:
  Cluster()
      : ports_{testing::ReserveNatsPort(reserved_[0]),
               testing::ReserveNatsPort(reserved_[1])},
        one_(Options(0)),
        two_(Options(1)) {
    // Each has its own side of the route.
    two_.AwaitLog("Route connection created");
    one_.AwaitLog("Route connection created");
  }

  NatsServer& one() { return one_; }
  NatsServer& two() { return two_; }

 private:
  std::vector<std::string> Options(int self) const {
    return {
        "--cluster_name", "test",
        "--cluster",      absl::StrCat("nats://127.0.0.1:", ports_[self]),
        "--routes",       absl::StrCat("nats://127.0.0.1:", ports_[1 - self])};
  }

  UniqueFd reserved_[2];
  const uint16_t ports_[2];
  NatsServer one_, two_;
};

TEST(Nats, ClusterFailover) {
  Cluster cluster;
  NatsNode node(cluster.one().url());
  node.AwaitConnected();
  node.Subscribe("a");
  {
    NatsConnection other(cluster.one().port());
    node.Sync(other);
  }
  EXPECT_EQ(node.stats().servers, 2u);
  cluster.one().Kill();
  EXPECT_EQ(node.Await(), "lost UNAVAILABLE");
  EXPECT_EQ(node.Await(), "disconnect");
  node.AwaitConnected();
  NatsConnection other(cluster.two().port());
  other.Publish("a", "from the other server");
  EXPECT_EQ(node.Await(), "a: a from the other server");
}

// It goes before the server does, and what was published arrives.
TEST(Nats, LameDuck) {
  Cluster cluster;
  NatsNode node(cluster.one().url());
  node.AwaitConnected();
  node.Subscribe("a");
  NatsConnection old(cluster.one().port());
  node.Sync(old);
  NatsConnection other(cluster.two().port());
  other.Send("SUB b 1\r\n");
  other.Sync();
  cluster.one().Signal(SIGUSR2);
  EXPECT_EQ(node.Await(), "lost UNAVAILABLE");
  EXPECT_EQ(node.Await(), "disconnect");
  node.Publish("b", "1");
  EXPECT_EQ(node.Await().substr(0, 9), "connected");
  EXPECT_EQ(node.Await(), "connect");
  EXPECT_EQ(other.ReadMessage(), "b 1");
  other.Publish("a", "2");
  EXPECT_EQ(node.Await(), "a: a 2");
  old.Sync();  // It is still there.
}

// --- TLS ---

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
  Files() {
    const auto made = TlsCertificate::SelfSigned({"localhost", "127.0.0.1"});
    ABSL_CHECK_OK(made);
    certificate = Write("nats-cert.pem", made->chain_pem());
    key = Write("nats-key.pem", made->key_pem());
  }
  std::vector<std::string> options() const {
    return {"--tls", "--tlscert", certificate, "--tlskey", key};
  }

  std::string certificate, key;
};

TEST(Nats, TlsAfterInfo) {
  const Files files;
  const NatsServer server(files.options());
  NatsNode node(absl::StrCat("tls://127.0.0.1:", server.port(),
                             "?ca=", files.certificate),
                {.local_echo = false});
  node.AwaitConnected();
  node.Subscribe("a");
  const std::string large(300'000, 'x');
  node.Publish("a", "small");
  node.Publish("a", large);
  EXPECT_EQ(node.Await(), "a: a small");
  EXPECT_EQ(node.Await(), "a: a " + large);
}

TEST(Nats, TlsOfAStranger) {
  const Files files;
  const NatsServer server(files.options());
  // TLS as the server asks for it, with the authorities of the system.
  NatsNode node(server.url());
  EXPECT_EQ(node.Await().substr(0, 5), "lost ");
  EXPECT_EQ(node.Await(), "disconnect");
  EXPECT_EQ(node.stats().connections, 0u);
}

// The password does not leave.
TEST(Nats, TlsOrNothing) {
  NatsListener listener;
  const Files files;
  NatsNode node(absl::StrCat("tls://me:secret@127.0.0.1:", listener.port(),
                             "?ca=", files.certificate));
  NatsConnection client = listener.Accept();
  client.Send("INFO {}\r\n");
  EXPECT_EQ(client.ReadLine(), "END");
  EXPECT_EQ(node.Await(), "lost FAILED_PRECONDITION");
}

// Nobody has vouched for what comes before the handshake.
TEST(Nats, BytesBeforeTls) {
  NatsListener listener;
  const Files files;
  NatsNode node(absl::StrCat("tls://127.0.0.1:", listener.port(),
                             "?ca=", files.certificate));
  NatsConnection client = listener.Accept();
  client.Send("INFO {\"tls_required\":true}\r\nPING\r\n");
  EXPECT_EQ(node.Await(), "lost INVALID_ARGUMENT");
}

}  // namespace
}  // namespace fio
