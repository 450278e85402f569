#include "fio/core/process/lifecycle.h"

#include <fcntl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "fio/base/move_only_function.h"
#include "fio/base/unique_fd.h"
#include "fio/core/process/worker_event.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using enum LifecycleEvent;

constexpr LifecycleEvent kFifo[] = {kOnInitialize,  kPreStart, kBeforeFork,
                                    kAfterFork,     kInChild,  kInRoot,
                                    kOnStart,       kOnReload, kOnPubSubConnect,
                                    kOnPubSubError, kOnUser,   kOnIdle};
constexpr LifecycleEvent kLifo[] = {kOnUserReverse, kOnShutdown,   kOnFinish,
                                    kOnParentCrash, kOnChildCrash, kAtExit};

// Notes its letter when it runs.
struct Note {
  static void Run(void* self) {
    const auto* note = static_cast<Note*>(self);
    *note->log += note->letter;
  }

  std::string* log;
  char letter;
};

void AddThree(Lifecycle& lifecycle, LifecycleEvent event, std::string& log) {
  lifecycle.Add(event, [&log] { log += 'a'; });
  lifecycle.Add(event, [&log] { log += 'b'; });
  lifecycle.Add(event, [&log] { log += 'c'; });
}

TEST(StateCb, EnumOrderStable) {
  uint8_t value = 0;
  for (const LifecycleEvent event : kFifo) {
    EXPECT_EQ(static_cast<uint8_t>(event), value++);
  }
  for (const LifecycleEvent event : kLifo) {
    EXPECT_EQ(static_cast<uint8_t>(event), value++);
  }
  EXPECT_EQ(static_cast<uint8_t>(kNever), value);
}

TEST(StateCb, LateInitializeRunsNow) {
  Lifecycle lifecycle;
  std::string log;
  Note early = {&log, 'e'};
  Note late = {&log, 'l'};
  EXPECT_TRUE(lifecycle.Add(kOnInitialize, &Note::Run, &early));
  EXPECT_EQ(log, "");
  lifecycle.Initialize();
  EXPECT_EQ(log, "e");
  EXPECT_TRUE(lifecycle.Add(kOnInitialize, &Note::Run, &late));
  EXPECT_EQ(log, "el");
  EXPECT_NE(lifecycle.Add(kOnInitialize, [&] { log += 'c'; }),
            Lifecycle::CallbackId::kNone);
  EXPECT_EQ(log, "elc");
  EXPECT_FALSE(lifecycle.Add(kOnInitialize, &Note::Run, &early));
  EXPECT_FALSE(lifecycle.Add(kOnInitialize, &Note::Run, &late));
  lifecycle.Initialize();
  EXPECT_EQ(log, "elc");
}

TEST(StateCb, ForceFifo) {
  for (const LifecycleEvent event : kFifo) {
    Lifecycle lifecycle;
    std::string log;
    AddThree(lifecycle, event, log);
    lifecycle.Force(event);
    EXPECT_EQ(log, "abc");
    lifecycle.Force(event);
    EXPECT_EQ(log, "abcabc");
  }
}

TEST(StateCb, ForceUsrBothOrders) {
  Lifecycle lifecycle;
  std::string log;
  AddThree(lifecycle, kOnUser, log);
  AddThree(lifecycle, kOnUserReverse, log);
  lifecycle.Force(kOnUser);
  EXPECT_EQ(log, "abc");
  lifecycle.Force(kOnUserReverse);
  EXPECT_EQ(log, "abccba");
}

TEST(StateCb, DuplicateAddOnce) {
  for (const LifecycleEvent event : {kOnUser, kOnUserReverse}) {
    Lifecycle lifecycle;
    std::string log;
    Note a = {&log, 'a'};
    Note b = {&log, 'b'};
    EXPECT_TRUE(lifecycle.Add(event, &Note::Run, &a));
    EXPECT_TRUE(lifecycle.Add(event, &Note::Run, &b));
    EXPECT_FALSE(lifecycle.Add(event, &Note::Run, &a));
    lifecycle.Force(event);
    EXPECT_EQ(log, event == kOnUser ? "ab" : "ba");  // The first add's place.
    log.clear();
    EXPECT_TRUE(lifecycle.Remove(event, &Note::Run, &a));
    EXPECT_TRUE(lifecycle.Add(event, &Note::Run, &a));
    lifecycle.Force(event);
    EXPECT_EQ(log, event == kOnUser ? "ba" : "ab");
  }
}

