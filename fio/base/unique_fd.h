// A UniqueFd owns a file descriptor and closes it when it is destroyed, as a
// std::unique_ptr does with memory. Its size is that of an int.
//
// Thread safety: as an int.

#ifndef FIO_BASE_UNIQUE_FD_H_
#define FIO_BASE_UNIQUE_FD_H_

#include <utility>

namespace fio {

class UniqueFd {
 public:
  UniqueFd() = default;
  // Takes ownership of `fd`. A negative number means no descriptor; 0 is a
  // valid descriptor.
  explicit UniqueFd(int fd) : fd_(fd) {}

  // Takes ownership of `fd`, which the caller has just created, and which is
  // not meant to be a standard stream. If its number is 0, 1 or 2 (the program
  // was started with closed standard streams), it is moved to another number,
  // closed on exec(3), and each standard stream that is closed is opened on
  // /dev/null, if there is one. So output to a standard stream never reaches a
  // socket. For any other `fd` this makes no system call.
  //
  // A negative `fd` means no descriptor; errno is kept. If there is no other
  // number, closes `fd` and returns no descriptor, with the errno of fcntl(2).
  static UniqueFd Created(int fd) {
    return UniqueFd(fd < 0 || fd > kLastStandardStream ? fd : Move(fd));
  }

  UniqueFd(UniqueFd&& other) noexcept : fd_(other.Release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    Reset(other.Release());
    return *this;
  }
  ~UniqueFd() {
    if (fd_ >= 0) Reset();
  }

  // Negative if there is no descriptor.
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

  // Returns the descriptor, which the caller now owns; negative if there is
  // none.
  [[nodiscard]] int Release() { return std::exchange(fd_, -1); }

  // Closes the descriptor, if there is one, and takes ownership of `fd`. Keeps
  // errno, so that an error path may close first and report errno afterwards.
  void Reset(int fd = -1);

 private:
  static constexpr int kLastStandardStream = 2;  // STDERR_FILENO

  static int Move(int fd);

  int fd_ = -1;
};

}  // namespace fio

#endif  // FIO_BASE_UNIQUE_FD_H_
