#include "fio/core/internal/preset.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "fio/core/connector.h"
#include "gtest/gtest.h"

namespace fio::core_internal {
namespace {

Preset::Timer TimerThatNotes(std::string& log, const char* what) {
  return {.callback = [] {},
          .interval = absl::Seconds(1),
          .on_finish = [&log, what] { log += what; }};
}

Preset::Connector ConnectorThatNotes(uint64_t id, std::string& log,
                                     const char* what) {
  ConnectorOptions options;
  options.on_finish = [&log, what] { log += what; };
  return {.id = static_cast<ConnectorId>(id),
          .url = "tcp://127.0.0.1:1",
          .options = std::move(options)};
}

TEST(Preset, WhatNeverRanIsToldAtTheEnd) {
  Preset preset;
  std::string log;
  preset.Add([&log] { log += "task "; });
  preset.Add(TimerThatNotes(log, "timer "));
  preset.Add(ConnectorThatNotes(1, log, "connector "));
  preset.Drop();
  EXPECT_EQ(log, "timer connector ");
  EXPECT_TRUE(preset.tasks().empty());
  EXPECT_TRUE(preset.timers().empty());
  EXPECT_TRUE(preset.connectors().empty());
}

TEST(Preset, WhatRanIsNotTold) {
  Preset preset;
  std::string log;
  preset.Add(TimerThatNotes(log, "timer "));
  preset.MarkStarted();
  EXPECT_EQ(preset.timers().size(), 1u);
  preset.Drop();
  EXPECT_EQ(log, "");
  // The next run is another one.
  preset.Add(TimerThatNotes(log, "timer "));
  preset.Drop();
  EXPECT_EQ(log, "timer ");
}

TEST(Preset, CancelsAConnectorThatWasNotStarted) {
  Preset preset;
  std::string log;
  preset.Add(ConnectorThatNotes(1, log, "first "));
  preset.Add(ConnectorThatNotes(2, log, "second "));
  EXPECT_FALSE(preset.Cancel(static_cast<ConnectorId>(3)));
  EXPECT_TRUE(preset.Cancel(static_cast<ConnectorId>(1)));
  EXPECT_FALSE(preset.Cancel(static_cast<ConnectorId>(1)));
  EXPECT_EQ(log, "first ");
  preset.MarkStarted();
  EXPECT_FALSE(preset.Cancel(static_cast<ConnectorId>(2)));
  EXPECT_EQ(log, "first ");
}

TEST(Preset, OnFinishMayAddForTheNextRun) {
  Preset preset;
  preset.Add(Preset::Timer{.callback = [] {},
                           .interval = absl::Seconds(1),
                           .on_finish = [&preset] { preset.Add([] {}); }});
  preset.Drop();
  EXPECT_TRUE(preset.timers().empty());
  EXPECT_EQ(preset.tasks().size(), 1u);
}

TEST(Preset, AForkedChildHasNotStartedIt) {
  Preset preset;
  std::string log;
  preset.Add(TimerThatNotes(log, "timer "));
  preset.MarkStarted();
  const pid_t child = fork();
  if (child == 0) {
    preset.Drop();
    _exit(log == "timer " ? 0 : 1);
  }
  ASSERT_GT(child, 0);
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  preset.Drop();
  EXPECT_EQ(log, "");
}

}  // namespace
}  // namespace fio::core_internal
