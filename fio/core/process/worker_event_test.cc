#include "fio/core/process/worker_event.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <utility>

#include "fio/base/unique_fd.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

struct Pipe {
  Pipe() {
    std::array<int, 2> ends;
    EXPECT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
    read_end = UniqueFd(ends[0]);
    write_end = UniqueFd(ends[1]);
  }

  UniqueFd read_end, write_end;
};

bool IsOpen(int fd) { return fcntl(fd, F_GETFD) >= 0; }

TEST(WorkerEvent, IsAboutNoWorkerAtFirst) {
  WorkerEvent event;
  EXPECT_EQ(event.place(), 0);
  EXPECT_EQ(event.generation(), 0u);
  EXPECT_EQ(event.pid(), 0);
  EXPECT_FALSE(event.Take("x"));
}

TEST(WorkerEvent, EachSideHasItsOwn) {
  for (const bool in_root : {true, false}) {
    Pipe pipe;
    const int read_fd = pipe.read_end.get();
    const int write_fd = pipe.write_end.get();
    WorkerEvent event(2, 7, 0);
    event.KeepInRoot("pipe", std::move(pipe.read_end));
    event.GiveToWorker("pipe", std::move(pipe.write_end));
    EXPECT_FALSE(event.Take("pipe"));  // Not before the fork.
    EXPECT_TRUE(IsOpen(read_fd) && IsOpen(write_fd));
    in_root ? event.EnterRoot(1234) : event.EnterWorker(1234);
    EXPECT_EQ(event.place(), 2);
    EXPECT_EQ(event.generation(), 7u);
    EXPECT_EQ(event.pid(), 1234);
    EXPECT_EQ(IsOpen(read_fd), in_root);
    EXPECT_EQ(IsOpen(write_fd), !in_root);
    EXPECT_FALSE(event.Take("other"));
    EXPECT_EQ(event.Take("pipe").get(), in_root ? read_fd : write_fd);
    EXPECT_FALSE(event.Take("pipe"));
  }
}

TEST(WorkerEvent, WhatIsNotTakenIsClosed) {
  Pipe pipe;
  const int fd = pipe.read_end.get();
  {
    WorkerEvent event(0, 1, 0);
    event.GiveToWorker("pipe", std::move(pipe.read_end));
    event.EnterWorker(1234);
    EXPECT_TRUE(IsOpen(fd));
  }
  EXPECT_FALSE(IsOpen(fd));
}

TEST(WorkerEvent, AFailedForkClosesAll) {
  Pipe pipe;
  const int read_fd = pipe.read_end.get();
  const int write_fd = pipe.write_end.get();
  WorkerEvent event(0, 1, 0);
  event.KeepInRoot("pipe", std::move(pipe.read_end));
  event.GiveToWorker("pipe", std::move(pipe.write_end));
  event.EnterRoot(0);
  EXPECT_EQ(event.pid(), 0);
  EXPECT_FALSE(IsOpen(read_fd) || IsOpen(write_fd));
  EXPECT_FALSE(event.Take("pipe"));
}

TEST(WorkerEvent, ASecondOneOfANameReplacesTheFirst) {
  Pipe pipe;
  const int read_fd = pipe.read_end.get();
  const int write_fd = pipe.write_end.get();
  WorkerEvent event(0, 1, 0);
  event.GiveToWorker("x", std::move(pipe.read_end));
  event.GiveToWorker("x", std::move(pipe.write_end));
  EXPECT_FALSE(IsOpen(read_fd));
  event.EnterWorker(1234);
  EXPECT_EQ(event.Take("x").get(), write_fd);
}

TEST(WorkerEvent, AfterTheForkNothingCanBeGiven) {
  Pipe pipe;
  const int fd = pipe.read_end.get();
  WorkerEvent event(0, 1, 0);
  event.EnterRoot(1234);
  event.KeepInRoot("x", std::move(pipe.read_end));
  EXPECT_FALSE(IsOpen(fd));
  EXPECT_FALSE(event.Take("x"));
}

}  // namespace
}  // namespace fio
