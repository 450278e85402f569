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
  // Takes ownership of `fd`; any negative number means none. 0 is a descriptor
  // like every other.
  explicit UniqueFd(int fd) : fd_(fd) {}
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
  int fd_ = -1;
};

}  // namespace fio

#endif  // FIO_BASE_UNIQUE_FD_H_
