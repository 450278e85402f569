// A Resolver that asks in child processes. This program has one thread, as the
// process has for which that is.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/base/clock.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/loop/loop.h"
#include "fio/core/resolver.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int kManyTurns = 1000;

Url Parse(std::string_view text) {
  const absl::StatusOr<Url> url = Url::Parse(text);
  EXPECT_TRUE(url.ok()) << url.status();
  return *url;
}

Resolver::Addresses Somewhere(const Url& url) {
  return std::vector<SocketAddress>{
      *SocketAddress::FromIp("192.0.2.1", url.port().value_or(0)),
      *SocketAddress::FromIp("2001:db8::1", url.port().value_or(0))};
}

[[noreturn]] Resolver::Addresses Never(const Url& /*url*/) {
  for (;;) pause();
}

// Memory that children share with this process.
class Shared {
 public:
  Shared()
      : memory_(mmap(nullptr, sizeof(std::atomic<int>), PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS, -1, 0)),
        number_(*new (memory_) std::atomic<int>(0)) {}
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  ~Shared() { munmap(memory_, sizeof(std::atomic<int>)); }

  std::atomic<int>& number() { return number_; }

 private:
  void* memory_;
  std::atomic<int>& number_;
};

int Threads() {
  return static_cast<int>(
      std::distance(std::filesystem::directory_iterator("/proc/self/task"),
                    std::filesystem::directory_iterator()));
}

class ResolverInProcesses : public ::testing::Test {
 protected:
  ResolverInProcesses() {
    absl::StatusOr<std::unique_ptr<Loop>> loop = Loop::Create({});
    EXPECT_TRUE(loop.ok()) << loop.status();
    loop_ = *std::move(loop);
  }
  ~ResolverInProcesses() override {
    resolver_ = nullptr;
    // Nobody is left behind, and nobody is left to be reaped.
    EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
    EXPECT_EQ(errno, ECHILD);
  }

  void Use(Resolver::Function ask) {
    resolver_ = Resolver::InProcesses(*loop_, std::move(ask));
  }
  Resolver::QuestionId Ask(std::string_view url) {
    return resolver_->Resolve(Parse(url), loop_->handle(),
                              [this](Resolver::Addresses answer) {
                                answers_.push_back(std::move(answer));
                              });
  }
  bool RunUntil(const std::function<bool()>& so) {
    for (int i = 0; i < kManyTurns && !so(); ++i) {
      const MonotonicTime soon =
          loop_->options().clock->Now() + absl::Milliseconds(10);
      if (!loop_->RunOnce(soon).ok()) return false;
    }
    return so();
  }
  Resolver::Addresses Answer(std::string_view url) {
    answers_.clear();
    Ask(url);
    EXPECT_TRUE(RunUntil([&] { return !answers_.empty(); }));
    return answers_.empty() ? absl::UnknownError("none") : answers_.front();
  }
  // The text of an error that tells what `look` saw in the child.
  std::string SeenInChild(const std::function<std::string()>& look) {
    Use([look](const Url&) { return absl::NotFoundError(look()); });
    return std::string(Answer("tcp://name.test:80").status().message());
  }

  std::unique_ptr<Loop> loop_;
  std::unique_ptr<Resolver> resolver_;
  std::vector<Resolver::Addresses> answers_;
};

TEST_F(ResolverInProcesses, AnswersWithoutAThread) {
  Use(&Somewhere);
  const Resolver::Addresses answer = Answer("tcp://name.test:80");
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(*answer, *Somewhere(Parse("tcp://name.test:80")));
  EXPECT_EQ(Threads(), 1);
  EXPECT_TRUE(RunUntil([&] { return resolver_->asking() == 0; }));
}

TEST_F(ResolverInProcesses, AsksTheSystem) {
  resolver_ = Resolver::InProcesses(*loop_);
  // Never exists (RFC 6761); whether a server can be asked differs.
  const absl::Status none = Answer("tcp4://name.invalid:80").status();
  EXPECT_TRUE(absl::IsNotFound(none) || absl::IsUnavailable(none)) << none;
  EXPECT_THAT(none.message(), HasSubstr("resolve tcp4://name.invalid:80: "));
}

