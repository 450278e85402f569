// A NatsEngine carries messages to and from other machines by way of a NATS
// server, or a cluster of them.
//
//   fio::Reactor reactor({.workers = 4});
//   fio::PubSub pubsub(reactor);
//   auto nats = fio::NatsEngine::Create(reactor, pubsub.broker(),
//                                       "nats://user:password@10.0.0.7");
//   if (!nats.ok()) return fio::ExitWith(nats.status());
//   pubsub.broker().Attach(**nats);
//   pubsub.broker().SetDefault(**nats);  // All that is published goes there.
//
// A channel is the subject of the same name if it can be one; other bytes are
// escaped, so that any two engines understand each other. A pattern of NATS is
// a subscription of NATS. One of Redis asks the server for more than it
// matches, and the rest is dropped here: of "news.*" for "news.>", but of
// "news*" for all there is.
//
// Messages are delivered at most once, in the order of each publisher's
// connection. Headers of messages are dropped. While a subscription ends that
// matches the same channels as another one, a message that is on its way may be
// delivered twice or not at all.
//
// It connects when Run() runs, in the root or the single process, to the
// servers of the url in a random order, and to those that they tell of. When
// the connection ends, or the server is about to end, it goes to the next one.
// What is published meanwhile waits, up to a bound; what others publish is
// lost. NatsOptions::on_connected tells of it. A server that is away holds up
// neither the start nor the end of Run(). At the end of Run() what waits is
// sent if the server is there.
//
// Thread safety: none but that of the main loop, which runs it all. Create it
// and destroy it there, or while Run() is not running; Broker::Detach() as
// well.

#ifndef FIO_CORE_PUBSUB_NATS_NATS_ENGINE_H_
#define FIO_CORE_PUBSUB_NATS_NATS_ENGINE_H_

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "fio/core/pubsub/nats/nats_options.h"
#include "fio/core/reactor.h"
#include "fio/pubsub/broker.h"
#include "fio/pubsub/engine.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/subscribe_options.h"

namespace fio {

class NatsEngine final : public Engine {
 public:
  // `urls` are those of the servers, with commas between them:
  //
  //   nats://host               port 4222; TLS if the server asks for it
  //   nats://user:password@host:4222
  //   nats://token@host
  //   tls://host?ca=ca.pem      TLS, or no connection; the keys of TlsOfUrl()
  //
  // A name or password may have "%XX" for any byte. That of the first url that
  // has one is for all. Both `reactor` and `broker`, which is that of a PubSub
  // of the reactor, outlive the engine. Errors: kInvalidArgument, with the url
  // but without what is secret in it, or the name of the option; those of
  // TlsOfUrl().
  static absl::StatusOr<std::unique_ptr<NatsEngine>> Create(
      Reactor& reactor, Broker& broker, std::string_view urls,
      NatsOptions options = {});

  NatsEngine(const NatsEngine&) = delete;
  NatsEngine& operator=(const NatsEngine&) = delete;
  // Detaches it.
  ~NatsEngine() override;

  NatsStats stats() const;

  // For the broker.
  void OnAttach() override;
  void OnDetach() override;
  void Subscribe(std::string_view channel, Match match) override;
  void Unsubscribe(std::string_view channel, Match match) override;
  void Publish(const Message& message) override;
  bool local_echo() const override;
  std::string_view name() const override { return "nats"; }

 private:
  class Impl;

  explicit NatsEngine(std::unique_ptr<Impl> impl);

  const std::unique_ptr<Impl> impl_;
};

}  // namespace fio

#endif  // FIO_CORE_PUBSUB_NATS_NATS_ENGINE_H_
