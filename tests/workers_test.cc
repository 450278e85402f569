// The workers example, run, talked to and killed as a user would.

#include <signal.h>
#include <sys/types.h>

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"
#include "fio/testing/loopback_pair.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/example.h"
#include "tests/subprocess.h"

namespace fio {
namespace {

using testing::ConnectTo;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using testing::ExpectRefusal;
using ::testing::HasSubstr;
using testing::ListeningAddress;
using ::testing::Not;
using testing::ReadLine;
using testing::ReadToEnd;
using testing::Subprocess;

constexpr char kProgram[] = "examples/workers";

// What a worker goes through from its fork to its orderly end.
const std::vector<std::string> kWholeLife = {
    "AfterFork", "InChild", "OnStart", "OnShutdown", "OnFinish", "AtExit"};

// The program, and what it has printed, by process.
class Cluster {
 public:
  explicit Cluster(const std::vector<std::string>& flags = {})
      : process_(Arguments(flags)) {}

  pid_t root() const { return process_.pid(); }
  Subprocess& process() { return process_; }

  // Reads until `event` has been printed that often, by all workers or by the
  // root.
  void AwaitOfWorkers(std::string_view event, size_t count) {
    while (CountOfWorkers(event) < count && HearLine()) {
    }
    EXPECT_EQ(CountOfWorkers(event), count) << event;
  }
  void AwaitOfRoot(std::string_view event, size_t count) {
    while (Count(root_events_, event) < count && HearLine()) {
    }
    EXPECT_EQ(Count(root_events_, event), count) << event;
  }
  // Until all processes have ended.
  void AwaitEnd() {
    while (HearLine()) {
    }
  }

  Socket Connect() const { return ConnectTo(address_); }

  const std::vector<std::string>& root_events() const { return root_events_; }
  const std::map<pid_t, std::vector<std::string>>& workers() const {
    return workers_;
  }

 private:
  static std::vector<std::string> Arguments(
      const std::vector<std::string>& flags) {
    std::vector<std::string> arguments = {kProgram, "--url=tcp://127.0.0.1:0"};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    return arguments;
  }

  static size_t Count(const std::vector<std::string>& events,
                      std::string_view event) {
    return static_cast<size_t>(std::count(events.begin(), events.end(), event));
  }
  size_t CountOfWorkers(std::string_view event) const {
    size_t count = 0;
    for (const auto& [pid, events] : workers_) count += Count(events, event);
    return count;
  }

  bool HearLine() {
    const std::string line = process_.ReadLine();
    if (line.empty()) return false;
    if (absl::StartsWith(line, "listening on ")) {
      EXPECT_THAT(root_events_, ElementsAre("OnInitialize", "PreStart"));
      EXPECT_EQ(address_.port(), 0) << "said once";
      address_ = ListeningAddress(line, root());
      return true;
    }
    const std::vector<std::string> words = absl::StrSplit(line, ' ');
    pid_t pid = 0;
    EXPECT_TRUE(words.size() == 3 && absl::SimpleAtoi(words[1], &pid)) << line;
    if (words[0] == "root") {
      EXPECT_EQ(pid, root()) << line;
      root_events_.push_back(words[2]);
    } else {
      EXPECT_EQ(words[0], "worker") << line;
      EXPECT_NE(pid, root()) << line;
      workers_[pid].push_back(words[2]);
    }
    return true;
  }

