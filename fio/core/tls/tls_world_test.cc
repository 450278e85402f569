// TLS in a testing::World: handshakes, echoes and alerts by a seed.

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/core/connector.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/resolver.h"
#include "fio/core/tls/tls_factory.h"
#include "fio/core/tls/tls_test_client.h"
#include "fio/core/tls/tls_test_loop.h"
#include "fio/testing/world.h"
#include "fio/tls/tls_certificate.h"
#include "fio/tls/tls_test_util.h"
#include "fio/tls/tls_transport.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using ::testing::HasSubstr;
using testing::World;
using testing::WorldOptions;
using tls_testing::CertificateFor;
using tls_testing::ClientTrusting;
using tls_testing::Context;
using tls_testing::Echo;
using tls_testing::ServerWith;

constexpr std::string_view kUrl = "tls://10.0.0.1:443";
constexpr size_t kClients = 6;
constexpr size_t kQuestionBytes = 40'000;

// See testdata/README.md.
const TlsCertificate& RsaCertificate() {
  static const TlsCertificate* const certificate = [] {
    std::stringstream pem;
    pem << std::ifstream("fio/core/tls/testdata/rsa.pem").rdbuf();
    auto read = TlsCertificate::FromPem(pem.str(), pem.str());
    ABSL_CHECK_OK(read);
    return new TlsCertificate(*std::move(read));
  }();
  return *certificate;
}

// Asks, and closes when the answer is complete.
class Asks final : public Protocol {
 public:
  explicit Asks(std::string& outcome) : outcome_(outcome) {}
  void OnOpen(Connection& connection) override {
    connection.Write(std::string(kQuestionBytes, 'q'));
  }
  void OnData(Connection& connection) override {
    const std::string_view received = connection.Received();
    EXPECT_EQ(received.find_first_not_of('q'), std::string_view::npos);
    received_ += received.size();
    if (received_ < kQuestionBytes) return;
    EXPECT_EQ(received_, kQuestionBytes);
    outcome_ += " answered";
    connection.Close();
  }
  void OnClose(Connection& /*connection*/, const CloseReason& why) override {
    absl::StrAppend(&outcome_, " closed ", why.error);
  }

 private:
  std::string& outcome_;
  size_t received_ = 0;
};

// Some clients of one server, one after the other; every third distrusts it.
// What has become of each of them is a line.
class Play {
 public:
  explicit Play(const WorldOptions& options) : world_(options) {
    world_.Listen(kUrl, {.on_open = [this](Connection& connection) {
                    Serve(connection);
                  }});
  }

  std::string Run() {
    for (size_t i = 0; i < kClients; ++i) {
      clients_.push_back(absl::StrCat("client ", i, ":"));
    }
    for (size_t i = 0; i < kClients; ++i) Connect(i);
    world_.RunUntilIdle();
    world_.Advance(absl::Minutes(2));
    connectors_.clear();
    std::string outcome;
    for (const auto* lines : {&clients_, &servers_}) {
      for (const std::string& line : *lines)
        absl::StrAppend(&outcome, line, "\n");
    }
    EXPECT_EQ(world_.loop().connection_count(), 0u) << outcome;
    EXPECT_EQ(world_.network().open_count(), 0u) << outcome;
    return outcome;
  }
  uint64_t faults() { return world_.network().faults(); }

 private:
  void Serve(Connection& connection) {
    const size_t place = servers_.size();
    servers_.push_back(absl::StrCat("server ", place, ":"));
    connection.SetTimeout(absl::Seconds(30));
    connection.NotifyGone([this, place](const CloseReason& why) {
      absl::StrAppend(&servers_[place], " closed ", why.error);
    });
    connection.StartHandshake(
        std::make_unique<TlsTransport>(server_), absl::Seconds(10),
        [this, place](Connection& shaken, const absl::Status& status) {
          absl::StrAppend(&servers_[place], " ", status.ToString());
          if (status.ok()) shaken.Attach(std::make_unique<Echo>());
        });
  }

  void Connect(size_t place) {
    const bool distrusts = place % 3 == 2;
    auto connector = Connector::Create(
        world_.loop(), resolver_, kUrl,
        {.on_open =
             [this, place](Connection& connection) {
               clients_[place] += " opened";
               connection.SetTimeout(absl::Seconds(20));
               connection.Attach(std::make_unique<Asks>(clients_[place]));
             },
         .on_failed =
             [this, place](const absl::Status& why) {
               absl::StrAppend(&clients_[place], " ",
                               absl::StatusCodeToString(why.code()));
             },
         .jitter_seed = 1,
         .transport = TlsFactory(distrusts ? distrusting_ : trusting_)});
    ABSL_CHECK_OK(connector);
    connectors_.push_back(*std::move(connector));
  }

  // They outlive the world.
  const Context server_ = ServerWith(RsaCertificate());
  const Context trusting_ = ClientTrusting(RsaCertificate().chain_pem());
  const Context distrusting_ =
      ClientTrusting(CertificateFor("else.test").chain_pem());
  Resolver resolver_;
  std::vector<std::string> clients_, servers_;
  World world_;
  std::vector<std::unique_ptr<Connector>> connectors_;
};

size_t Count(std::string_view text, std::string_view what) {
  size_t count = 0;
  for (size_t at = text.find(what); at != std::string_view::npos;
       at = text.find(what, at + 1)) {
    ++count;
  }
  return count;
}

std::string OutcomeOf(const WorldOptions& options, uint64_t* faults) {
  Play play(options);
  std::string outcome = play.Run();
  *faults += play.faults();
  return outcome;
}

TEST(Tls, WorldHandshake) {
  Play play({});
  const std::string outcome = play.Run();
  EXPECT_EQ(Count(outcome, " opened answered closed 0"), 4u) << outcome;
  EXPECT_EQ(Count(outcome, " UNAUTHENTICATED"), 2u) << outcome;
  EXPECT_EQ(Count(outcome, " OK closed 0"), 4u) << outcome;
  EXPECT_EQ(Count(outcome, " PERMISSION_DENIED"), 2u) << outcome;
  EXPECT_THAT(outcome, HasSubstr("alert"));
}

// Calls that are short, refused or reset, and messages in pieces: whatever
// becomes of it, the same seed makes the same.
TEST(Tls, WorldHandshakeWithFaults) {
  uint64_t faults = 0;
  size_t answered = 0, failed = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    const WorldOptions options = {.seed = seed,
                                  .network = {.window_bytes = 8192,
                                              .short_read = 0.3,
                                              .short_write = 0.3,
                                              .would_block = 0.1,
                                              .interrupted = 0.1,
                                              .no_buffers = 0.02,
                                              .no_memory = 0.02,
                                              .reset = 0.003,
                                              .segmented = 0.5},
                                  .shuffle_events = true};
    const std::string outcome = OutcomeOf(options, &faults);
    EXPECT_EQ(outcome, OutcomeOf(options, &faults));
    answered += Count(outcome, "answered");
    failed += Count(outcome, "UNAVAILABLE");
  }
  EXPECT_GT(faults, 1000u);
  EXPECT_GT(answered, 20u);
  EXPECT_GT(failed, 5u);
}

}  // namespace
}  // namespace fio
