// Marks memory that must not be used for now, as if it were freed. Under
// AddressSanitizer an access ends the process with a report. In other builds
// this does nothing.
//
// Thread safety: that of the memory.

#ifndef FIO_BASE_POISON_H_
#define FIO_BASE_POISON_H_

#include <cstddef>

#include "absl/base/config.h"

#ifdef ABSL_HAVE_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#endif

namespace fio {

inline void Poison([[maybe_unused]] const void* memory,
                   [[maybe_unused]] size_t size) {
#ifdef ABSL_HAVE_ADDRESS_SANITIZER
  __asan_poison_memory_region(memory, size);
#endif
}

inline void Unpoison([[maybe_unused]] const void* memory,
                     [[maybe_unused]] size_t size) {
#ifdef ABSL_HAVE_ADDRESS_SANITIZER
  __asan_unpoison_memory_region(memory, size);
#endif
}

}  // namespace fio

#endif  // FIO_BASE_POISON_H_
