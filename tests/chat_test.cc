// The chat example, run and talked to as its users would.

#include <csignal>
#include <cstddef>
#include <fstream>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/chat_room.h"
#include "tests/example.h"

namespace fio {
namespace {

using testing::ChatClient;
using testing::ExpectRefusal;
using ::testing::HasSubstr;
using testing::ReadUntil;
using testing::Server;

constexpr char kProgram[] = "examples/chat/chat";
constexpr size_t kClients = 200;

// Whether `who`'s answer to /who names that many.
size_t CountNames(const std::string& answer) {
  return std::vector<std::string>(absl::StrSplit(answer, ", ")).size();
}

// When all have answered, all listen: see Hall::AskWho().
void WaitUntilInLobby(ChatClient& client, size_t count) {
  do {
    client.Say("/who");
  } while (CountNames(client.WaitFor("* In lobby: ")) != count);
}

// The number that each sender has said last, by the sender's name, as one
// client hears it: 1, 2, 3 and so on.
class Heard {
 public:
  // Takes the lines of `client` that are "NAME: PREFIXn".
  void Take(ChatClient& client, std::string_view prefix) {
    for (; !client.lines().empty(); client.lines().pop_front()) {
      const std::pair<std::string, std::string> parts =
          absl::StrSplit(client.lines().front(), absl::MaxSplits(": ", 1));
      std::string_view text = parts.second;
      if (!absl::ConsumePrefix(&text, prefix)) continue;
      size_t number = 0;
      EXPECT_TRUE(absl::SimpleAtoi(text, &number)) << text;
      EXPECT_EQ(number, ++last_[parts.first]) << "of " << parts.first;
      ++count_;
    }
  }

  size_t count() const { return count_; }
  size_t senders() const { return last_.size(); }

