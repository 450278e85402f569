#include "fio/core/process/lifecycle.h"

#include <pthread.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "fio/base/move_only_function.h"
#include "fio/core/process/worker_event.h"

namespace fio {
namespace {

constexpr size_t kEvents = static_cast<size_t>(LifecycleEvent::kNever);

// One for all lifecycles, so that a fork can hold it: no other thread is in the
// middle of a change then. It is held for look-ups and copies, and never while
// code of the user's runs. Not an absl::Mutex, which does not survive a fork()
// with threads waiting.
std::mutex g_mutex;
// Before main(), so that no fork comes first.
[[maybe_unused]] const int g_registered = pthread_atfork(
    [] { g_mutex.lock(); }, [] { g_mutex.unlock(); }, [] { g_mutex.unlock(); });

uint64_t g_last_id = 0;  // Under g_mutex.

constexpr uint32_t Bit(LifecycleEvent event) {
  return uint32_t{1} << static_cast<uint32_t>(event);
}

bool IsFired(LifecycleEvent event) { return event < LifecycleEvent::kNever; }

bool NewestFirst(LifecycleEvent event) {
  return event >= LifecycleEvent::kOnUserReverse;
}

}  // namespace

struct Lifecycle::Callback {
  void Run(WorkerEvent& worker) const {
    if (callable != nullptr) {
      (*callable)(worker);
    } else {
      function(argument);
    }
  }

  // Never of two callables: each has its own.
  bool IsSameAs(const Callback& other) const {
    return function == other.function && argument == other.argument &&
           callable == other.callable;
  }

  Function function = nullptr;
  void* argument = nullptr;
  // Shared with firings, which may outlive the list.
  std::shared_ptr<MoveOnlyFunction<void(WorkerEvent&)>> callable;
  CallbackId id = CallbackId::kNone;
};

struct Lifecycle::State {
  using List = std::vector<Callback>;

  List& Of(LifecycleEvent event) { return lists[static_cast<size_t>(event)]; }

  // After each change of that list.
  void UpdatePresent(LifecycleEvent event) {
    if (Of(event).empty()) {
      present.fetch_and(~Bit(event), std::memory_order_relaxed);
    } else {
      present.fetch_or(Bit(event), std::memory_order_relaxed);
    }
  }

  List Take(LifecycleEvent event) {
    List taken = std::exchange(Of(event), {});
    UpdatePresent(event);
    return taken;
  }

  // Under g_mutex.
  std::array<List, kEvents> lists;  // Oldest first.
  bool initialized = false;

  std::atomic<uint32_t> present{0};  // Which lists are not empty.
};

// Knows each State that has, or had, callbacks for kAtExit. Never destroyed:
// those run after the destructors of objects that are younger than the hook.
class Lifecycle::ExitHook {
 public:
  // With g_mutex held, as Forget().
  static void Remember(const std::shared_ptr<State>& state) {
    if (states_ == nullptr) {
      states_ = new std::vector<std::shared_ptr<State>>;
      static_cast<void>(std::atexit(&Run));  // Fails only for want of memory.
    }
    if (std::find(states_->begin(), states_->end(), state) == states_->end()) {
      states_->push_back(state);
    }
  }

  static void Forget(const std::shared_ptr<State>& state) {
    if (states_ != nullptr) std::erase(*states_, state);
  }

 private:
  static void Run() {
    WorkerEvent nobody;
    for (State::List list = TakeAll(); !list.empty(); list = TakeAll()) {
      while (!list.empty()) {
        list.back().Run(nobody);
        list.pop_back();
      }
    }
  }

  static State::List TakeAll() {
    const std::lock_guard lock(g_mutex);
    State::List all;
    for (const std::shared_ptr<State>& state : *states_) {
      State::List list = state->Take(LifecycleEvent::kAtExit);
      std::move(list.begin(), list.end(), std::back_inserter(all));
    }
    std::sort(all.begin(), all.end(),
              [](const Callback& a, const Callback& b) { return a.id < b.id; });
    return all;
  }

