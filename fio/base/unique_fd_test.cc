#include "fio/base/unique_fd.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
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

// In a child, whose streams may be closed. The exit code tells what is wrong.
template <typename Child>
int InAChild(Child child) {
  const pid_t process = fork();
  if (process == 0) _exit(child());
  int status = 0;
  EXPECT_EQ(waitpid(process, &status, 0), process);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

bool IsNull(int fd) {
  struct stat file;
  struct stat null;
  return fstat(fd, &file) == 0 && stat("/dev/null", &null) == 0 &&
         file.st_rdev == null.st_rdev && S_ISCHR(file.st_mode);
}

TEST(UniqueFd, NeverStandardStream) {
  EXPECT_EQ(InAChild([] {
              for (const int stream : {0, 1, 2}) close(stream);
              const UniqueFd socket =
                  UniqueFd::Created(::socket(AF_UNIX, SOCK_STREAM, 0));
              if (socket.get() <= 2) return 1;
              if (fcntl(socket.get(), F_GETFD) != FD_CLOEXEC) return 2;
              for (const int stream : {0, 1, 2}) {
                if (!IsNull(stream)) return 3;
              }
              return 0;
            }),
            0);
  // A pair takes two of them at once.
  EXPECT_EQ(InAChild([] {
              close(1);
              close(2);
              int ends[2];
              if (pipe(ends) != 0 || ends[0] != 1 || ends[1] != 2) return 1;
              const UniqueFd reader = UniqueFd::Created(ends[0]);
              const UniqueFd writer = UniqueFd::Created(ends[1]);
              if (reader.get() <= 2 || writer.get() <= 2) return 2;
              if (!IsNull(1) || !IsNull(2)) return 3;
              char byte = 0;
              if (write(writer.get(), "x", 1) != 1) return 4;
              return read(reader.get(), &byte, 1) == 1 && byte == 'x' ? 0 : 5;
            }),
            0);
  // No number is left: an error, and nothing stays open.
  EXPECT_EQ(InAChild([] {
              close(0);
              const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
              rlimit limit = {3, 3};
              if (fd != 0 || setrlimit(RLIMIT_NOFILE, &limit) != 0) return 1;
              const UniqueFd none = UniqueFd::Created(fd);
              if (none || (errno != EMFILE && errno != EINVAL)) return 2;
              return fcntl(0, F_GETFD) < 0 ? 0 : 3;
            }),
            0);
}

TEST(UniqueFd, CreatedKeepsAllOthers) {
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_GT(fd, 2);
  EXPECT_EQ(UniqueFd::Created(fd).get(), fd);
  errno = EMFILE;
  EXPECT_FALSE(UniqueFd::Created(-1));
  EXPECT_EQ(errno, EMFILE);
}

}  // namespace
}  // namespace fio
