#include "fio/testing/allocation_counter.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace {

constinit thread_local int64_t calls_of_new = 0;

// Every new is an object of its own, those of no bytes too.
void* Allocate(size_t size) {
  ++calls_of_new;
  return std::malloc(std::max(size, size_t{1}));
}

// aligned_alloc() would want a multiple of `alignment`, posix_memalign() wants
// that of a pointer at least.
void* AllocateAligned(size_t size, std::align_val_t alignment) {
  ++calls_of_new;
  void* memory = nullptr;
  const int error = posix_memalign(
      &memory, std::max(static_cast<size_t>(alignment), sizeof(void*)),
      std::max(size, size_t{1}));
  return error == 0 ? memory : nullptr;
}

void* OrDie(void* memory) {
  if (memory == nullptr) std::abort();
  return memory;
}

}  // namespace

namespace fio::testing {

int64_t AllocationCounter::OfThisThread() { return calls_of_new; }

}  // namespace fio::testing

// All forms, since a sanitizer's runtime brings its own of each.

void* operator new(size_t size) { return OrDie(Allocate(size)); }
void* operator new[](size_t size) { return OrDie(Allocate(size)); }
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  return Allocate(size);
}
void* operator new[](size_t size, const std::nothrow_t&) noexcept {
  return Allocate(size);
}
void* operator new(size_t size, std::align_val_t alignment) {
  return OrDie(AllocateAligned(size, alignment));
}
void* operator new[](size_t size, std::align_val_t alignment) {
  return OrDie(AllocateAligned(size, alignment));
}
void* operator new(size_t size, std::align_val_t alignment,
                   const std::nothrow_t&) noexcept {
  return AllocateAligned(size, alignment);
}
void* operator new[](size_t size, std::align_val_t alignment,
                     const std::nothrow_t&) noexcept {
  return AllocateAligned(size, alignment);
}

void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, const std::nothrow_t&) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, size_t, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, size_t, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::align_val_t,
                     const std::nothrow_t&) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::align_val_t,
                       const std::nothrow_t&) noexcept {
  std::free(memory);
}