  static std::vector<std::shared_ptr<State>>* states_;  // Under g_mutex.
};

std::vector<std::shared_ptr<Lifecycle::State>>* Lifecycle::ExitHook::states_ =
    nullptr;

Lifecycle::Lifecycle() : state_(std::make_shared<State>()) {}

Lifecycle::~Lifecycle() {
  std::array<State::List, kEvents> destroyed;  // After the lock is released.
  const std::lock_guard lock(g_mutex);
  destroyed.swap(state_->lists);
  State::List& at_exit =
      destroyed[static_cast<size_t>(LifecycleEvent::kAtExit)];
  if (at_exit.empty()) {
    ExitHook::Forget(state_);
  } else {
    at_exit.swap(state_->Of(LifecycleEvent::kAtExit));
  }
}

bool Lifecycle::Add(LifecycleEvent event, Function function, void* argument) {
  if (function == nullptr) return false;
  return AddCallback(event, {.function = function,
                             .argument = argument,
                             .callable = nullptr}) != CallbackId::kNone;
}

Lifecycle::CallbackId Lifecycle::Add(LifecycleEvent event,
                                     MoveOnlyFunction<void()> callback) {
  if (callback == nullptr) return CallbackId::kNone;
  return Add(event, [callback = std::move(callback)](WorkerEvent&) mutable {
    callback();
  });
}

Lifecycle::CallbackId Lifecycle::Add(
    LifecycleEvent event, MoveOnlyFunction<void(WorkerEvent&)> callback) {
  if (callback == nullptr) return CallbackId::kNone;
  return AddCallback(
      event,
      {.callable = std::make_shared<MoveOnlyFunction<void(WorkerEvent&)>>(
           std::move(callback))});
}

Lifecycle::CallbackId Lifecycle::AddCallback(LifecycleEvent event,
                                             Callback callback) {
  if (!IsFired(event)) return CallbackId::kNone;
  bool run_now = false;
  {
    const std::lock_guard lock(g_mutex);
    State::List& list = state_->Of(event);
    const auto is_same = [&](const Callback& other) {
      return callback.IsSameAs(other);
    };
    if (std::any_of(list.begin(), list.end(), is_same)) {
      return CallbackId::kNone;
    }
    callback.id = CallbackId{++g_last_id};
    list.push_back(callback);
    state_->UpdatePresent(event);
    if (event == LifecycleEvent::kAtExit) ExitHook::Remember(state_);
    run_now = event == LifecycleEvent::kOnInitialize && state_->initialized;
  }
  if (run_now) {
    WorkerEvent nobody;
    callback.Run(nobody);
  }
  return callback.id;
}

bool Lifecycle::Remove(LifecycleEvent event, Function function,
                       void* argument) {
  if (!IsFired(event) || function == nullptr) return false;
  const Callback removed = {
      .function = function, .argument = argument, .callable = nullptr};
  const std::lock_guard lock(g_mutex);
  const size_t count = std::erase_if(
      state_->Of(event),
      [&](const Callback& callback) { return callback.IsSameAs(removed); });
  state_->UpdatePresent(event);
  return count != 0;
}

bool Lifecycle::Remove(CallbackId callback) {
  Callback removed;  // Destroyed after the lock is released.
  const std::lock_guard lock(g_mutex);
  for (size_t i = 0; i < kEvents; ++i) {
    State::List& list = state_->lists[i];
    const auto it =
        std::find_if(list.begin(), list.end(), [&](const Callback& candidate) {
          return candidate.callable != nullptr && candidate.id == callback;
        });
    if (it == list.end()) continue;
    removed = std::move(*it);
    list.erase(it);
    state_->UpdatePresent(static_cast<LifecycleEvent>(i));
    return true;
  }
  return false;
}

void Lifecycle::Clear(LifecycleEvent event) {
  if (!IsFired(event)) return;
  State::List cleared;  // Destroyed after the lock is released.
  const std::lock_guard lock(g_mutex);
  cleared = state_->Take(event);
}

void Lifecycle::Force(LifecycleEvent event) {
  WorkerEvent nobody;
  Force(event, nobody);
}

void Lifecycle::Force(LifecycleEvent event, WorkerEvent& worker) {
  if (!Has(event)) return;
  State::List list;
  {
    const std::lock_guard lock(g_mutex);
    list = state_->Of(event);
  }
  if (NewestFirst(event)) std::reverse(list.begin(), list.end());
  for (const Callback& callback : list) callback.Run(worker);
}

bool Lifecycle::Has(LifecycleEvent event) const {
  if (!IsFired(event)) return false;
  return (state_->present.load(std::memory_order_relaxed) & Bit(event)) != 0;
}

void Lifecycle::Initialize() {
  State::List list;
  {
    const std::lock_guard lock(g_mutex);
    if (std::exchange(state_->initialized, true)) return;
    list = state_->Of(LifecycleEvent::kOnInitialize);
  }
  WorkerEvent nobody;
  for (const Callback& callback : list) callback.Run(nobody);
}

}  // namespace fio
