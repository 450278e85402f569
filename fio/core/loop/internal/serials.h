// Numbers connections, so that the id of one that has gone names no other: one
// sequence for all loops of a process.
//
// Thread safety: any thread.

#ifndef FIO_CORE_LOOP_INTERNAL_SERIALS_H_
#define FIO_CORE_LOOP_INTERNAL_SERIALS_H_

#include <cstdint>

namespace fio::core_internal {

// The serial number of a new connection of `fd`: never 0, and less than 2^48.
uint64_t NextSerial(int fd);

// While one lives, connections of descriptors from `first_fd` on are numbered
// by themselves, from `first_serial` on: those of a simulated network, so that
// their ids are the same in each run. REQUIRES: no other lives.
class SerialsFrom {
 public:
  explicit SerialsFrom(int first_fd, uint64_t first_serial = 1);
  SerialsFrom(const SerialsFrom&) = delete;
  SerialsFrom& operator=(const SerialsFrom&) = delete;
  ~SerialsFrom();
};

}  // namespace fio::core_internal

#endif  // FIO_CORE_LOOP_INTERNAL_SERIALS_H_
