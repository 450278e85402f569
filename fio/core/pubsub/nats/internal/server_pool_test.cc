#include "fio/core/pubsub/nats/internal/server_pool.h"

#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio::nats_internal {
namespace {

using ::testing::UnorderedElementsAre;
using Strings = std::vector<std::string>;

// Until a round is over.
Strings Round(ServerPool& pool) {
  Strings round;
  do {
    round.push_back(pool.Next());
  } while (!pool.IsRoundOver());
  return round;
}

TEST(ServerPool, EachOnceInARound) {
  ServerPool pool(Strings{"a", "b", "c"}, 7);
  EXPECT_TRUE(pool.IsRoundOver());
  const Strings round = Round(pool);
  EXPECT_THAT(round, UnorderedElementsAre("a", "b", "c"));
  EXPECT_EQ(Round(pool), round);
}

TEST(ServerPool, TheOrderIsDrawn) {
  std::set<Strings> orders;
  for (int seed = 1; seed < 100; ++seed) {
    ServerPool pool(Strings{"a", "b", "c"}, seed);
    orders.insert(Round(pool));
  }
  EXPECT_EQ(orders.size(), 6u);
}

TEST(ServerPool, WhoIsToldOfIsTriedInTheSameRound) {
  ServerPool pool(Strings{"a"}, 1);
  EXPECT_EQ(pool.Next(), "a");
  pool.Update(Strings{"a", "b", "c"}, "a");
  EXPECT_EQ(pool.size(), 3u);
  EXPECT_THAT(Round(pool), UnorderedElementsAre("b", "c"));
  EXPECT_THAT(Round(pool), UnorderedElementsAre("a", "b", "c"));
}

TEST(ServerPool, WhoIsNotToldOfAnyMoreGoes) {
  ServerPool pool(Strings{"a"}, 1);
  EXPECT_EQ(pool.Next(), "a");
  pool.Update(Strings{"b", "c", "d"}, "a");
  const std::string current = pool.Next();
  pool.Update(Strings{}, current);
  EXPECT_EQ(pool.size(), 2u) << "the given one and the current one";
  EXPECT_TRUE(pool.IsRoundOver());
  EXPECT_THAT(Round(pool), UnorderedElementsAre("a", current));
}

TEST(ServerPool, Others) {
  ServerPool pool(Strings{"a"}, 1);
  EXPECT_FALSE(pool.HasOther("a"));
  EXPECT_TRUE(pool.HasOther("b"));
  pool.Update(Strings{"b"}, "a");
  EXPECT_TRUE(pool.HasOther("a"));
}

}  // namespace
}  // namespace fio::nats_internal
