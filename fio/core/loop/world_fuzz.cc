#include <cstddef>
#include <cstdint>

#include "fio/core/loop/world_scenario.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size <= 4096) fio::loop_internal::Scenario({data, size}).Run();
  return 0;
}
