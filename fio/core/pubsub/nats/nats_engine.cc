#include "fio/core/pubsub/nats/nats_engine.h"

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/core/pubsub/nats/internal/nats_link.h"
#include "fio/core/pubsub/nats/internal/nats_urls.h"
#include "fio/core/pubsub/nats/internal/nkey.h"
#include "fio/core/pubsub/nats/nats_options.h"
#include "fio/core/reactor.h"
#include "fio/core/tls/tls_factory.h"
#include "fio/core/transport_factory.h"
#include "fio/pubsub/broker.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/subscribe_options.h"
#include "fio/sock/url.h"

namespace fio {
namespace {

using nats_internal::NatsLink;
using nats_internal::NatsUrls;
using nats_internal::NKey;

// The name of the option that makes no sense; empty if all do.
std::string_view Objection(const NatsOptions& options) {
  constexpr absl::Duration kNone = absl::ZeroDuration();
  if (options.connect_timeout <= kNone) return "connect_timeout";
  if (options.ping_interval <= kNone) return "ping_interval";
  if (options.max_pings < 1) return "max_pings";
  if (options.reconnect_delay <= kNone) return "reconnect_delay";
  if (options.max_reconnect_delay < options.reconnect_delay) {
    return "max_reconnect_delay";
  }
  if (options.refused_delay <= kNone) return "refused_delay";
  return "";
}

void PutSecrets(const NatsUrls& urls, NatsOptions& options) {
  if (!options.user.empty() || !options.token.empty()) return;
  options.user = urls.user;
  options.password = urls.password;
  options.token = urls.token;
}

}  // namespace

// What the broker tells, passed on.
class NatsEngine::Impl {
 public:
  Impl(Reactor& reactor, Broker& broker, const NatsUrls& urls,
       std::optional<NKey> nkey, NatsOptions options)
      : broker_(broker),
        local_echo_(options.local_echo),
        link_(reactor, broker, urls, std::move(nkey), std::move(options)) {}

  Broker& broker() { return broker_; }
  bool local_echo() const { return local_echo_; }
  NatsLink& link() { return link_; }

 private:
  Broker& broker_;
  const bool local_echo_;
  NatsLink link_;
};

absl::StatusOr<std::unique_ptr<NatsEngine>> NatsEngine::Create(
    Reactor& reactor, Broker& broker, std::string_view text,
    NatsOptions options) {
  const absl::StatusOr<NatsUrls> urls = NatsUrls::Parse(text);
  if (!urls.ok()) return urls.status();
  const std::string_view objection = Objection(options);
  if (!objection.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("NatsOptions::", objection, " makes no sense"));
  }
  PutSecrets(*urls, options);
  std::optional<NKey> nkey;
  if (!options.nkey_seed.empty()) {
    absl::StatusOr<NKey> parsed = NKey::Parse(options.nkey_seed);
    if (!parsed.ok()) return parsed.status();
    nkey = *std::move(parsed);
    options.nkey_seed.clear();
  }
  if (urls->secure && options.transport == nullptr) {
    const absl::StatusOr<Url> url = Url::Parse(
        absl::StrCat("tls://", urls->addresses.front(), urls->tls_query));
    if (!url.ok()) return url.status();
    absl::StatusOr<TransportFactory> factory =
        TlsOfUrl(*url, TransportRequest::Role::kClient);
    if (!factory.ok()) return factory.status();
    options.transport = *std::move(factory);
  }
  return std::unique_ptr<NatsEngine>(new NatsEngine(std::make_unique<Impl>(
      reactor, broker, *urls, std::move(nkey), std::move(options))));
}

NatsEngine::NatsEngine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

NatsEngine::~NatsEngine() {
  // kNotFound if it was detached before.
  impl_->broker().Detach(*this).IgnoreError();
}

NatsStats NatsEngine::stats() const { return impl_->link().stats(); }
void NatsEngine::OnAttach() { impl_->link().Begin(); }
void NatsEngine::OnDetach() { impl_->link().End(); }
bool NatsEngine::local_echo() const { return impl_->local_echo(); }

void NatsEngine::Subscribe(std::string_view channel, Match match) {
  impl_->link().Subscribe(channel, match);
}

void NatsEngine::Unsubscribe(std::string_view channel, Match match) {
  impl_->link().Unsubscribe(channel, match);
}

void NatsEngine::Publish(const Message& message) {
  impl_->link().Publish(message);
}

}  // namespace fio
