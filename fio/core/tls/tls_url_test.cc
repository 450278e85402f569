// TLS by the url alone: TlsOfUrl() for a Listener and a Connector.

#include <sys/stat.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "fio/core/connector.h"
#include "fio/core/listener.h"
#include "fio/core/loop/connection.h"
#include "fio/core/tls/tls_factory.h"
#include "fio/core/tls/tls_slot.h"
#include "fio/core/tls/tls_test_client.h"
#include "fio/core/tls/tls_test_loop.h"
#include "fio/core/transport_factory.h"
#include "fio/sock/url.h"
#include "fio/tls/tls_certificate.h"
#include "fio/tls/tls_context.h"
#include "fio/tls/tls_info.h"
#include "fio/tls/tls_test_util.h"
#include "fio/tls/tls_transport.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;
using tls_testing::CertificateFor;
using tls_testing::Client;
using tls_testing::ClientTrusting;
using tls_testing::Context;
using tls_testing::OurCertificate;
using tls_testing::TestClient;
using tls_testing::TlsLoop;

using Role = TransportRequest::Role;

// Readable by its owner alone.
std::string NewFile(const std::string& name, std::string_view content) {
  const char* const folder = std::getenv("TEST_TMPDIR");
  EXPECT_NE(folder, nullptr);
  const std::string path = absl::StrCat(folder, "/", name);
  std::ofstream(path) << content;
  EXPECT_EQ(chmod(path.c_str(), 0600), 0);
  return path;
}

class Tls : public TlsLoop {
 protected:
  ListenOptions ByUrl() {
    ListenOptions options = Serving(nullptr);
    options.transport = nullptr;
    options.secure = TlsOfUrl;
    return options;
  }
  ConnectorOptions AskingByUrl() {
    ConnectorOptions options = Asking(nullptr);
    options.transport = nullptr;
    options.secure = TlsOfUrl;
    return options;
  }
  // Of a Connector to the listener, with that query.
  bool Opens(std::string_view query) {
    failed_.clear();
    finished_ = 0;
    const int opened = opened_;
    Connect(AskingByUrl(), url(query));
    EXPECT_TRUE(Until([&] {
      return finished_ == 1 && (!failed_.empty() || opened_ > opened);
    }));
    return failed_.empty();
  }

  const std::string cert_ = NewFile("cert.pem", OurCertificate().chain_pem());
  const std::string key_ = NewFile("key.pem", OurCertificate().key_pem());
  const std::string both_ = NewFile(
      "both.pem", OurCertificate().chain_pem() + OurCertificate().key_pem());
};

TEST_F(Tls, UrlSelfSigned) {
  Listen(ByUrl(), "tls://127.0.0.1:0?self_signed=localhost,127.0.0.1");
  // Nobody trusts it beforehand.
  EXPECT_FALSE(Opens(absl::StrCat("?ca=", cert_)));
  ASSERT_THAT(failed_, SizeIs(1));
  EXPECT_TRUE(absl::IsUnauthenticated(failed_[0])) << failed_[0];
}

TEST_F(Tls, UrlCertAndKeyFiles) {
  const std::string queries[] = {absl::StrCat("?cert=", cert_, "&key=", key_),
                                 absl::StrCat("?cert=", both_)};
  for (const std::string& query : queries) {
    SCOPED_TRACE(query);
    Listen(ByUrl(), absl::StrCat("tls://127.0.0.1:0", query));
    EXPECT_TRUE(Opens(absl::StrCat("?ca=", cert_)));
    EXPECT_THAT(failed_, IsEmpty());
  }
}

TEST_F(Tls, UrlCaOnBothSidesIsMutual) {
  const TlsCertificate known = CertificateFor("client.test");
  const TlsCertificate unknown = CertificateFor("stranger.test");
  const std::string ca = NewFile("ca.pem", known.chain_pem());
  const std::string own =
      NewFile("own.pem", known.chain_pem() + known.key_pem());
  const std::string other =
      NewFile("other.pem", unknown.chain_pem() + unknown.key_pem());
  ListenOptions options = ByUrl();
  std::vector<std::string> peers;
  options.on_open = [&, open = options.on_open](Connection& connection) {
    const TlsInfo* const tls = TlsInfo::Of(connection.transport());
    EXPECT_TRUE(tls->verification().ok()) << tls->verification();
    const auto shown = tls->peer_certificate();
    if (shown.has_value()) peers = shown->names;
    open(connection);
  };
  Listen(std::move(options),
         absl::StrCat("tls://127.0.0.1:0?cert=", both_, "&ca=", ca));
  EXPECT_TRUE(Opens(absl::StrCat("?ca=", cert_, "&cert=", own)));
  EXPECT_THAT(peers, ElementsAre("client.test"));
  // With TLS 1.3 a client learns only later that it is refused.
  const std::string refused[] = {absl::StrCat("?ca=", cert_),
                                 absl::StrCat("?ca=", cert_, "&cert=", other)};
  for (const std::string& query : refused) {
    SCOPED_TRACE(query);
    refused_.clear();
    heard_ = {};
    Connect(AskingByUrl(), url(query));
    ASSERT_TRUE(Until([&] { return !refused_.empty() && heard_.closed; }));
    EXPECT_EQ(opened_, 1);
    EXPECT_NE(heard_.closed->error, 0);
  }
}

