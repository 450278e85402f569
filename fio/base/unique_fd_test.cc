#include "fio/base/unique_fd.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "gtest/gtest.h"

namespace fio {
namespace {

int OpenNull() { return open("/dev/null", O_RDONLY | O_CLOEXEC); }
bool IsOpen(int fd) { return fcntl(fd, F_GETFD) >= 0; }

TEST(UniqueFd, ClosesOnceWhenItDies) {
  const int fd = OpenNull();
  {
    UniqueFd first(fd);
    UniqueFd second(std::move(first));
    EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move): what is tested.
    EXPECT_EQ(second.get(), fd);
    EXPECT_TRUE(IsOpen(fd));
  }
  EXPECT_FALSE(IsOpen(fd));
}

TEST(UniqueFd, AssignmentClosesWhatWasHeld) {
  const int old_fd = OpenNull();
  const int new_fd = OpenNull();
  UniqueFd holder(old_fd);
  holder = UniqueFd(new_fd);
  EXPECT_FALSE(IsOpen(old_fd));
  EXPECT_EQ(holder.get(), new_fd);
}

TEST(UniqueFd, ReleaseGivesUpOwnership) {
  const int fd = OpenNull();
  EXPECT_EQ(UniqueFd(fd).Release(), fd);
  EXPECT_TRUE(IsOpen(fd));
  close(fd);
}

TEST(UniqueFd, ResetKeepsErrno) {
  UniqueFd closed_behind_our_back(OpenNull());
  close(closed_behind_our_back.get());
  errno = ENOSPC;
  closed_behind_our_back.Reset();
  EXPECT_EQ(errno, ENOSPC);
}

}  // namespace
}  // namespace fio