  Subprocess process_;
  SocketAddress address_;
  std::vector<std::string> root_events_;
  std::map<pid_t, std::vector<std::string>> workers_;
};

// The worker that serves the client, as it says itself.
pid_t WorkerOf(Socket& client) {
  const std::string line = ReadLine(client);
  std::string_view number = line;
  pid_t pid = 0;
  EXPECT_TRUE(absl::ConsumePrefix(&number, "worker ") &&
              absl::ConsumeSuffix(&number, " is here") &&
              absl::SimpleAtoi(number, &pid))
      << line;
  return pid;
}

// Of a root that has forked so many workers, ended in order.
std::vector<std::string> RootEvents(int forks) {
  std::vector<std::string> events = {"OnInitialize", "PreStart"};
  for (int i = 0; i < forks; ++i) {
    events.insert(events.end(), {"BeforeFork", "AfterFork", "InRoot"});
  }
  events.insert(events.end(), {"OnShutdown", "OnFinish", "AtExit"});
  return events;
}

TEST(WorkersExample, EventsComeInOrderInEachProcess) {
  for (const int signal : {SIGTERM, SIGINT, SIGQUIT}) {
    Cluster cluster;
    cluster.AwaitOfWorkers("OnStart", 2);
    cluster.process().Signal(signal);
    cluster.AwaitEnd();
    EXPECT_EQ(cluster.process().Wait(), 0);
    EXPECT_EQ(cluster.process().ReadStderr(), "");
    EXPECT_THAT(cluster.root_events(), ElementsAreArray(RootEvents(2)));
    EXPECT_EQ(cluster.workers().size(), 2);
    for (const auto& [pid, events] : cluster.workers()) {
      EXPECT_THAT(events, ElementsAreArray(kWholeLife)) << pid;
    }
  }
}

TEST(WorkersExample, ASingleProcessIsItsOwnWorker) {
  Cluster cluster({"--workers=1", "--threads=2"});
  cluster.AwaitOfRoot("OnStart", 1);
  Socket client = cluster.Connect();
  EXPECT_EQ(WorkerOf(client), cluster.root());
  cluster.process().Signal(SIGTERM);
  EXPECT_EQ(ReadToEnd(client),
            absl::StrCat("worker ", cluster.root(), " goes\n"));
  cluster.AwaitEnd();
  EXPECT_EQ(cluster.process().Wait(), 0);
  EXPECT_THAT(cluster.root_events(),
              ElementsAre("OnInitialize", "PreStart", "OnStart", "OnShutdown",
                          "OnFinish", "AtExit"));
  EXPECT_EQ(cluster.workers().size(), 0);
}

TEST(WorkersExample, ARestartReplacesAllAndRefusesNobody) {
  Cluster cluster;
  cluster.AwaitOfWorkers("OnStart", 2);
  std::vector<Socket> clients;
  std::vector<pid_t> served_by;
  for (int i = 0; i < 8; ++i) {
    clients.push_back(cluster.Connect());
    served_by.push_back(WorkerOf(clients.back()));
  }
  std::set<pid_t> old;
  for (const auto& [pid, events] : cluster.workers()) old.insert(pid);

  cluster.process().Signal(SIGUSR1);
  for (int i = 0; i < 100; ++i) {
    Socket client = cluster.Connect();
    EXPECT_NE(WorkerOf(client), cluster.root());
  }
  for (size_t i = 0; i < clients.size(); ++i) {
    EXPECT_EQ(ReadToEnd(clients[i]),
              absl::StrCat("worker ", served_by[i], " goes\n"));
  }
  cluster.AwaitOfWorkers("AtExit", 2);
  cluster.AwaitOfWorkers("OnStart", 4);
  for (int i = 0; i < 8; ++i) {
    Socket client = cluster.Connect();
    EXPECT_THAT(old, Not(Contains(WorkerOf(client))));
  }

  cluster.process().Signal(SIGTERM);
  cluster.AwaitEnd();
  EXPECT_EQ(cluster.process().Wait(), 0);
  EXPECT_EQ(cluster.process().ReadStderr(), "");
  EXPECT_THAT(cluster.root_events(), ElementsAreArray(RootEvents(4)));
  EXPECT_EQ(cluster.workers().size(), 4);
  for (const auto& [pid, events] : cluster.workers()) {
    EXPECT_THAT(events, ElementsAreArray(kWholeLife)) << pid;
  }
}

TEST(WorkersExample, ACrashIsToldAndTheWorkerReplaced) {
  Cluster cluster;
  cluster.AwaitOfWorkers("OnStart", 2);
  Socket client = cluster.Connect();
  const pid_t victim = WorkerOf(client);
  ASSERT_EQ(cluster.workers().count(victim), 1);
  ASSERT_EQ(kill(victim, SIGKILL), 0);
  EXPECT_EQ(ReadToEnd(client), "");
  cluster.AwaitOfRoot("OnChildCrash", 1);
  cluster.AwaitOfWorkers("OnStart", 3);
  for (int i = 0; i < 8; ++i) {
    Socket another = cluster.Connect();
    EXPECT_NE(WorkerOf(another), victim);
  }

  cluster.process().Signal(SIGTERM);
  cluster.AwaitEnd();
  EXPECT_EQ(cluster.process().Wait(), 0);
  const std::string log = cluster.process().ReadStderr();
  EXPECT_THAT(log, HasSubstr(absl::StrCat("process ", victim)));
  EXPECT_THAT(log, Not(HasSubstr("absl::InitializeLog")));
  std::vector<std::string> expected = RootEvents(3);
  expected.insert(expected.begin() + 2 + 2 * 3, "OnChildCrash");
  EXPECT_THAT(cluster.root_events(), ElementsAreArray(expected));
  EXPECT_EQ(cluster.workers().size(), 3);
  for (const auto& [pid, events] : cluster.workers()) {
    if (pid == victim) {
      EXPECT_THAT(events, ElementsAre("AfterFork", "InChild", "OnStart"));
    } else {
      EXPECT_THAT(events, ElementsAreArray(kWholeLife)) << pid;
    }
  }
}

TEST(WorkersExample, AWorkerThatIsToldToStopIsReplacedAndThatIsNoCrash) {
  for (const int signal : {SIGTERM, SIGUSR1}) {
    Cluster cluster;
    cluster.AwaitOfWorkers("OnStart", 2);
    Socket client = cluster.Connect();
    const pid_t stopped = WorkerOf(client);
    ASSERT_EQ(cluster.workers().count(stopped), 1);
    ASSERT_EQ(kill(stopped, signal), 0);
    EXPECT_EQ(ReadToEnd(client), absl::StrCat("worker ", stopped, " goes\n"));
    cluster.AwaitOfWorkers("OnStart", 3);

    cluster.process().Signal(SIGTERM);
    cluster.AwaitEnd();
    EXPECT_EQ(cluster.process().Wait(), 0);
    EXPECT_EQ(cluster.process().ReadStderr(), "");
    EXPECT_THAT(cluster.root_events(), ElementsAreArray(RootEvents(3)));
    for (const auto& [pid, events] : cluster.workers()) {
      EXPECT_THAT(events, ElementsAreArray(kWholeLife)) << pid;
    }
  }
}

TEST(WorkersExample, WorkersEndInOrderWhenTheirRootIsKilled) {
  Cluster cluster;
  cluster.AwaitOfWorkers("OnStart", 2);
  cluster.process().Signal(SIGKILL);
  cluster.AwaitEnd();
  EXPECT_EQ(cluster.process().Wait(), -SIGKILL);
  std::vector<std::string> expected = kWholeLife;
  expected.insert(expected.begin() + 3, "OnParentCrash");
  EXPECT_EQ(cluster.workers().size(), 2);
  for (const auto& [pid, events] : cluster.workers()) {
    EXPECT_THAT(events, ElementsAreArray(expected)) << pid;
  }
}

// "AtExit" is printed behind Run(), which has put SIGPIPE back by then.
TEST(Workers, BrokenPipeAtExit) {
  for (const char* workers : {"--workers=1", "--workers=2"}) {
    Cluster cluster({workers});
    if (absl::EndsWith(workers, "1")) {
      cluster.AwaitOfRoot("OnStart", 1);
    } else {
      cluster.AwaitOfWorkers("OnStart", 2);
    }
    cluster.process().CloseStdout();
    cluster.process().Signal(SIGTERM);
    EXPECT_EQ(cluster.process().Wait(), 0) << workers;
    EXPECT_EQ(cluster.process().ReadStderr(), "") << workers;
  }
}

TEST(WorkersExample, MistakesAreOneLineAndExitCodeOne) {
  ExpectRefusal(kProgram, {"--url=nonsense"}, "listen: url 'nonsense'");
  ExpectRefusal(kProgram, {"--workers=many"}, "workers");
  ExpectRefusal(kProgram, {"argument"}, "unexpected argument 'argument'");
}

}  // namespace
}  // namespace fio
