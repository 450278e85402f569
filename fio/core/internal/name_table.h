// A NameTable holds the names that a Resolver must resolve, and the questions
// that wait for each. A name is resolved once for all its questions.
//
// Runners, which are threads or processes, resolve the names: a runner takes
// one name after the other (Next(), Answer()) and ends when no name waits.
//
// Thread safety: any thread. In a child of fork(2), only Cancel(), which does
// nothing there, and Clear() may be called. Tasks that were posted before do
// nothing there.

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
    // Whether a runner can be stopped. If not, a name that it has taken is kept
    // until it is answered, so that it is not resolved a second time.
    bool can_stop = false;
  };
  struct Name {
    uint64_t id;
    Url url;
  };
  struct Added {
    uint64_t question;  // Never 0, never reused.
    bool needs_runner;  // The caller must start one or call RunnerFailed().
  };

  explicit NameTable(Options options);
  NameTable(const NameTable&) = delete;
  NameTable& operator=(const NameTable&) = delete;

  // Calls `done` with `answer` in a task of the loop.
  uint64_t AddAnswered(const Url& url, const LoopHandle& loop, Done done,
                       Addresses answer);
  // The same with the answer of a runner, or kResourceExhausted.
  Added Add(const Url& url, const LoopHandle& loop, Done done);

  // Destroys the question's `done`, which does not run any more. Returns the id
  // of the name whose runner the caller should stop, or 0.
  uint64_t Cancel(uint64_t question);
  // Cancels all questions. Returns false in a forked child if another thread
  // held the lock at the time of the fork: then never destroy the table.
  bool Clear();

  const Function& ask() const { return options_.ask; }
  int runners() const;

  // The next name for a runner. If there is none, the runner must end; it no
  // longer counts.
  std::optional<Name> Next();
  void Answer(const Name& name, const Addresses& answer);
  // Call this if a runner could not be started. If there is no other runner,
  // all waiting questions are answered with `why`.
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

  // Guards everything below. Not an absl::Mutex, because children of fork(2)
  // call try_lock() on it.
  mutable std::mutex mutex_;
  absl::flat_hash_map<uint64_t, std::unique_ptr<Question>> questions_;
  absl::flat_hash_map<std::string, Entry> names_;
  std::deque<std::string> waiting_;  // Keys of names that are not taken.
  uint64_t last_id_ = 0;
  int runners_ = 0;
};

}  // namespace fio::core_internal

#endif  // FIO_CORE_INTERNAL_NAME_TABLE_H_
