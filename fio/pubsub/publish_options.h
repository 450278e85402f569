// How a message is published.

#ifndef FIO_PUBSUB_PUBLISH_OPTIONS_H_
#define FIO_PUBSUB_PUBLISH_OPTIONS_H_

#include <cstdint>

namespace fio {

class Engine;

// Which processes of a cluster get a message: a root and its workers, or a
// single process, which is both root and the only one.
enum class Reach : uint8_t {
  // That of Broker::SetDefault(): kCluster, unless something else was set.
  kDefault,
  kProcess,   // This one only.
  kCluster,   // All, this one included.
  kSiblings,  // All but this one; the root included.
  kRoot,      // The root only.
};

struct PublishOptions {
  Reach reach = Reach::kDefault;

  // An attached engine that carries the message instead: it comes back, if at
  // all, by way of that system. See Engine::local_echo(). `reach` is ignored.
  Engine* engine = nullptr;

  // Not 0: the message goes to those that have subscribed to the same filter
  // and channel, and to nobody else. Filters are for a program's own purposes:
  // an engine never hears of them, nor do metadata builders, and if neither
  // `reach` nor `engine` is set the message goes to the cluster, whatever the
  // default is. Negative filters are fio's own.
  int32_t filter = 0;

  // The subscriptions of this owner do not get the message: the serial() of the
  // ConnectionId of whoever has sent it. Counts in this process only, and of a
  // worker not for queue groups: the root decides which member gets a message.
  uint64_t from = 0;

  // For the subscribers: the body is JSON. Message::is_json().
  bool is_json = false;

  // All subscribers of the cluster get the messages of a channel in the same
  // order, whoever has published them. They go through the root, so the
  // publisher's process gets them later than otherwise. Without it the messages
  // of one publisher to one channel keep their order, but two subscribers may
  // see those of two publishers in different orders. Channels that are kept in
  // history always have this order.
  bool total_order = false;
};

}  // namespace fio

#endif  // FIO_PUBSUB_PUBLISH_OPTIONS_H_
