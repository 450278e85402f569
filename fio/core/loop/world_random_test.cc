// world_fuzz.cc on inputs that are drawn instead of searched for.

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "gtest/gtest.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace fio {
namespace {

uint64_t seed = 0;

// The input of FIO_FUZZ_SEED alone, to find out what is wrong with it.
TEST(Fuzz, AThousandSeeds) {
  std::signal(SIGABRT, [](int) {
    std::fprintf(stderr, "FIO_FUZZ_SEED=%llu\n",
                 static_cast<unsigned long long>(seed));
  });
  const char* const only = std::getenv("FIO_FUZZ_SEED");
  const uint64_t first = only == nullptr ? 0 : std::strtoull(only, nullptr, 10);
  const uint64_t count = only == nullptr ? 1'000 : 1;
  for (seed = first; seed < first + count; ++seed) {
    std::mt19937_64 random(seed);
    std::vector<uint8_t> input(64 + random() % 512);
    for (uint8_t& byte : input) byte = static_cast<uint8_t>(random());
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  std::signal(SIGABRT, SIG_DFL);
}

}  // namespace
}  // namespace fio
