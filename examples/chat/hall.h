// The hall of a chat: its rooms, and who is in them, in all processes of the
// server.
//
// Thread safety: any thread may call all of it but the constructor.

#ifndef FIO_EXAMPLES_CHAT_HALL_H_
#define FIO_EXAMPLES_CHAT_HALL_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "examples/chat/shared_counter.h"
#include "fio/fio.h"

namespace chat {

class Hall {
 public:
  // Make it before Run(). Both outlive it. `shared`: other servers have the
  // same rooms.
  Hall(fio::Reactor& reactor, fio::PubSub& pubsub, bool shared);
  Hall(const Hall&) = delete;
  Hall& operator=(const Hall&) = delete;

  // The error of the constructor.
  const absl::Status& status() const { return status_; }

  // "guest-1", "guest-2": never the same twice; on another server with other
  // numbers, if they share their rooms.
  std::string NewGuest();
  // Never the same on any server.
  std::string NewId();

  // A client of this process comes, goes, or changes its name or room.
  void Enter(const std::string& room, const std::string& name);
  void Leave(const std::string& room, const std::string& name);

  // Calls `done` with the names of all that are in the room, sorted: as a task
  // of `loop`, which calls this.
  using OnNames = std::function<void(const std::vector<std::string>&)>;
  void AskWho(fio::Loop& loop, const std::string& room, OnNames done);

  fio::PubSub& pubsub() { return pubsub_; }

 private:
  class Question;

  void Answer(std::string_view question);
  std::vector<std::string> NamesIn(const std::string& room) const;

  fio::Reactor& reactor_;
  fio::PubSub& pubsub_;
  absl::Status status_;
  SharedCounter guests_;
  const uint64_t server_;       // A random number.
  const uint64_t first_guest_;  // Less one.
  std::atomic<uint64_t> ids_ = 0;
  std::atomic<uint64_t> questions_ = 0;
  fio::Subscription asked_;
  mutable absl::Mutex mutex_;
  std::map<std::string, std::multiset<std::string>> rooms_
      ABSL_GUARDED_BY(mutex_);
};

}  // namespace chat

#endif  // FIO_EXAMPLES_CHAT_HALL_H_