TEST(StateCb, RemoveUnknown) {
  Lifecycle lifecycle;
  std::string log;
  Note a = {&log, 'a'};
  Note b = {&log, 'b'};
  EXPECT_FALSE(lifecycle.Remove(kOnUser, &Note::Run, &a));
  lifecycle.Add(kOnUser, &Note::Run, &a);
  EXPECT_FALSE(lifecycle.Remove(kOnUser, &Note::Run, &b));
  EXPECT_FALSE(lifecycle.Remove(kOnUser, &Note::Run));
  EXPECT_FALSE(lifecycle.Remove(kOnIdle, &Note::Run, &a));
  EXPECT_FALSE(lifecycle.Remove(kOnUser, nullptr, &a));
  EXPECT_FALSE(lifecycle.Remove(kNever, &Note::Run, &a));
  EXPECT_FALSE(lifecycle.Remove(Lifecycle::CallbackId::kNone));
  EXPECT_FALSE(lifecycle.Remove(Lifecycle::CallbackId{12'345}));
  lifecycle.Force(kOnUser);
  EXPECT_EQ(log, "a");
  EXPECT_TRUE(lifecycle.Remove(kOnUser, &Note::Run, &a));
  EXPECT_FALSE(lifecycle.Remove(kOnUser, &Note::Run, &a));
  lifecycle.Force(kOnUser);
  EXPECT_EQ(log, "a");

  const Lifecycle::CallbackId id =
      lifecycle.Add(kOnUser, [&log] { log += 'c'; });
  lifecycle.Force(kOnUser);
  EXPECT_EQ(log, "ac");
  EXPECT_TRUE(lifecycle.Remove(id));
  EXPECT_FALSE(lifecycle.Remove(id));
  lifecycle.Force(kOnUser);
  EXPECT_EQ(log, "ac");
}

TEST(StateCb, MutateWhileFiring) {
  for (const LifecycleEvent event : {kOnUser, kOnUserReverse}) {
    Lifecycle lifecycle;
    std::string log;
    Note newcomer = {&log, 'n'};
    Note leaver = {&log, 'l'};
    bool mutate = true;
    const auto mutating = [&] {
      log += 'm';
      if (!mutate) return;
      mutate = false;
      lifecycle.Clear(event);
      EXPECT_FALSE(lifecycle.Remove(event, &Note::Run, &leaver));
      EXPECT_TRUE(lifecycle.Add(event, &Note::Run, &newcomer));
      EXPECT_TRUE(lifecycle.Has(event));
      lifecycle.Force(event);
      EXPECT_EQ(log, "mn");
    };
    // Runs first and in between, whichever the order.
    lifecycle.Add(event, mutating);
    lifecycle.Add(event, &Note::Run, &leaver);
    lifecycle.Add(event, mutating);
    lifecycle.Force(event);
    EXPECT_EQ(log, "mnlm");  // The rest of the snapshot, though cleared.
    lifecycle.Force(event);
    EXPECT_EQ(log, "mnlmn");
  }
}

TEST(StateCb, ClearOneEvent) {
  Lifecycle lifecycle;
  std::string log;
  AddThree(lifecycle, kOnUser, log);
  AddThree(lifecycle, kOnIdle, log);
  lifecycle.Clear(kOnUser);
  lifecycle.Clear(kOnStart);
  lifecycle.Clear(kNever);
  lifecycle.Force(kOnUser);
  EXPECT_EQ(log, "");
  lifecycle.Force(kOnIdle);
  EXPECT_EQ(log, "abc");
}

TEST(Lifecycle, NothingIsNotAdded) {
  Lifecycle lifecycle;
  EXPECT_FALSE(lifecycle.Add(kOnUser, nullptr));
  EXPECT_EQ(lifecycle.Add(kOnUser, MoveOnlyFunction<void()>()),
            Lifecycle::CallbackId::kNone);
  EXPECT_EQ(lifecycle.Add(kOnUser, std::function<void()>()),
            Lifecycle::CallbackId::kNone);
  EXPECT_FALSE(lifecycle.Has(kOnUser));
  EXPECT_FALSE(lifecycle.Add(kNever, [](void*) {}));
  EXPECT_EQ(lifecycle.Add(kNever, [] {}), Lifecycle::CallbackId::kNone);
  EXPECT_FALSE(lifecycle.Has(kNever));
  lifecycle.Force(kNever);
}

TEST(Lifecycle, HasFollowsTheList) {
  Lifecycle lifecycle;
  for (const LifecycleEvent event : kFifo) {
    EXPECT_FALSE(lifecycle.Has(event));
    const Lifecycle::CallbackId id = lifecycle.Add(event, [] {});
    EXPECT_TRUE(lifecycle.Has(event));
    lifecycle.Add(event, [](void*) {});
    lifecycle.Remove(id);
    EXPECT_TRUE(lifecycle.Has(event));
    lifecycle.Clear(event);
    EXPECT_FALSE(lifecycle.Has(event));
  }
}

TEST(Lifecycle, CallablesAreDestroyedOutsideOfTheLock) {
  struct Owner {
    ~Owner() {
      lifecycle->Add(kOnUser, [](void*) {});
    }
    Lifecycle* lifecycle;
  };
  Lifecycle lifecycle;
  const auto add = [&] {
    auto owner = std::make_unique<Owner>(Owner{&lifecycle});
    return lifecycle.Add(kOnIdle, [owner = std::move(owner)] {});
  };
  lifecycle.Clear(kOnUser);
  lifecycle.Remove(add());
  EXPECT_TRUE(lifecycle.Has(kOnUser));
  lifecycle.Clear(kOnUser);
  add();
  lifecycle.Clear(kOnIdle);
  EXPECT_TRUE(lifecycle.Has(kOnUser));
}

TEST(Lifecycle, ACallableThatRemovesItselfLivesUntilItReturns) {
  Lifecycle lifecycle;
  std::string log;
  Lifecycle::CallbackId id = Lifecycle::CallbackId::kNone;
  const auto alive = std::make_shared<std::string>("alive");
  id = lifecycle.Add(kOnUser, [&, alive] {
    EXPECT_TRUE(lifecycle.Remove(id));
    log = *alive;
  });
  lifecycle.Force(kOnUser);
  EXPECT_EQ(log, "alive");
  EXPECT_EQ(alive.use_count(), 1);
}

// What a forked child, which runs `body`, has written to the pipe.
std::string Written(const std::function<void(int pipe)>& body, int& status) {
  int ends[2];
  EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
  UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  std::fflush(nullptr);  // Lest exit() in the child writes it again.
  const pid_t child = fork();
  if (child == 0) {
    read_end.Reset();
    alarm(60);
    body(write_end.get());
    _exit(99);
  }
  EXPECT_GT(child, 0);
  write_end.Reset();
  std::string written;
  char bytes[64];
  for (;;) {
    const ssize_t got = read(read_end.get(), bytes, sizeof(bytes));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    written.append(bytes, static_cast<size_t>(got));
  }
  while (waitpid(child, &status, 0) < 0) EXPECT_EQ(errno, EINTR);
  return written;
}

void Write(int pipe, const char* letter) {
  EXPECT_EQ(write(pipe, letter, 1), 1);
}

TEST(Lifecycle, AtExitRunsNewestFirstAfterItsLifecycleHasGone) {
  int status;
  const auto exits = [](int pipe) {
    {
      Lifecycle one;
      Lifecycle two;
      one.Add(kAtExit, [pipe] { Write(pipe, "a"); });
      two.Add(kAtExit, [pipe] { Write(pipe, "b"); });
      one.Add(kAtExit, [pipe] { Write(pipe, "c"); });
      two.Add(kOnFinish, [pipe] { Write(pipe, "?"); });
      two.Remove(two.Add(kAtExit, [pipe] { Write(pipe, "?"); }));
      Lifecycle cleared;
      cleared.Add(kAtExit, [pipe] { Write(pipe, "?"); });
      cleared.Clear(kAtExit);
    }
    std::exit(7);
  };
  EXPECT_EQ(Written(exits, status), "cba");
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7) << status;
}

TEST(Lifecycle, WhatIsAddedAtTheExitRunsAfterwards) {
  int status;
  const auto exits = [](int pipe) {
    Lifecycle lifecycle;
    lifecycle.Add(kAtExit, [pipe] { Write(pipe, "a"); });
    lifecycle.Add(kAtExit, [&lifecycle, pipe] {
      Write(pipe, "b");
      lifecycle.Add(kAtExit, [pipe] { Write(pipe, "c"); });
    });
    std::exit(0);
  };
  EXPECT_EQ(Written(exits, status), "bac");
}

TEST(Lifecycle, AtExitRunsInEachForkedProcessThatExits) {
  int status;
  const auto exits = [](int pipe) {
    Lifecycle lifecycle;
    lifecycle.Add(kAtExit, [pipe] { Write(pipe, "x"); });
    for (const bool by_exit : {true, false}) {
      const pid_t child = fork();
      if (child == 0 && by_exit) std::exit(0);
      if (child == 0) _exit(0);
      while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) continue;
      Write(pipe, by_exit ? "1" : "2");
    }
    std::exit(0);
  };
  EXPECT_EQ(Written(exits, status), "x12x");
}

TEST(Lifecycle, NoAtExitAfterAFatalSignal) {
  int status;
  const auto killed = [](int pipe) {
    Lifecycle lifecycle;
    lifecycle.Add(kAtExit, [pipe] { Write(pipe, "x"); });
    raise(SIGKILL);
  };
  EXPECT_EQ(Written(killed, status), "");
  EXPECT_TRUE(WIFSIGNALED(status)) << status;
}

// The child has the mutex in whatever state the fork found it. With a list that
// long the other thread holds it about half of the time.
TEST(Lifecycle, ForksWhileAnotherThreadHoldsTheLock) {
  Lifecycle lifecycle;
  static constexpr size_t kCallbacks = 4'000;
  static char arguments[kCallbacks];
  for (char& argument : arguments) {
    lifecycle.Add(
        kOnUserReverse, [](void*) {}, &argument);
  }
  std::atomic<bool> stop{false};
  std::thread other([&] {
    while (!stop) lifecycle.Force(kOnUserReverse);
  });
  for (int i = 0; i < 100; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(60);
      bool ran = false;
      lifecycle.Add(kOnUser, [&ran] { ran = true; });
      lifecycle.Force(kOnUser);
      _exit(ran ? 0 : 1);
    }
    ASSERT_GT(child, 0);
    int status;
    while (waitpid(child, &status, 0) < 0) ASSERT_EQ(errno, EINTR);
    EXPECT_EQ(status, 0);
  }
  stop = true;
  other.join();
}