TEST_F(Tls, UrlAlpnAndServerName) {
  const TlsCertificate named = CertificateFor("name.test");
  const std::string own =
      NewFile("own.pem", named.chain_pem() + named.key_pem());
  const std::string ca = NewFile("ca.pem", named.chain_pem());
  Listen(ByUrl(), absl::StrCat("tls://127.0.0.1:0?cert=", own, "&alpn=b,a"));
  EXPECT_FALSE(Opens(absl::StrCat("?ca=", ca))) << "it is called otherwise";
  EXPECT_TRUE(
      Opens(absl::StrCat("?ca=", ca, "&server_name=name.test&alpn=a,b")));
  EXPECT_EQ(heard_.alpn, "b");
  EXPECT_THAT(heard_.server_names, ElementsAre("name.test"));
  EXPECT_FALSE(
      Opens(absl::StrCat("?ca=", ca, "&server_name=name.test&alpn=c")));
  ASSERT_THAT(failed_, SizeIs(1));
  EXPECT_TRUE(absl::IsPermissionDenied(failed_[0])) << failed_[0];
}

// A tcp url needs none, whatever `secure` is.
TEST_F(Tls, UrlWithoutTls) {
  Listen(ByUrl(), "tcp://127.0.0.1:0");
  Connect(AskingByUrl(), absl::StrCat("tcp://", address().ToString()));
  ASSERT_TRUE(Until([&] { return opened_ == 1; }));
  EXPECT_THAT(heard_.alpn, IsEmpty());
}

// --- What is wrong with a url ---

TEST_F(Tls, UrlErrorsOfAListener) {
  const std::string empty = NewFile("empty.pem", "");
  const std::string open = NewFile("open.pem", OurCertificate().key_pem());
  ASSERT_EQ(chmod(open.c_str(), 0644), 0);
  const TlsCertificate other = CertificateFor("other.test");
  const std::string others_key = NewFile("others.pem", other.key_pem());
  const struct {
    std::string query;
    absl::StatusCode code;
    std::vector<std::string> says;
  } cases[] = {
      {"", absl::StatusCode::kInvalidArgument, {"cert", "self_signed"}},
      {"?cert=/nowhere/c.pem",
       absl::StatusCode::kNotFound,
       {"cert", "/nowhere/c.pem"}},
      {"?cert=" + empty, absl::StatusCode::kInvalidArgument, {"cert", empty}},
      {"?cert=" + cert_ + "&key=/nowhere/k.pem",
       absl::StatusCode::kNotFound,
       {"key", "/nowhere/k.pem"}},
      {"?cert=" + cert_ + "&key=" + open,
       absl::StatusCode::kPermissionDenied,
       {"key", open}},
      {"?cert=" + cert_ + "&key=" + others_key,
       absl::StatusCode::kInvalidArgument,
       {"key", others_key}},
      {"?cert=" + cert_,
       absl::StatusCode::kInvalidArgument,
       {"cert, without a key=FILE", cert_}},
      {"?key=" + key_, absl::StatusCode::kInvalidArgument, {"key"}},
      {"?cert=" + both_ + "&self_signed=a.test",
       absl::StatusCode::kInvalidArgument,
       {"cert", "self_signed"}},
      {"?self_signed=a.test&key=" + key_,
       absl::StatusCode::kInvalidArgument,
       {"key"}},
      {"?self_signed=a.test,,b.test",
       absl::StatusCode::kInvalidArgument,
       {"self_signed"}},
      {"?self_signed=a.test&ca=/nowhere/ca.pem",
       absl::StatusCode::kNotFound,
       {"ca", "/nowhere/ca.pem"}},
      {"?self_signed=a.test&ca=" + empty,
       absl::StatusCode::kInvalidArgument,
       {"ca", empty}},
      {"?self_signed=a.test&server_name=b.test",
       absl::StatusCode::kInvalidArgument,
       {"server_name"}},
      {"?self_signed=a.test&alpn=" + std::string(256, 'x'),
       absl::StatusCode::kInvalidArgument,
       {"alpn"}},
      {"?self_signed=a.test&alpn=a,,b",
       absl::StatusCode::kInvalidArgument,
       {"alpn"}},
  };
  for (const auto& one : cases) {
    const std::string url = absl::StrCat("tls://127.0.0.1:0", one.query);
    SCOPED_TRACE(url);
    const absl::Status status =
        Listener::Create(*loop_, *Url::Parse(url), ByUrl()).status();
    EXPECT_EQ(status.code(), one.code) << status;
    EXPECT_THAT(status.message(), StartsWith(absl::StrCat("listen ", url)));
    const std::string rest(status.message().substr(
        std::min(status.message().size(), url.size() + 7)));
    for (const std::string& said : one.says) {
      EXPECT_THAT(rest, HasSubstr(said));
    }
  }
}

