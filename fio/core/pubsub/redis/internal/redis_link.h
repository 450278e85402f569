// A RedisLink is one connection to a Redis server: commands go out, several at
// a time, and each answer is told to whoever waits for it. It looks after the
// server, and ends when that says nothing any more. It does not connect again.
//
// Thread safety: none. It belongs to the thread of its loop.

#ifndef FIO_CORE_PUBSUB_REDIS_INTERNAL_REDIS_LINK_H_
#define FIO_CORE_PUBSUB_REDIS_INTERNAL_REDIS_LINK_H_

#include <cstddef>
#include <deque>
#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/move_only_function.h"
#include "fio/core/connector.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/loop.h"
#include "fio/core/pubsub/redis/internal/resp_reader.h"
#include "fio/core/pubsub/redis/redis_reply.h"
#include "fio/core/resolver.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/pubsub/message.h"

namespace fio::redis_internal {

struct RedisLinkOptions {
  size_t window = 0;
  absl::Duration ping_interval;
  absl::Duration ping_timeout;
  RespLimits limits = {};
};

class RedisLink {
 public:
  // All but OnLinkDown() only before that. None may destroy the link.
  class Owner {
   public:
    // It is connected: the first callback, once.
    virtual void OnLinkOpen(RedisLink& link) = 0;
    // What the server says by itself: its first item is a string.
    virtual void OnLinkPush(RedisLink& link, const RedisReply& push) = 0;
    // has_room() may have become true.
    virtual void OnLinkRoom(RedisLink& link) = 0;
    // It has ended, or was not made. The last callback, once, unless the link
    // is destroyed before. FailAll() is the owner's to call.
    virtual void OnLinkDown(RedisLink& link, const absl::Status& why) = 0;

   protected:
    ~Owner() = default;
  };

  // Called once: with what the server has answered, which may be an error, or
  // with what FailAll() was given.
  using OnDone = MoveOnlyFunction<void(absl::StatusOr<RedisReply>)>;

  // All but `options` outlive it.
  RedisLink(Loop& loop, Owner& owner, const RedisLinkOptions& options)
      : loop_(loop),
        owner_(owner),
        options_(options),
        reader_(options.limits) {}
  RedisLink(const RedisLink&) = delete;
  RedisLink& operator=(const RedisLink&) = delete;
  // Closes the connection: what was written leaves. Calls nothing.
  ~RedisLink();

  // Begins. Errors, after which it is down without a callback: those of
  // Connector::Create().
  absl::Status Connect(Resolver& resolver, std::string_view url,
                       ConnectorOptions options);

  // --- REQUIRES: it is open ---

  // `bytes` is a whole command. One that the server answers by pushes, and by
  // an ordinary reply only if it is refused, has `confirmations` of them:
  // `done` is told when all have come, with a nil.
  void Send(std::string_view bytes, OnDone done, size_t confirmations = 0);
  void Publish(const Message& message, OnDone done);

  // Whether more should be sent now. Subscribing need not ask.
  bool has_room() const;

  // From now on pushes are arrays: RESP 2.
  void PushesAreArrays() { array_pushes_ = true; }
  // No push may come before this.
  void AllowPushes() { pushes_allowed_ = true; }

  // --- Ending ---

  // Ends it because of that: OnLinkDown(). Again it does nothing.
  void Fail(const absl::Status& why);
  // Tells all who wait for an answer.
  void FailAll(const absl::Status& why);

 private:
  class Wire;

  struct Expected {
    OnDone done;
    size_t confirmations;
  };

  void Opened(Connection& connection);
  void Received(Connection& connection);
  void Gone(const absl::Status& why);

  bool OnReply(RedisReply reply);
  bool OnPush(const RedisReply& push);
  bool IsPush(const RedisReply& reply) const;
  void AnswerFirst(absl::StatusOr<RedisReply> reply);

  void SetTimer(absl::Duration delay);
  void OnTimer();
  void Ping();

  Loop& loop_;
  Owner& owner_;
  const RedisLinkOptions options_;
  RespReader reader_;
  std::unique_ptr<Connector> connector_;
  Wire* wire_ = nullptr;  // Of the connection, as long as that lives.
  Connection* connection_ = nullptr;
  std::deque<Expected> expected_;  // The oldest first.
  MonotonicTime last_heard_;
  TimerId timer_ = TimerId::kNone;
  bool asked_ = false;        // By a PING, since it was last heard.
  bool last_chance_ = false;  // Its time is over.
  bool array_pushes_ = false;
  bool pushes_allowed_ = false;
  bool down_ = false;
};

}  // namespace fio::redis_internal

#endif  // FIO_CORE_PUBSUB_REDIS_INTERNAL_REDIS_LINK_H_
