#include "fio/testing/allocation_counter.h"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <semaphore>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace fio::testing {
namespace {

constexpr size_t kSize = 100;

// Writes all of it, for a sanitizer to see.
void* Use(void* memory, size_t alignment = alignof(std::max_align_t)) {
  EXPECT_NE(memory, nullptr);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % alignment, 0u);
  std::memset(memory, 0xff, kSize);
  return memory;
}

TEST(AllocationCounter, StartsAtNothing) {
  const std::string before(kSize, 'x');
  const AllocationCounter counter;
  EXPECT_EQ(counter.allocations(), 0);
}

TEST(AllocationCounter, CountsEveryFormOfNew) {
  const AllocationCounter counter;
  ::operator delete(Use(::operator new(kSize)));
  ::operator delete[](Use(::operator new[](kSize)));
  ::operator delete(Use(::operator new(kSize, std::nothrow)), std::nothrow);
  ::operator delete[](Use(::operator new[](kSize, std::nothrow)), std::nothrow);
  EXPECT_EQ(counter.allocations(), 4);
}

TEST(AllocationCounter, CountsEveryFormOfAlignedNew) {
  for (size_t bytes : {1, 8, 64, 4096}) {
    const std::align_val_t align{bytes};
    const AllocationCounter counter;
    ::operator delete(Use(::operator new(kSize, align), bytes), align);
    ::operator delete[](Use(::operator new[](kSize, align), bytes), align);
    ::operator delete(Use(::operator new(kSize, align, std::nothrow), bytes),
                      align, std::nothrow);
    ::operator delete[](
        Use(::operator new[](kSize, align, std::nothrow), bytes), align,
        std::nothrow);
    EXPECT_EQ(counter.allocations(), 4) << bytes;
  }
}

// Some compilers delete these by size.
template <typename T>
void MakeAndDelete() {
  auto* object = new T;
  Use(object, alignof(T));
  delete object;
  auto* array = new T[2];
  Use(array, alignof(T));
  delete[] array;
}

TEST(AllocationCounter, CountsExpressions) {
  struct Plain {
    ~Plain() {}  // For the array to know its size.
    char bytes[kSize];
  };
  struct alignas(64) Aligned {
    ~Aligned() {}
    char bytes[kSize];
  };
  const AllocationCounter counter;
  MakeAndDelete<Plain>();
  MakeAndDelete<Aligned>();
  EXPECT_EQ(counter.allocations(), 4);
}

TEST(AllocationCounter, NothingIsAnAllocationToo) {
  const AllocationCounter counter;
  void* one = ::operator new(0);
  void* other = ::operator new(0);
  EXPECT_NE(one, nullptr);
  EXPECT_NE(one, other);
  ::operator delete(one);
  ::operator delete(other);
  ::operator delete(nullptr);
  EXPECT_EQ(counter.allocations(), 2);
}

TEST(AllocationCounter, CountsWhatLibrariesAllocate) {
  const AllocationCounter counter;
  const std::string text = absl::StrCat("more than fits a string", kSize);
  EXPECT_EQ(counter.allocations(), 1);
  std::vector<int> numbers;
  numbers.reserve(kSize);
  EXPECT_EQ(counter.allocations(), 2);
  numbers.resize(kSize);
  EXPECT_EQ(counter.allocations(), 2);
  numbers.resize(kSize + 1);
  EXPECT_EQ(counter.allocations(), 3);
}

TEST(AllocationCounter, CountersDoNotDisturbEachOther) {
  const AllocationCounter outer;
  ::operator delete(::operator new(kSize));
  const AllocationCounter inner;
  ::operator delete(::operator new(kSize));
  EXPECT_EQ(outer.allocations(), 2);
  EXPECT_EQ(inner.allocations(), 1);
}

TEST(AllocationCounter, CountsItsOwnThreadAlone) {
  std::binary_semaphore begin(0);
  std::binary_semaphore done(0);
  int64_t in_thread = 0;
  std::thread thread([&] {
    begin.acquire();
    const AllocationCounter counter;
    for (int i = 0; i < 1000; ++i) ::operator delete(::operator new(kSize));
    in_thread = counter.allocations();
    done.release();
  });
  const AllocationCounter counter;
  begin.release();
  done.acquire();
  EXPECT_EQ(counter.allocations(), 0);
  EXPECT_EQ(in_thread, 1000);
  thread.join();
}

}  // namespace
}  // namespace fio::testing
