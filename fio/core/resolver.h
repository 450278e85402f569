// A Resolver finds out the addresses of urls without holding up the loop that
// asks: what may take seconds, as asking a name server, is done by threads of
// its own. They are started when the first name comes; IP addresses and paths
// never need them.
//
// It may die at any time, in no time: a question under way is left to itself,
// and its answer dropped.
//
// Thread safety: none. It belongs to one thread, which is that of the loops
// that it answers. A forked child may go on with its copy; what was asked
// before the fork is answered in the parent alone.

#ifndef FIO_CORE_RESOLVER_H_
#define FIO_CORE_RESOLVER_H_

#include <functional>
#include <memory>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/defer/thread_pool.h"
#include "fio/sock/resolve.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"

namespace fio {

class Resolver {
 public:
  using Addresses = absl::StatusOr<std::vector<SocketAddress>>;

  // Asks for a name. Any thread, several at a time; may block.
  using Function = std::function<Addresses(const Url&)>;
  using Done = absl::AnyInvocable<void(Addresses) &&>;

  // How many names are asked for at a time, and how many wait beside them.
  static constexpr int kThreads = 2;
  static constexpr int kWaiting = 1024;

  explicit Resolver(Function ask = &fio::Resolve);
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;
  // Does not wait for questions under way. No `done` is called any more.
  ~Resolver();

  // Calls `done` once, as a task of the loop, with what fio::Resolve() (or for
  // a name the function above) answers; with kResourceExhausted if too many
  // names wait, or no thread can be started. If the loop or the resolver goes
  // before, `done` is destroyed without having been called, on any thread.
  void Resolve(const Url& url, const LoopHandle& loop, Done done);

  // Whether threads were started, in this process.
  bool has_threads() const;

 private:
  // What the threads may use when the resolver has gone.
  struct State;
  struct Question;

  absl::Status StartThreads();
  void Abandon();

  const std::shared_ptr<State> state_;
  std::unique_ptr<ThreadPool> pool_;  // Null until there is a name.
  int fork_count_ = 0;                // Of the process whose pool it is.
};

}  // namespace fio

#endif  // FIO_CORE_RESOLVER_H_
