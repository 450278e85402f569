// The poller_pipe example, run as a user would.

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/subprocess.h"

namespace fio {
namespace {

using ::testing::HasSubstr;
using testing::Subprocess;

TEST(PollerPipe, TellsOfTheMessage) {
  for (const char* kind : {"auto", "poll"}) {
    Subprocess program({"examples/poller_pipe", kind});
    EXPECT_EQ(program.ReadLine(), "The pipe is readable: 1");
    EXPECT_EQ(program.ReadLine(), "hello");
    EXPECT_EQ(program.ReadLine(), "");
    EXPECT_EQ(program.Wait(), 0);
  }
}

TEST(PollerPipe, HelpNamesThePollers) {
  for (const char* help : {"--help", "-h"}) {
    Subprocess program({"examples/poller_pipe", help});
    EXPECT_EQ(program.ReadLine(),
              "Usage: poller_pipe [auto|epoll|kqueue|poll]");
    EXPECT_EQ(program.Wait(), 0);
    EXPECT_EQ(program.ReadStderr(), "");
  }
}

TEST(PollerPipe, AnUnknownPollerIsAnError) {
  Subprocess program({"examples/poller_pipe", "select"});
  EXPECT_EQ(program.Wait(), 1);
  EXPECT_THAT(program.ReadStderr(), HasSubstr("no poller is called 'select'"));
}

}  // namespace
}  // namespace fio
