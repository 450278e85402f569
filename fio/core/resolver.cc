#include "fio/core/resolver.h"

#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <cstddef>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "fio/base/fork_count.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/defer/task.h"
#include "fio/defer/thread_pool.h"
#include "fio/sock/resolve.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"

namespace fio {
namespace {

// Whether nobody but this machine needs to be asked.
bool IsKnownHere(const Url& url) {
  return url.kind() == Url::Kind::kUnix || url.host().empty() ||
         SocketAddress::FromIp(url.host(), 0).ok();
}

absl::Status Refusal(const Url& url, std::string_view why) {
  return absl::ResourceExhaustedError(
      absl::StrCat("resolve ", url.ToString(), ": ", why));
}

void* EndPool(void* pool) {
  const std::unique_ptr<ThreadPool> owned(static_cast<ThreadPool*>(pool));
  owned->Stop(ThreadPool::OnStop::kDrop);
  return nullptr;
}

// Ends a pool, some of whose tasks block, without waiting for them.
void EndElsewhere(std::unique_ptr<ThreadPool> pool) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  // Signals are for the threads that expect them.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  static_cast<void>(pthread_create(&thread, &attributes, &EndPool, pool.get()));
  // That thread's by now. If there is none, the pool is left alone, which costs
  // less than waiting for it.
  (void)pool.release();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
}

}  // namespace

struct Resolver::State {
  explicit State(Function ask_for) : ask(std::move(ask_for)) {}

  const Function ask;
  std::atomic<bool> gone = false;     // The resolver.
  std::atomic<size_t> under_way = 0;  // Questions that the pool has.
};

// What travels to the pool and, with the answer, back to the loop.
struct Resolver::Question {
  std::shared_ptr<State> state;
  Url url;
  LoopHandle loop;
  Done done;
  Addresses answer = absl::UnknownError("not asked yet");
  bool refused = false;  // By the pool.

  static void Ask(std::unique_ptr<Question> question) {
    State& state = *question->state;
    if (!question->refused && !state.gone) {
      question->answer = state.ask(question->url);
    }
    --state.under_way;
    Reply(std::move(question));
  }
  static void Reply(std::unique_ptr<Question> question) {
    const LoopHandle loop = question->loop;
    loop.Post([question = std::move(question)] {
      if (!question->state->gone) {
        std::move(question->done)(std::move(question->answer));
      }
    });
  }
};

Resolver::Resolver(Function ask)
    : state_(std::make_shared<State>(std::move(ask))) {}

Resolver::~Resolver() {
  state_->gone = true;
  Abandon();
}

bool Resolver::has_threads() const {
  return pool_ != nullptr && fork_count_ == ForkCount();
}

void Resolver::Abandon() {
  if (pool_ == nullptr) return;
  if (has_threads() && state_->under_way > 0) {
    EndElsewhere(std::move(pool_));
  } else {
    pool_ = nullptr;
  }
}

absl::Status Resolver::StartThreads() {
  if (has_threads()) return absl::OkStatus();
  Abandon();
  state_->under_way = 0;
  absl::StatusOr<std::unique_ptr<ThreadPool>> pool = ThreadPool::Create(
      {.threads = kThreads, .name = "resolver", .capacity = kWaiting});
  if (!pool.ok()) return pool.status();
  pool_ = *std::move(pool);
  fork_count_ = ForkCount();
  return absl::OkStatus();
}

void Resolver::Resolve(const Url& url, const LoopHandle& loop, Done done) {
  std::unique_ptr<Question> owned(new Question{
      .state = state_, .url = url, .loop = loop, .done = std::move(done)});
  Question& question = *owned;
  if (IsKnownHere(url)) {
    question.answer = fio::Resolve(url);
    Question::Reply(std::move(owned));
    return;
  }
  const absl::Status started = StartThreads();
  if (!started.ok()) {
    question.answer = Refusal(url, started.message());
    Question::Reply(std::move(owned));
    return;
  }
  ++state_->under_way;
  Task task = [owned = std::move(owned)]() mutable {
    Question::Ask(std::move(owned));
  };
  if (pool_->TryPost(std::move(task))) return;
  question.refused = true;
  question.answer = Refusal(url, "too many names wait");
  task();  // NOLINT(bugprone-use-after-move): TryPost() left it as it was.
}

}  // namespace fio
