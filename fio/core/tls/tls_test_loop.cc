#include "fio/core/tls/tls_test_loop.h"

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/connector.h"
#include "fio/core/listener.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/loop.h"
#include "fio/core/poller/poller_under_test.h"
#include "fio/core/tls/tls_factory.h"
#include "fio/core/tls/tls_test_client.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"
#include "fio/tls/tls_info.h"
#include "fio/tls/tls_peer_certificate.h"
#include "fio/tls/tls_test_util.h"
#include "gtest/gtest.h"

namespace fio::tls_testing {
namespace {

// Longer than anything takes.
constexpr int kManyTurns = 15'000;

}  // namespace

void Listens::OnOpen(Connection& connection) {
  heard_.id = connection.id();
  const TlsInfo* const tls = TlsInfo::Of(connection.transport());
  if (tls == nullptr) return;
  heard_.alpn = tls->alpn();
  heard_.resumed = tls->is_resumed();
  const std::optional<TlsPeerCertificate> shown = tls->peer_certificate();
  if (shown.has_value()) heard_.server_names = shown->names;
}

TlsLoop::TlsLoop() {
  auto loop = Loop::Create(
      {.clock = &clock_, .poller = core_internal::PollerUnderTest()});
  ABSL_CHECK_OK(loop);
  loop_ = *std::move(loop);
}

TlsLoop::~TlsLoop() {
  connectors_.clear();
  listener_ = nullptr;
  loop_ = nullptr;
}

ListenOptions TlsLoop::Serving(Context context) {
  return {.on_open =
              [this](Connection& connection) {
                ++opened_;
                connection.Attach(std::make_unique<Echo>());
              },
          .transport = TlsFactory(std::move(context)),
          .on_handshake_failed =
              [this](const SocketAddress&, const absl::Status& why) {
                refused_.push_back(why);
              }};
}

void TlsLoop::Listen(ListenOptions options, std::string_view url) {
  auto parsed = Url::Parse(url);
  ABSL_CHECK_OK(parsed);
  auto listener = Listener::Create(*loop_, *parsed, std::move(options));
  ABSL_CHECK_OK(listener);
  listener_ = *std::move(listener);
}

ConnectorOptions TlsLoop::Asking(Context context) {
  return {
      .on_open =
          [this](Connection& connection) {
            connection.Attach(std::make_unique<Listens>(heard_));
          },
      .on_failed = [this](const absl::Status& why) { failed_.push_back(why); },
      .on_finish = [this] { ++finished_; },
      .jitter_seed = 1,
      .transport = TlsFactory(std::move(context))};
}

Connector& TlsLoop::Connect(ConnectorOptions options) {
  return Connect(std::move(options), url());
}

Connector& TlsLoop::Connect(ConnectorOptions options, std::string_view url) {
  auto connector =
      Connector::Create(*loop_, resolver_, url, std::move(options));
  ABSL_CHECK_OK(connector);
  connectors_.push_back(*std::move(connector));
  return *connectors_.back();
}

std::string TlsLoop::url(std::string_view query) const {
  return absl::StrCat("tls://", address().ToString(), query);
}

bool TlsLoop::Until(absl::FunctionRef<bool()> so) {
  for (int i = 0; i < kManyTurns; ++i) {
    if (so()) return true;
    const absl::Status turn =
        loop_->RunOnce(clock_.Now() + absl::Milliseconds(1));
    EXPECT_TRUE(turn.ok()) << turn;
  }
  return so();
}

bool TlsLoop::Shake(TestClient& client) {
  return Until([&] {
           client.Shake();
           return client.is_over();
         }) &&
         client.is_done();
}

std::string TlsLoop::Ask(TestClient& client, std::string_view question) {
  client.Send(question);
  std::string answer;
  Until([&] {
    answer += client.Take();
    return answer.size() >= question.size() || client.socket().fd() < 0;
  });
  return answer;
}

void TlsLoop::Turn(int count) {
  for (int i = 0; i < count; ++i) {
    const absl::Status turn = loop_->RunOnce(MonotonicTime::InfinitePast());
    EXPECT_TRUE(turn.ok()) << turn;
  }
}

void TlsLoop::Advance(absl::Duration span) {
  clock_.Advance(span);
  Turn(3);
}

}  // namespace fio::tls_testing