 private:
  std::map<std::string, size_t> last_;
  size_t count_ = 0;
};

// Each of `clients` says `lines` lines; all hear those of all others, once and
// in order.
void ExpectAllHearAll(std::vector<ChatClient>& clients, std::string_view prefix,
                      size_t lines) {
  for (size_t line = 1; line <= lines; ++line) {
    for (ChatClient& client : clients) client.Say(absl::StrCat(prefix, line));
  }
  const size_t others = clients.size() - 1;
  std::vector<Heard> heard(clients.size());
  ReadUntil(clients, [&] {
    bool all = true;
    for (size_t i = 0; i < clients.size(); ++i) {
      heard[i].Take(clients[i], prefix);
      all = all && heard[i].count() == others * lines;
    }
    return all;
  });
  for (const Heard& each : heard) EXPECT_EQ(each.senders(), others);
}

std::vector<ChatClient> ConnectMany(const Server& server, size_t count) {
  std::vector<ChatClient> clients;
  clients.reserve(count);
  for (size_t i = 0; i < count; ++i) clients.emplace_back(server.address());
  return clients;
}

std::vector<pid_t> WorkersOf(pid_t root) {
  std::ifstream children(
      absl::StrCat("/proc/", root, "/task/", root, "/children"));
  std::vector<pid_t> workers;
  for (pid_t worker; children >> worker;) workers.push_back(worker);
  return workers;
}

TEST(ChatExample, SaysWhatIsWrongWithItsFlags) {
  ExpectRefusal(kProgram, {"--url=nowhere"}, "nowhere");
}

TEST(ChatExample, ALineReachesTheOthersAndNotItsSender) {
  Server server(kProgram);
  ChatClient ann(server.address());
  ChatClient ben(server.address());
  EXPECT_EQ(ann.name(), "guest-1");
  EXPECT_EQ(ben.name(), "guest-2");
  ann.Say("hello\r");
  EXPECT_EQ(ben.WaitFor("guest-1"), "guest-1: hello");
  ben.Say("hello yourself");
  EXPECT_EQ(ann.WaitFor("guest-2"), "guest-2: hello yourself");
}

TEST(ChatExample, NamesRoomsAndWhoIsThere) {
  Server server(kProgram, {"--workers=2", "--threads=2"});
  ChatClient ann(server.address());
  ChatClient ben(server.address());
  WaitUntilInLobby(ann, 2);
  ann.Say("/nick ann");
  EXPECT_EQ(ann.WaitFor("* You are ann"), "* You are ann now.");
  EXPECT_EQ(ben.WaitFor("* guest-1 is"), "* guest-1 is now ann");
  ann.Say("/join tea");
  EXPECT_EQ(ben.WaitFor("* ann has"), "* ann has left");
  ann.Say("/who");
  EXPECT_EQ(ann.WaitFor("* In"), "* In tea: ann");
  ann.Say("only for tea");
  ann.Say("/who");
  EXPECT_EQ(ann.WaitFor("* In"), "* In tea: ann");
  ben.Say("/join tea");
  EXPECT_EQ(ann.WaitFor("* guest-2 has"), "* guest-2 has joined");
  ann.Say("welcome");
  EXPECT_EQ(ben.WaitFor("ann"), "ann: welcome");
}

TEST(ChatExample, HistoryIsShownOnceAndInOrder) {
  Server server(kProgram, {"--workers=2"});
  ChatClient ann(server.address());
  ChatClient ben(server.address());
  WaitUntilInLobby(ann, 2);
  for (int i = 1; i <= 5; ++i) ann.Say(absl::StrCat("line ", i));
  EXPECT_EQ(ben.WaitFor("guest-1: line 5"), "guest-1: line 5");
  ChatClient late(server.address());
  late.Say("/history 3");
  EXPECT_EQ(late.WaitFor("guest-1"), "guest-1: line 3");
  EXPECT_EQ(late.WaitFor("guest-1"), "guest-1: line 4");
  EXPECT_EQ(late.WaitFor("guest-1"), "guest-1: line 5");
  // From now on when it joins, too.
  late.Say("/join tea");
  late.Say("/join lobby");
  EXPECT_EQ(late.WaitFor("guest-1"), "guest-1: line 3");
  EXPECT_EQ(late.WaitFor("guest-1: line 5"), "guest-1: line 5");
  ann.Say("line 6");
  EXPECT_EQ(late.WaitFor("guest-1"), "guest-1: line 6");
}

TEST(ChatExample, RefusesWhatItDoesNotUnderstand) {
  Server server(kProgram);
  ChatClient ann(server.address());
  ChatClient ben(server.address());
  for (const std::string_view line :
       {"/nick", "/nick a b", "/nick \x1b[2J", "/join /", "/history x",
        "/history 1001", "/dance"}) {
    ann.Say(line);
    EXPECT_THAT(ann.WaitFor("* /"), HasSubstr("/")) << line;
  }
  ann.Say(std::string(1001, 'x'));
  EXPECT_EQ(ann.WaitFor("* That"), "* That line is too long.");
  ann.Say(std::string(200'000, 'x'));
  EXPECT_EQ(ann.WaitFor("* That"), "* That line is too long.");
  ann.Say("bell \a and clear \x1b[2J");
  EXPECT_EQ(ben.WaitFor("guest-1"), "guest-1: bell ? and clear ?[2J");
  ann.Say("/quit");
  EXPECT_EQ(ann.WaitFor("* Good"), "* Good bye.");
  EXPECT_EQ(ann.NextLine(), "");
}

TEST(ChatExample, AllOfManyHearAllOnceAndInOrder) {
  Server server(kProgram, {"--workers=3"});
  std::vector<ChatClient> clients = ConnectMany(server, kClients);
  WaitUntilInLobby(clients[0], kClients);
  ExpectAllHearAll(clients, "line ", 5);
}

// Who was served by others goes on, and whoever comes is heard.
TEST(ChatExample, AKilledWorkerCostsOnlyItsClients) {
  Server server(kProgram, {"--workers=3"});
  std::vector<ChatClient> clients = ConnectMany(server, 30);
  WaitUntilInLobby(clients[0], 30);
  const std::vector<pid_t> workers = WorkersOf(server.process().pid());
  ASSERT_EQ(workers.size(), 3u);
  kill(workers[1], SIGKILL);
  for (ChatClient& client : clients) {
    client.Say("/who");
    client.WaitFor("* In lobby: ");
  }
  const size_t before = std::erase_if(
      clients, [](const ChatClient& client) { return client.ended(); });
  EXPECT_GT(before, 0u);
  EXPECT_LT(before, 30u);
  for (ChatClient& client : ConnectMany(server, before)) {
    clients.push_back(std::move(client));
  }
  WaitUntilInLobby(clients[0], 30);
  ExpectAllHearAll(clients, "after ", 3);
}

}  // namespace
}  // namespace fio
