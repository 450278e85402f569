// Draws by seed, the same on every system.
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

  // Less than `end`, which is not 0.
  size_t Below(size_t end) { return engine_() % end; }

  // True as often as `likelihood` says, from 0 to 1. 0 draws nothing.
  bool Chance(double likelihood) {
    // 53 bits are what a double holds, so what is drawn is less than 1.
    return likelihood > 0 &&
           static_cast<double>(engine_() >> 11) * 0x1p-53 < likelihood;
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace fio::testing_internal

#endif  // FIO_TESTING_INTERNAL_RANDOM_H_