TEST_F(Tls, UrlErrorsOfAConnector) {
  const std::string empty = NewFile("empty.pem", "");
  const struct {
    std::string query;
    absl::StatusCode code;
    std::vector<std::string> says;
  } cases[] = {
      {"?cert=/nowhere/c.pem",
       absl::StatusCode::kNotFound,
       {"cert", "/nowhere/c.pem"}},
      {"?key=" + key_, absl::StatusCode::kInvalidArgument, {"key"}},
      {"?ca=/nowhere/ca.pem",
       absl::StatusCode::kNotFound,
       {"ca", "/nowhere/ca.pem"}},
      {"?ca=" + empty, absl::StatusCode::kInvalidArgument, {"ca", empty}},
      {"?ca=" + cert_ + "&alpn=" + std::string(256, 'x'),
       absl::StatusCode::kInvalidArgument,
       {"alpn"}},
  };
  for (const auto& one : cases) {
    const std::string url = absl::StrCat("tls://127.0.0.1:1", one.query);
    SCOPED_TRACE(url);
    const absl::Status status =
        Connector::Create(*loop_, resolver_, url, AskingByUrl()).status();
    EXPECT_EQ(status.code(), one.code) << status;
    EXPECT_THAT(status.message(), StartsWith(absl::StrCat("connect ", url)));
    const std::string rest(status.message().substr(
        std::min(status.message().size(), url.size() + 8)));
    for (const std::string& said : one.says) {
      EXPECT_THAT(rest, HasSubstr(said));
    }
  }
}

// --- A slot whose files change ---

TEST_F(Tls, UrlMakesContextsForASlot) {
  const TlsCertificate first = CertificateFor("first.test");
  const TlsCertificate second = CertificateFor("second.test");
  const std::string file =
      NewFile("slot.pem", first.chain_pem() + first.key_pem());
  auto slot = TlsSlot::Create([&] {
    return TlsContextOfUrl(*Url::Parse("tls://127.0.0.1:0?cert=" + file),
                           Role::kServer);
  });
  ASSERT_TRUE(slot.ok()) << slot.status();
  ListenOptions options = Serving(nullptr);
  options.transport = TlsFactory(*slot);
  Listen(std::move(options));
  const Context client = ClientTrusting(first.chain_pem() + second.chain_pem());
  const auto shown = [&](const char* name) {
    TestClient one(address(), client, {.server_name = name});
    return Shake(one) && Ask(one, "x") == "x";
  };
  EXPECT_TRUE(shown("first.test"));
  // A file that cannot be read changes nothing.
  NewFile("slot.pem", "nonsense");
  const Context before = (*slot)->current();
  const absl::Status failed = (*slot)->Reload();
  EXPECT_TRUE(absl::IsInvalidArgument(failed)) << failed;
  EXPECT_THAT(failed.message(), HasSubstr(file));
  EXPECT_EQ((*slot)->current(), before);
  EXPECT_TRUE(shown("first.test"));
  NewFile("slot.pem", second.chain_pem() + second.key_pem());
  ASSERT_TRUE((*slot)->Reload().ok());
  EXPECT_NE((*slot)->current(), before);
  EXPECT_TRUE(shown("second.test"));
}

}  // namespace
}  // namespace fio