TEST_F(ResolverInProcesses, OnlyNamesNeedThem) {
  const pid_t self = getpid();
  Use([self](const Url& url) -> Resolver::Addresses {
    if (getpid() == self) return absl::InternalError("asked in the parent");
    return Somewhere(url);
  });
  EXPECT_TRUE(Answer("tcp://127.0.0.1:80").ok());
  EXPECT_TRUE(Answer("tcp://localhost:80").ok());
  EXPECT_EQ(resolver_->asking(), 0);
  EXPECT_TRUE(Answer("tcp://name.test:80").ok());
}

TEST_F(ResolverInProcesses, ErrorsComeThrough) {
  Use([](const Url&) { return absl::NotFoundError("no such name"); });
  EXPECT_EQ(Answer("tcp://name.test:80").status(),
            absl::NotFoundError("no such name"));
}

TEST_F(ResolverInProcesses, ChildHasNoDescriptorOfOurs) {
  EXPECT_EQ(SeenInChild([] {
              struct stat null = {};
              stat("/dev/null", &null);
              int null_streams = 0, others = 0;
              for (int fd = 0; fd < 1024; ++fd) {
                struct stat is = {};
                if (fstat(fd, &is) != 0) continue;
                if (fd > STDERR_FILENO) {
                  ++others;
                } else if (is.st_rdev == null.st_rdev) {
                  ++null_streams;
                }
              }
              return absl::StrCat(null_streams, " and ", others);
            }),
            "3 and 1");
}

// A signal to the group must not be counted by the child's copy of a handler.
TEST_F(ResolverInProcesses, ChildHearsNoSignalAndEndsWithUs) {
  sigset_t before, now;
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  EXPECT_EQ(SeenInChild([] {
              sigset_t mask;
              pthread_sigmask(SIG_SETMASK, nullptr, &mask);
              int end_signal = 0;
              prctl(PR_GET_PDEATHSIG, &end_signal);
              return absl::StrCat(sigismember(&mask, SIGINT),
                                  sigismember(&mask, SIGTERM),
                                  sigismember(&mask, SIGUSR1), " ", end_signal);
            }),
            absl::StrCat("111 ", SIGKILL));
  pthread_sigmask(SIG_SETMASK, nullptr, &now);
  for (int number = 1; number < NSIG; ++number) {
    EXPECT_EQ(sigismember(&now, number), sigismember(&before, number));
  }
}

TEST_F(ResolverInProcesses, ChildRunsNoExitHandler) {
  static Shared shared;
  static const pid_t self = getpid();
  ASSERT_EQ(std::atexit([] {
              if (getpid() != self) ++shared.number();
            }),
            0);
  Use(&Somewhere);
  EXPECT_TRUE(Answer("tcp://name.test:80").ok());
  EXPECT_TRUE(RunUntil([&] { return resolver_->asking() == 0; }));
  EXPECT_EQ(shared.number(), 0);
}

TEST_F(ResolverInProcesses, ChildThatCrashesIsToldOf) {
  Use([](const Url& url) {
    std::raise(SIGKILL);
    return Somewhere(url);
  });
  const absl::Status killed = Answer("tcp://name.test:80").status();
  EXPECT_TRUE(absl::IsUnavailable(killed)) << killed;
  EXPECT_THAT(killed.message(),
              AllOf(HasSubstr("tcp://name.test:80"), HasSubstr("signal 9")));
  Use([](const Url& url) {
    _exit(3);
    return Somewhere(url);
  });
  const absl::Status ended = Answer("tcp://name.test:80").status();
  EXPECT_TRUE(absl::IsUnavailable(ended)) << ended;
  EXPECT_THAT(ended.message(), HasSubstr("exit code 3"));
}

