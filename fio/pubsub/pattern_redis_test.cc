// Patterns against a real redis-server: PUBLISH tells how many patterns the
// name matched.

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "fio/pubsub/pattern.h"
#include "fio/pubsub/pattern_redis_table.h"
#include "gtest/gtest.h"
#include "tests/servers/redis_connection.h"
#include "tests/servers/redis_server.h"

namespace fio {
namespace {

using std::string_view_literals::operator""sv;
using testing::RedisConnection;
using testing::RedisReply;
using testing::RedisServer;

struct Trial {
  std::string pattern;
  std::vector<std::string> names;
};

// What of them matches, trial by trial and name by name. One connection, which
// speaks RESP 3, may subscribe and publish, so the order is sure.
std::vector<bool> AskServer(RedisConnection& connection,
                            const std::vector<Trial>& trials) {
  size_t names = 0;
  for (const Trial& trial : trials) {
    connection.Add({"PSUBSCRIBE", trial.pattern});
    for (const std::string& name : trial.names) {
      connection.Add({"PUBLISH", name, ""});
      ++names;
    }
    connection.Add({"PUNSUBSCRIBE", trial.pattern});
  }
  connection.Send();
  std::vector<bool> matches;
  while (matches.size() < names) {
    const RedisReply reply = connection.Read();
    if (reply.type == ':') {
      EXPECT_LE(reply.integer, 1);
      matches.push_back(reply.integer == 1);
    } else {
      EXPECT_EQ(reply.type, '>') << reply.text;
    }
  }
  return matches;
}

RedisConnection ConnectTo(const RedisServer& server) {
  RedisConnection connection(server.path());
  connection.Add({"HELLO", "3"});
  connection.Send();
  EXPECT_EQ(connection.Read().type, '%');
  return connection;
}

// Returns how many match. The first pattern that fails is the last.
int ExpectSame(RedisConnection& connection, const std::vector<Trial>& trials) {
  int count = 0;
  const std::vector<bool> matches = AskServer(connection, trials);
  auto match = matches.begin();
  for (const Trial& trial : trials) {
    const auto pattern = Pattern::Compile(trial.pattern, PatternMode::kRedis);
    EXPECT_TRUE(pattern.ok()) << pattern.status();
    for (const std::string& name : trial.names) {
      EXPECT_EQ(pattern->Matches(name), *match)
          << '"' << absl::CHexEscape(trial.pattern) << "\" and \""
          << absl::CHexEscape(name) << '"';
      count += *match++ ? 1 : 0;
    }
    if (::testing::Test::HasFailure()) break;
  }
  return count;
}

constexpr std::string_view kBytes = "aabbc-]^*?[\\!.\x7F\x80\xFF\0"sv;
constexpr std::string_view kPieces[] = {
    "a",
    "b",
    "c",
    "-",
    "]",
    "[",
    "^",
    "\\",
    "*",
    "*",
    "*",
    "?",
    "!",
    "\xFF",
    "\x80",
    "\0"sv,
    "[a-c]",
    "[^a]",
    "[c-a]",
    "\\*",
    "[\\]a]",
    "[^]",
    "[^",
    "[a",
    "[b-\xFF]",
    "[]",
    "[\x80-b]",
    "[a-",
    "[^\xFF-\x80]",
    "\\\\",
    ".",
    "[\\",
};

class Maker {
 public:
  std::string Pattern() {
    std::string pattern;
    for (size_t pieces = Below(9); pieces > 0; --pieces) {
      pattern += kPieces[Below(std::size(kPieces))];
    }
    return pattern;
  }

  std::string Name(size_t max_bytes) {
    std::string name;
    for (size_t bytes = Below(max_bytes + 1); bytes > 0; --bytes) {
      name += kBytes[Below(kBytes.size())];
    }
    return name;
  }

  // One that is likely to match.
  std::string NameFor(std::string_view pattern) {
    std::string name;
    while (!pattern.empty()) {
      const char byte = pattern[0];
      pattern.remove_prefix(1);
      if (byte == '*') {
        name += Name(2);
      } else if (byte == '?') {
        name += kBytes[Below(kBytes.size())];
      } else if (byte == '[') {
        const std::string_view set = pattern.substr(0, pattern.find(']'));
        pattern.remove_prefix(std::min(set.size() + 1, pattern.size()));
        if (!set.empty()) name += set[Below(set.size())];
      } else if (byte != '\\') {
        name += byte;
      }
    }
    return name;
  }

 private:
  size_t Below(size_t end) { return random_() % end; }

  std::mt19937_64 random_{20'221'115};
};

TEST(Pattern, RedisDifferential) {
  constexpr int kPatterns = 2'000;
  constexpr int kNames = 15;  // Twice.
  const RedisServer server;
  RedisConnection connection = ConnectTo(server);
  Maker maker;
  int matches = 0;
  std::vector<Trial> trials;
  for (int i = 0; i < kPatterns && !HasFailure(); ++i) {
    Trial trial = {.pattern = maker.Pattern(), .names = {}};
    for (int j = 0; j < kNames; ++j) {
      trial.names.push_back(maker.Name(6));
      trial.names.push_back(maker.NameFor(trial.pattern));
    }
    trials.push_back(std::move(trial));
    if (trials.size() == 100) {
      matches += ExpectSame(connection, trials);
      trials.clear();
    }
  }
  // Both answers are tried in plenty.
  constexpr int kPairs = kPatterns * kNames * 2;
  EXPECT_GT(matches, kPairs / 10);
  EXPECT_LT(matches, kPairs * 9 / 10);
}

TEST(Pattern, RedisTableIsTheServers) {
  const RedisServer server;
  RedisConnection connection = ConnectTo(server);
  std::vector<Trial> trials;
  for (const testing::RedisCase& row : testing::kRedisTable) {
    trials.push_back({std::string(row.pattern), {std::string(row.name)}});
  }
  const std::vector<bool> matches = AskServer(connection, trials);
  ASSERT_EQ(matches.size(), std::size(testing::kRedisTable));
  for (size_t i = 0; i < matches.size(); ++i) {
    EXPECT_EQ(testing::kRedisTable[i].matches, matches[i])
        << '"' << absl::CHexEscape(trials[i].pattern) << "\" and \""
        << absl::CHexEscape(trials[i].names[0]) << '"';
  }
}

// Long ones, in which the server may have to search.
TEST(Pattern, RedisDifferentialOfLongPatterns) {
  const RedisServer server;
  RedisConnection connection = ConnectTo(server);
  const std::string many(1'000, 'a');
  std::string stars, pairs;
  for (int i = 0; i < 900; ++i) stars += "a*";
  for (int i = 0; i < 300; ++i) pairs += "*a[^b]";
  ExpectSame(connection,
             {{many, {many, many + "a", many.substr(1)}},
              {stars, {many, many.substr(101), many.substr(100)}},
              {pairs, {many, many.substr(401), many + "b", many.substr(400)}},
              {"*" + stars + "b", {many, many + "b"}}});
}

}  // namespace
}  // namespace fio
