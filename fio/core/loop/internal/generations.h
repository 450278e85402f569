// Numbers connections, so that the id of one that has gone names no other: one
// sequence for all loops of a process.
//
// Thread safety: any thread.

#ifndef FIO_CORE_LOOP_INTERNAL_GENERATIONS_H_
#define FIO_CORE_LOOP_INTERNAL_GENERATIONS_H_

#include <cstdint>

namespace fio::core_internal {

// The generation of a new connection of `fd`. Never 0.
uint32_t NextGeneration(int fd);

// While one lives, connections of descriptors from `first_fd` on are numbered
// by themselves, from 1: those of a simulated network, so that their ids are
// the same in each run. REQUIRES: no other lives.
class GenerationsFrom {
 public:
  explicit GenerationsFrom(int first_fd);
  GenerationsFrom(const GenerationsFrom&) = delete;
  GenerationsFrom& operator=(const GenerationsFrom&) = delete;
  ~GenerationsFrom();
};

}  // namespace fio::core_internal

#endif  // FIO_CORE_LOOP_INTERNAL_GENERATIONS_H_
