// What Poller promises of pipes, to this process and to others, as tests for
// every backend. Their names are those of the tests of mio that prove the same.

#ifndef FIO_CORE_POLLER_TEST_SUITES_PIPE_SUITE_H_
#define FIO_CORE_POLLER_TEST_SUITES_PIPE_SUITE_H_

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/internal/pipe.h"
#include "fio/core/poller/test_suites/poller_fixture.h"
#include "fio/core/poller/test_suites/socket_fixture.h"
#include "gtest/gtest.h"

namespace fio {

template <typename Backend>
class PollerPipeTest : public PollerSocketFixture<Backend> {
 protected:
  using Pipe = poller_internal::Pipe;

  static Pipe NewPipe() {
    absl::StatusOr<Pipe> pipe = poller_internal::OpenPipe();
    EXPECT_TRUE(IsOk(pipe.status()));
    return *std::move(pipe);
  }
  static void Write(const UniqueFd& fd, std::string_view bytes) {
    EXPECT_EQ(write(fd.get(), bytes.data(), bytes.size()),
              static_cast<ssize_t>(bytes.size()));
  }

  // cat(1) between two pipes.
  class Cat {
   public:
    Cat() {
      Pipe input = NewPipe();
      Pipe output = NewPipe();
      // It wants to block.
      fcntl(input.read_end.get(), F_SETFL, 0);
      fcntl(output.write_end.get(), F_SETFL, 0);
      pid_ = fork();
      EXPECT_TRUE(Succeeds(pid_));
      if (pid_ == 0) {
        dup2(input.read_end.get(), STDIN_FILENO);
        dup2(output.write_end.get(), STDOUT_FILENO);
        execlp("cat", "cat", nullptr);
        _exit(127);
      }
      to = std::move(input.write_end);
      from = std::move(output.read_end);
    }
    // It ends with its input.
    ~Cat() {
      to.Reset();
      int status = -1;
      EXPECT_EQ(waitpid(pid_, &status, 0), pid_);
      EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
    }

    UniqueFd to;
    UniqueFd from;

   private:
    pid_t pid_;
  };
};

TYPED_TEST_SUITE_P(PollerPipeTest);

TYPED_TEST_P(PollerPipeTest, Smoke) {
  const auto pipe = this->NewPipe();
  this->ExpectReadWouldBlock(pipe.read_end);
  this->Add(pipe.read_end, 1, Interest::kReadable);
  this->Add(pipe.write_end, 2, Interest::kWritable);
  this->WaitFor(2, &Readiness::writable);
  EXPECT_EQ(this->Told(1), Readiness());
  this->Write(pipe.write_end, "hello");
  this->WaitFor(1, &Readiness::readable);
  EXPECT_EQ(this->Read(pipe.read_end), "hello");
}

TYPED_TEST_P(PollerPipeTest, EventWhenSenderIsDropped) {
  auto pipe = this->NewPipe();
  this->Add(pipe.read_end, 1, Interest::kReadable);
  this->Write(pipe.write_end, "hello");
  EXPECT_FALSE(this->WaitFor(1, &Readiness::readable).read_closed());
  // Even before it has read what there is.
  pipe.write_end.Reset();
  this->WaitFor(1, &Readiness::read_closed);
  EXPECT_EQ(this->Read(pipe.read_end), "hello");
  EXPECT_EQ(this->Read(pipe.read_end), "");
}

TYPED_TEST_P(PollerPipeTest, EventWhenReceiverIsDropped) {
  auto pipe = this->NewPipe();
  this->Add(pipe.write_end, 1, Interest::kWritable);
  EXPECT_FALSE(this->WaitFor(1, &Readiness::writable).write_closed());
  // Even if there was always room.
  pipe.read_end.Reset();
  this->WaitFor(1, &Readiness::write_closed);
  EXPECT_EQ(this->Told(1), Readiness());
}

TYPED_TEST_P(PollerPipeTest, FromChildProcessIo) {
  typename TestFixture::Cat cat;
  this->Add(cat.from, 1, Interest::kReadable);
  this->Add(cat.to, 2, Interest::kWritable);
  this->WaitFor(2, &Readiness::writable);
  this->Write(cat.to, "hello");
  this->WaitFor(1, &Readiness::readable);
  EXPECT_EQ(this->Read(cat.from), "hello");
  this->ExpectReadWouldBlock(cat.from);
  this->poller_->RemoveForClose(cat.to.get(), 2);
  cat.to.Reset();
  this->WaitFor(1, &Readiness::read_closed);
  EXPECT_EQ(this->Read(cat.from), "");
}

TYPED_TEST_P(PollerPipeTest, NonblockingChildProcessIo) {
  typename TestFixture::Cat cat;
  this->ExpectReadWouldBlock(cat.from);
  this->Add(cat.from, 1, Interest::kReadable);
  EXPECT_EQ(this->Told(1), Readiness());
  cat.to.Reset();
  this->WaitFor(1, &Readiness::read_closed);
}

REGISTER_TYPED_TEST_SUITE_P(PollerPipeTest, Smoke, EventWhenSenderIsDropped,
                            EventWhenReceiverIsDropped, FromChildProcessIo,
                            NonblockingChildProcessIo);

}  // namespace fio

#endif  // FIO_CORE_POLLER_TEST_SUITES_PIPE_SUITE_H_
