// A number that processes have in common, if they were forked after it was
// made.
//
// Thread safety: any thread.

#ifndef FIO_EXAMPLES_CHAT_SHARED_COUNTER_H_
#define FIO_EXAMPLES_CHAT_SHARED_COUNTER_H_

#include <sys/mman.h>

#include <atomic>
#include <cstdint>
#include <new>

namespace chat {

class SharedCounter {
 public:
  SharedCounter() {
    void* const memory =
        mmap(nullptr, sizeof(std::atomic<uint64_t>), PROT_READ | PROT_WRITE,
             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory != MAP_FAILED) counter_ = new (memory) std::atomic<uint64_t>(0);
  }
  SharedCounter(const SharedCounter&) = delete;
  SharedCounter& operator=(const SharedCounter&) = delete;
  ~SharedCounter() {
    if (counter_ != nullptr) munmap(counter_, sizeof(*counter_));
  }

  // Whether there was memory for it.
  bool ok() const { return counter_ != nullptr; }

  // 1, 2, 3 and so on. REQUIRES: ok().
  uint64_t Next() { return counter_->fetch_add(1) + 1; }

 private:
  static_assert(std::atomic<uint64_t>::is_always_lock_free);

  std::atomic<uint64_t>* counter_ = nullptr;
};

}  // namespace chat

#endif  // FIO_EXAMPLES_CHAT_SHARED_COUNTER_H_
