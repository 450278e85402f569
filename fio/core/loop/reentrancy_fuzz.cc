#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/types/span.h"
#include "fio/core/loop/reentrancy_places.h"
#include "fio/core/loop/reentrancy_play.h"
#include "fio/core/loop/reentrancy_stage.h"

// The input says which operations are performed at which places of one play;
// see reentrancy_play.h. Its first byte: over what. Then three bytes for each:
// the place, the operation, and on what and when.

namespace fio::loop_internal {
namespace {

constexpr size_t kMaxActs = 16;

Act ActOf(const uint8_t* bytes) {
  const NamedPlace& place = Places()[bytes[0] % Places().size()];
  const bool dies = place.comes_when_loop_dies &&
                    (!place.comes_running || (bytes[2] & 2) != 0);
  return {.place = place.place,
          .when = dies ? When::kLoopDies : When::kRunning,
          .to_other = (bytes[2] & 1) != 0,
          .operation = &Operations()[bytes[1] % Operations().size()]};
}

void PlayInput(absl::Span<const uint8_t> input) {
  if (input.empty()) return;
  const Over over = input[0] % 2 == 0 ? Over::kPlain : Over::kHandshake;
  input.remove_prefix(1);
  std::vector<Act> acts;
  for (; input.size() >= 3 && acts.size() < kMaxActs; input.remove_prefix(3)) {
    acts.push_back(ActOf(input.data()));
  }
  const std::unique_ptr<Stage> stage = NewStage(Below::kWorld, over);
  Play play(*stage, acts);
  const std::string& wrong = play.Run();
  ABSL_CHECK(wrong.empty()) << wrong;
}

}  // namespace
}  // namespace fio::loop_internal

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fio::loop_internal::PlayInput({data, size});
  return 0;
}
