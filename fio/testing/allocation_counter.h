// An AllocationCounter counts what its thread allocates, for tests and
// benchmarks of code that promises to allocate nothing.
//
//   AllocationCounter counter;
//   connection.Write("hello");
//   EXPECT_EQ(counter.allocations(), 0);
//
// A binary that links this has its global operator new and delete replaced, all
// forms of them: they count, and forward to malloc and free. A new that finds
// no memory ends the process instead of throwing; the nothrow forms return
// nullptr. Calls of malloc itself are not counted, and an optimizing compiler
// may leave out a new-expression whose object nobody needs.
//
// Thread safety: a counter belongs to the thread that made it, and counts that
// thread alone.

#ifndef FIO_TESTING_ALLOCATION_COUNTER_H_
#define FIO_TESTING_ALLOCATION_COUNTER_H_

#include <cstdint>

namespace fio::testing {

class AllocationCounter {
 public:
  AllocationCounter() : start_(OfThisThread()) {}

  // How often this thread has called an operator new since the counter was
  // made. What was deleted since counts all the same.
  int64_t allocations() const { return OfThisThread() - start_; }

 private:
  static int64_t OfThisThread();

  int64_t start_;
};

}  // namespace fio::testing

#endif  // FIO_TESTING_ALLOCATION_COUNTER_H_
