// An Engine carries messages beyond the processes of this machine: to a Redis
// or NATS server, a log, another program. Derive from it and
// Broker::Attach() it.
//
// An engine is told which channels and patterns have subscribers, in the order
// in which that changes, and gets the messages that are published through it.
// What arrives from outside it publishes with Reach::kCluster.
//
// In a cluster the engines that are attached before the workers are forked work
// in the root, for all: it knows what is subscribed to in all processes.
// Workers pass their messages on to it.
//
// Thread safety: all callbacks but OnDetach() run on the thread that runs the
// broker's main lane, one at a time.

#ifndef FIO_PUBSUB_ENGINE_H_
#define FIO_PUBSUB_ENGINE_H_

#include <string_view>

#include "fio/pubsub/message.h"
#include "fio/pubsub/subscribe_options.h"

namespace fio {

class Engine {
 public:
  virtual ~Engine() = default;

  // The first callback. Subscribe() follows for all that is subscribed to.
  virtual void OnAttach() {}
  // The last one, once, inside of Detach() or of the broker's destructor.
  virtual void OnDetach() {}

  // The first subscription to that channel (Match::kExact) or pattern has come,
  // or the last one has gone. In a callback of an engine Subscribe(), Attach()
  // and Detach() of a broker fail (kFailedPrecondition): Lane::Post() them.
  // Publish() is allowed.
  virtual void Subscribe(std::string_view channel, Match match) = 0;
  virtual void Unsubscribe(std::string_view channel, Match match) = 0;

  // Takes a message that was published through this engine. Those that wait for
  // it have the bound of the main lane (Lane::kMaxWaitingBytes): what comes
  // beyond is dropped, and counted there.
  virtual void Publish(const Message& message) = 0;

  // Whether what is published through it is also delivered to the subscribers
  // of the cluster right away, as with Reach::kCluster. Otherwise they get it
  // when the outside sends it back, or not at all. Asked once, when it is
  // attached.
  virtual bool local_echo() const { return false; }

  // For logs.
  virtual std::string_view name() const { return "engine"; }
};

}  // namespace fio

#endif  // FIO_PUBSUB_ENGINE_H_
