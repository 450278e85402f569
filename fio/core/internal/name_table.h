// A NameTable holds the names that a Resolver was asked for, and who waits for
// each. A name is asked for once, however many wait for it.
//
// Names are asked for by runners, which are threads or processes: a runner
// takes one name after the other (Next(), Answer()) and ends when none waits.
//
// Thread safety: any thread. In a child of fork(2), Cancel() and the tasks that
// were posted do nothing, and Clear() is all that may be called beside it.

#ifndef FIO_CORE_INTERNAL_NAME_TABLE_H_
#define FIO_CORE_INTERNAL_NAME_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"

namespace fio::core_internal {

class NameTable : public std::enable_shared_from_this<NameTable> {
 public:
  using Addresses = absl::StatusOr<std::vector<SocketAddress>>;
  using Function = std::function<Addresses(const Url&)>;
  using Done = absl::AnyInvocable<void(Addresses) &&>;

  struct Options {
    Function ask;
    int max_runners = 1;
    size_t max_waiting = 1;  // Names that no runner has taken.
    // Whether a name that was taken can be stopped. If not, it is remembered
    // until it is answered, so that it is not asked for a second time.
    bool can_stop = false;
  };
  struct Name {
    uint64_t id;
    Url url;
  };
  struct Added {
    uint64_t question;  // Never 0, never reused.
    bool needs_runner;  // The caller starts one, or calls RunnerFailed().
  };

  explicit NameTable(Options options);
  NameTable(const NameTable&) = delete;
  NameTable& operator=(const NameTable&) = delete;

  // Calls `done` with `answer` in a task of the loop.
  uint64_t AddAnswered(const Url& url, const LoopHandle& loop, Done done,
                       Addresses answer);
  // Likewise with what a runner answers, or kResourceExhausted.
  Added Add(const Url& url, const LoopHandle& loop, Done done);

  // Destroys the question's `done`, which is not called any more. Returns the
  // name that a runner should stop asking for, or 0.
  uint64_t Cancel(uint64_t question);
  // Cancels all questions. In a forked child, if another thread had the lock at
  // the time of the fork, false: the table must then never be destroyed.
  bool Clear();

  const Function& ask() const { return options_.ask; }
  int runners() const;

  // What a runner asks for next. If there is nothing, the runner has ended.
  std::optional<Name> Next();
  void Answer(const Name& name, const Addresses& answer);
  // A runner that was needed could not be started. If there is no other one,
  // what waits is refused with the status.
  void RunnerFailed(const absl::Status& why);

 private:
  struct Question {
    Url url;
    LoopHandle loop;
    Done done;
    std::string key;  // Of the name it waits for; empty once answered.
    Addresses answer;
  };
  struct Entry {
    Name name;
    std::vector<uint64_t> questions;
    bool taken = false;
  };
  class Delivery;

  uint64_t Insert(const Url& url, const LoopHandle& loop, Done done,
                  std::string key, Addresses answer);
  std::unique_ptr<Question> Take(uint64_t question);
  std::unique_ptr<Question> TakeLocked(uint64_t question);  // Under mutex_.
  void Deliver(uint64_t question, const LoopHandle& loop);

  bool is_inherited() const;

  const Options options_;
  const int fork_count_;  // Of the process that it belongs to.

  // All below is under it. Not an absl::Mutex, since it is tried in children of
  // fork(2).
  mutable std::mutex mutex_;
  absl::flat_hash_map<uint64_t, std::unique_ptr<Question>> questions_;
  absl::flat_hash_map<std::string, Entry> names_;
  std::deque<std::string> waiting_;  // Keys of names that are not taken.
  uint64_t last_id_ = 0;
  int runners_ = 0;
};

}  // namespace fio::core_internal

#endif  // FIO_CORE_INTERNAL_NAME_TABLE_H_
