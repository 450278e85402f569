// A Subprocess runs one of our programs as a user would, and has it under its
// eyes: what it prints, signals, the exit code.
//
//   Subprocess server({"examples/echo", "--url=tcp://127.0.0.1:0"});
//   std::string line = server.ReadLine();
//   server.Signal(SIGTERM);
//   EXPECT_EQ(server.Wait(), 0);
//
// Paths are relative to the test's runfiles, where tests run.

#ifndef FIO_TESTS_SUBPROCESS_H_
#define FIO_TESTS_SUBPROCESS_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "fio/base/unique_fd.h"

namespace fio::testing {

class Subprocess {
 public:
  // The first argument is the program. `input` becomes its stdin; without one
  // it has the stdin of the test. The descriptors `closed` are closed in it.
  explicit Subprocess(const std::vector<std::string>& arguments,
                      UniqueFd input = {}, const std::vector<int>& closed = {});
  Subprocess(const Subprocess&) = delete;
  Subprocess& operator=(const Subprocess&) = delete;
  // Kills it if it has not been waited for.
  ~Subprocess();

  pid_t pid() const { return pid_; }

  // The next line of its stdout, without the newline; waits for it. Empty at
  // the end.
  std::string ReadLine();
  // All that is left of it; waits for its end.
  std::string ReadStdout();
  // Nobody reads its stdout from here on.
  void CloseStdout() { out_.Reset(); }

  // As ReadLine(), of stderr.
  std::string ReadErrorLine();

  void Signal(int signal);

  // Waits for its end. Its exit code, or minus the signal that killed it.
  int Wait();

  // All that is left of what it wrote to stderr; after Wait().
  std::string ReadStderr();

 private:
  pid_t pid_;
  UniqueFd out_, error_;
};

}  // namespace fio::testing

#endif  // FIO_TESTS_SUBPROCESS_H_