TEST(Lifecycle, ManyThreads) {
  Lifecycle lifecycle;
  std::atomic<int> runs{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 200; ++j) {
        const Lifecycle::CallbackId id =
            lifecycle.Add(kOnUser, [&runs] { ++runs; });
        lifecycle.Force(kOnUser);
        EXPECT_TRUE(lifecycle.Remove(id));
        lifecycle.Initialize();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GE(runs, 800);
  EXPECT_FALSE(lifecycle.Has(kOnUser));
}

// --- Which worker ---

TEST(StateCb, CallbacksMayBeToldOfAWorker) {
  Lifecycle lifecycle;
  std::string log;
  lifecycle.Add(kInRoot, [&log] { log += "plain "; });
  const Lifecycle::CallbackId id =
      lifecycle.Add(kInRoot, [&log](WorkerEvent& worker) {
        log += std::to_string(worker.place()) + '.' +
               std::to_string(worker.generation()) + ' ';
      });
  WorkerEvent worker(3, 2, getpid());
  lifecycle.Force(kInRoot, worker);
  EXPECT_EQ(log, "plain 3.2 ");
  // Without a worker, it is about none.
  lifecycle.Force(kInRoot);
  EXPECT_EQ(log, "plain 3.2 plain 0.0 ");
  EXPECT_TRUE(lifecycle.Remove(id));
  lifecycle.Force(kInRoot, worker);
  EXPECT_EQ(log, "plain 3.2 plain 0.0 plain ");
}

TEST(StateCb, CallbacksOfOneEventShareItsWorker) {
  Lifecycle lifecycle;
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd read_end(ends[0]);
  lifecycle.Add(kBeforeFork, [fd = ends[1]](WorkerEvent& worker) {
    worker.KeepInRoot("end", UniqueFd(fd));
  });
  int taken = 0;
  for (int i = 0; i < 2; ++i) {
    lifecycle.Add(kInRoot, [&taken](WorkerEvent& worker) {
      taken += worker.Take("end") ? 1 : 0;
    });
  }
  WorkerEvent worker(0, 1, 0);
  lifecycle.Force(kBeforeFork, worker);
  worker.EnterRoot(getpid());
  lifecycle.Force(kInRoot, worker);
  EXPECT_EQ(taken, 1);
}

TEST(StateCb, ANullCallbackOfEitherKindIsRefused) {
  Lifecycle lifecycle;
  EXPECT_EQ(lifecycle.Add(kInRoot, MoveOnlyFunction<void(WorkerEvent&)>()),
            Lifecycle::CallbackId::kNone);
  EXPECT_EQ(lifecycle.Add(kNever, [](WorkerEvent&) {}),
            Lifecycle::CallbackId::kNone);
  EXPECT_FALSE(lifecycle.Has(kInRoot));
}

}  // namespace
}  // namespace fio
