// A UniqueFd owns a file descriptor and closes it when it dies, as a
// std::unique_ptr does with memory. It is as large as the int inside.
//
// Thread safety: none; as an int.

#ifndef FIO_BASE_UNIQUE_FD_H_
#define FIO_BASE_UNIQUE_FD_H_

#include <utility>

namespace fio {

class UniqueFd {
 public:
  UniqueFd() = default;
  // Takes ownership of `fd`. Any negative number means none; 0 is a descriptor
  // like every other.
  explicit UniqueFd(int fd) : fd_(fd) {}

  // Takes ownership of `fd`, which the caller has just created, for a purpose
  // of its own: never a standard stream. If its number is 0, 1 or 2 (a program
  // that was started with closed standard streams) it is moved to another
  // number, closed on exec(3), and every standard stream that is closed becomes
  // /dev/null, where there is one. So nothing that is printed reaches a socket.
  // A negative `fd` is none, and errno is kept. No system call otherwise. None,
  // with errno of fcntl(2), if there is no other number; `fd` is then closed.
  static UniqueFd Created(int fd) {
    return UniqueFd(fd < 0 || fd > kLastStandardStream ? fd : Move(fd));
  }

  UniqueFd(UniqueFd&& other) noexcept : fd_(other.Release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    Reset(other.Release());
    return *this;
  }
  ~UniqueFd() { Reset(); }

  // Negative if there is none.
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

  // The caller owns the descriptor from here on.
  [[nodiscard]] int Release() { return std::exchange(fd_, -1); }

  // Closes what is held and holds `fd`. Keeps errno, so that an error path may
  // close first and report then.
  void Reset(int fd = -1);

 private:
  static constexpr int kLastStandardStream = 2;  // STDERR_FILENO

  static int Move(int fd);

  int fd_ = -1;
};

}  // namespace fio

#endif  // FIO_BASE_UNIQUE_FD_H_
