// Random numbers from a seed, the same on every system.
//
// Thread safety: none.

#ifndef FIO_TESTING_INTERNAL_RANDOM_H_
#define FIO_TESTING_INTERNAL_RANDOM_H_

#include <cstddef>
#include <cstdint>
#include <random>

namespace fio::testing_internal {

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}

  // A number less than `end`, which is not 0.
  size_t Below(size_t end) { return engine_() % end; }

  // True with this likelihood, from 0 to 1. 0 uses no random number.
  bool Chance(double likelihood) {
    // A double holds 53 bits, so the number is less than 1.
    return likelihood > 0 &&
           static_cast<double>(engine_() >> 11) * 0x1p-53 < likelihood;
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace fio::testing_internal

#endif  // FIO_TESTING_INTERNAL_RANDOM_H_
