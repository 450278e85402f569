#include "fio/pubsub/internal/backlog.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "fio/pubsub/internal/frame_header.h"
#include "fio/pubsub/internal/message_block.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/subscribe_options.h"
#include "gtest/gtest.h"

namespace fio::pubsub_internal {
namespace {

Backlog::Item Live(std::string_view body, uint64_t sequence = 0) {
  return {.message =
              MessageBlock::New({.sequence = sequence}, "channel", body)};
}

Backlog::Item Replayed(std::string_view body, uint64_t sequence) {
  Backlog::Item item = Live(body, sequence);
  item.replayed = true;
  return item;
}

// "body" or "body(lost)" of all, "|" where a replay has ended.
std::string TakeAll(Backlog& backlog) {
  std::string all;
  while (std::optional<Backlog::Item> item = backlog.Take()) {
    absl::StrAppend(&all, item->message ? item->message.body() : "|");
    if (item->lost > 0) absl::StrAppend(&all, "(", item->lost, ")");
  }
  return all;
}

TEST(Backlog, LiveMessagesWaitForTheEndOfTheReplay) {
  const SlowOptions options;
  Backlog backlog(options);
  backlog.BeginReplay();
  backlog.Add(Live("b", 2));
  backlog.Add(Replayed("a", 1));
  backlog.Add(Live("c", 3));
  backlog.Add(Replayed("b", 2));
  backlog.EndReplay({.last_sequence = 2});
  EXPECT_EQ(TakeAll(backlog), "ab|c");
  EXPECT_TRUE(backlog.empty());
  EXPECT_FALSE(backlog.replaying());
}

// Nobody numbers what is for one process only, or not kept.
TEST(Backlog, WhatHasNoNumberIsNoDuplicate) {
  const SlowOptions options;
  Backlog backlog(options);
  backlog.BeginReplay();
  backlog.Add(Live("x"));
  backlog.EndReplay({.last_sequence = 5});
  EXPECT_EQ(TakeAll(backlog), "|x");
}

TEST(Backlog, WhatHistoryHasLostIsLostBeforeTheFirst) {
  const SlowOptions options;
  Backlog backlog(options);
  backlog.BeginReplay();
  backlog.Add(Replayed("d", 4));
  backlog.Add(Replayed("e", 5));
  backlog.EndReplay({.last_sequence = 5, .lost = 3});
  EXPECT_EQ(TakeAll(backlog), "d(3)e|");
}

TEST(Backlog, WhatHistoryHasLostIsLostBeforeTheFirstLiveOne) {
  const SlowOptions options;
  Backlog backlog(options);
  backlog.BeginReplay();
  backlog.EndReplay({.last_sequence = 5, .lost = 3});
  backlog.Add(Live("f", 6));
  backlog.Add(Live("g", 7));
  EXPECT_EQ(TakeAll(backlog), "|f(3)g");
}

// What is of the past has its own limits.
TEST(Backlog, ReplayedMessagesNeedNoRoom) {
  const SlowOptions options = {.max_messages = 2, .max_bytes = 1000};
  Backlog backlog(options);
  backlog.BeginReplay();
  EXPECT_FALSE(backlog.IsFullFor(Live(std::string(2000, 'a'), 1)));
  for (uint64_t i = 1; i < 5; ++i) {
    backlog.Add(Replayed(std::string(500, 'r'), i));
  }
  EXPECT_FALSE(backlog.IsFullFor(Live("a", 5)));
  backlog.Add(Live("a", 5));
  EXPECT_FALSE(backlog.IsFullFor(Live("b", 6)));
  EXPECT_FALSE(backlog.IsFullFor(Live(std::string(600, 'b'), 6)));
  EXPECT_TRUE(backlog.IsFullFor(Live(std::string(1000, 'b'), 6)));
  backlog.Add(Live("b", 6));
  EXPECT_TRUE(backlog.IsFullFor(Live("c", 7)));
  EXPECT_TRUE(backlog.DropOldest());
  backlog.Add(Live("c", 7));
  backlog.EndReplay({.last_sequence = 4});
  EXPECT_TRUE(backlog.IsFullFor(Live("d", 8)));
  for (int i = 0; i < 4; ++i) backlog.Take();
  EXPECT_EQ(TakeAll(backlog), "|b(1)c");
  EXPECT_FALSE(backlog.IsFullFor(Live("d", 8)));
}

TEST(Backlog, WhatWasDeferredStaysInFront) {
  const SlowOptions options = {.max_messages = 2};
  Backlog backlog(options);
  backlog.PutBack(Live("a"));
  backlog.Add(Live("b"));
  EXPECT_TRUE(backlog.IsFullFor(Live("c")));
  EXPECT_TRUE(backlog.DropOldest());
  EXPECT_FALSE(backlog.DropOldest());
  backlog.CountLost();
  backlog.Add(Live("d"));
  EXPECT_EQ(TakeAll(backlog), "ad(2)");
}

}  // namespace
}  // namespace fio::pubsub_internal