TEST_F(ResolverInProcesses, FailedCallIsNamed) {
  Use(&Somewhere);
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none = {.rlim_cur = 0, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const absl::Status failed = Answer("tcp://name.test:80").status();
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_TRUE(absl::IsResourceExhausted(failed)) << failed;
  EXPECT_THAT(failed.message(), HasSubstr("resolve tcp://name.test:80: "));
  // It can ask again.
  EXPECT_TRUE(Answer("tcp://name.test:80").ok());
}

TEST_F(ResolverInProcesses, CancelKills) {
  Use(&Never);
  const Resolver::QuestionId one = Ask("tcp://name.test:80");
  const Resolver::QuestionId other = Ask("tcp://name.test:81");
  ASSERT_TRUE(RunUntil([&] { return resolver_->asking() == 1; }));
  resolver_->Cancel(one);
  EXPECT_TRUE(loop_->RunOnce(MonotonicTime::InfinitePast()).ok());
  EXPECT_EQ(resolver_->asking(), 1);
  resolver_->Cancel(other);
  EXPECT_TRUE(RunUntil([&] { return resolver_->asking() == 0; }));
  EXPECT_TRUE(answers_.empty());
}

// Who comes after those who have given up is answered.
TEST_F(ResolverInProcesses, CancelledNameIsAskedAnew) {
  Shared asked;
  Use([&asked](const Url& url) {
    return ++asked.number() == 1 ? Never(url) : Somewhere(url);
  });
  const Resolver::QuestionId question = Ask("tcp://name.test:80");
  ASSERT_TRUE(RunUntil([&] { return asked.number() == 1; }));
  resolver_->Cancel(question);
  EXPECT_TRUE(Answer("tcp://name.test:80").ok());
  EXPECT_EQ(asked.number(), 2);
  EXPECT_EQ(answers_.size(), 1u);
}

TEST_F(ResolverInProcesses, BoundedAtATime) {
  Shared asked;
  Use([&asked](const Url& url) {
    ++asked.number();
    return Never(url);
  });
  std::vector<Resolver::QuestionId> questions;
  for (int i = 0; i < 2 * Resolver::kAtATime; ++i) {
    questions.push_back(Ask(absl::StrCat("tcp://name", i, ".test:80")));
  }
  ASSERT_TRUE(RunUntil([&] { return asked.number() == Resolver::kAtATime; }));
  EXPECT_EQ(resolver_->asking(), Resolver::kAtATime);
  // Each that is killed makes room.
  for (int i = 0; i < Resolver::kAtATime; ++i) resolver_->Cancel(questions[i]);
  ASSERT_TRUE(
      RunUntil([&] { return asked.number() == 2 * Resolver::kAtATime; }));
  EXPECT_EQ(resolver_->asking(), Resolver::kAtATime);
}

TEST_F(ResolverInProcesses, LeavesOtherChildrenAlone) {
  Use(&Somewhere);
  const pid_t ours = fork();
  if (ours == 0) _exit(7);
  EXPECT_TRUE(Answer("tcp://name.test:80").ok());
  int status = 0;
  EXPECT_EQ(waitpid(ours, &status, 0), ours);
  EXPECT_EQ(WEXITSTATUS(status), 7);
}

TEST_F(ResolverInProcesses, SurvivesOthersWhoReap) {
  Shared may_answer;
  Use([&may_answer](const Url& url) {
    while (may_answer.number() == 0) continue;
    return Somewhere(url);
  });
  Ask("tcp://name.test:80");
  EXPECT_TRUE(loop_->RunOnce(MonotonicTime::InfinitePast()).ok());
  ++may_answer.number();
  EXPECT_GT(waitpid(-1, nullptr, 0), 0);
  ASSERT_TRUE(RunUntil([&] { return !answers_.empty(); }));
  EXPECT_TRUE(answers_.front().ok()) << answers_.front().status();
}

TEST_F(ResolverInProcesses, DestroyedInAForkedChildChangesNothing) {
  Shared may_answer;
  Use([&may_answer](const Url& url) {
    while (may_answer.number() == 0) continue;
    return Somewhere(url);
  });
  Ask("tcp://name.test:80");
  EXPECT_TRUE(loop_->RunOnce(MonotonicTime::InfinitePast()).ok());
  EXPECT_EQ(resolver_->asking(), 1);
  const pid_t child = fork();
  if (child == 0) {
    resolver_ = nullptr;
    loop_ = nullptr;
    _exit(0);
  }
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  ++may_answer.number();
  ASSERT_TRUE(RunUntil([&] { return !answers_.empty(); }));
  EXPECT_TRUE(answers_.front().ok()) << answers_.front().status();
}

TEST_F(ResolverInProcesses, MayDieAtAnyTime) {
  Use(&Never);
  Ask("tcp://name.test:80");
  resolver_ = nullptr;  // Before the child is forked,
  EXPECT_TRUE(loop_->RunOnce(MonotonicTime::InfinitePast()).ok());
  Use(&Never);
  Ask("tcp://name.test:80");
  EXPECT_TRUE(loop_->RunOnce(MonotonicTime::InfinitePast()).ok());
  EXPECT_EQ(resolver_->asking(), 1);
  resolver_ = nullptr;  // and while it asks.
  EXPECT_TRUE(loop_->RunOnce(MonotonicTime::InfinitePast()).ok());
  EXPECT_TRUE(answers_.empty());
}

}  // namespace
}  // namespace fio
