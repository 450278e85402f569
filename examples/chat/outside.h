// The servers that share the rooms of a chat with other chats: Redis or NATS.
//
// Thread safety: none; before Run().

#ifndef FIO_EXAMPLES_CHAT_OUTSIDE_H_
#define FIO_EXAMPLES_CHAT_OUTSIDE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "fio/fio.h"

namespace chat {

// From now on all that `pubsub` publishes goes through that server. Prints when
// it is lost and when it is back, and what was lost meanwhile. Destroy the
// engine before both.
absl::StatusOr<std::unique_ptr<fio::Engine>> UseRedis(fio::Reactor& reactor,
                                                      fio::PubSub& pubsub,
                                                      const std::string& url);
absl::StatusOr<std::unique_ptr<fio::Engine>> UseNats(fio::Reactor& reactor,
                                                     fio::PubSub& pubsub,
                                                     const std::string& url);

}  // namespace chat

#endif  // FIO_EXAMPLES_CHAT_OUTSIDE_H_
