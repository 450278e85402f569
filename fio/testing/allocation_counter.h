// An AllocationCounter counts the allocations of its thread, for tests and
// benchmarks of code that must not allocate.
//
//   AllocationCounter counter;
//   connection.Write("hello");
//   EXPECT_EQ(counter.allocations(), 0);
//
// Linking this replaces all forms of the global operators new and delete: they
// count, and forward to malloc and free. Without memory, new ends the process
// instead of throwing; the nothrow forms return nullptr. Calls of malloc itself
// are not counted. An optimizing compiler may remove a new-expression whose
// object is not used.
//
// Thread safety: none. A counter belongs to the thread that created it and
// counts only that thread.

#ifndef FIO_TESTING_ALLOCATION_COUNTER_H_
#define FIO_TESTING_ALLOCATION_COUNTER_H_

#include <cstdint>

namespace fio::testing {

class AllocationCounter {
 public:
  AllocationCounter() : start_(OfThisThread()) {}

  // How often this thread has called an operator new since the counter was
  // created. Deleted objects count, too.
  int64_t allocations() const { return OfThisThread() - start_; }

 private:
  static int64_t OfThisThread();

  int64_t start_;
};

}  // namespace fio::testing

#endif  // FIO_TESTING_ALLOCATION_COUNTER_H_
