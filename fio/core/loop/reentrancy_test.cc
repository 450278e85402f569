// Every call in every place where user code runs; see reentrancy_play.h.

#include <unistd.h>

#include <csignal>
#include <cstddef>
#include <memory>
#include <string>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "fio/core/loop/reentrancy_places.h"
#include "fio/core/loop/reentrancy_play.h"
#include "fio/core/loop/reentrancy_stage.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using loop_internal::Act;
using loop_internal::Below;
using loop_internal::NamedPlace;
using loop_internal::NewStage;
using loop_internal::Operation;
using loop_internal::Operations;
using loop_internal::Over;
using loop_internal::Places;
using loop_internal::Play;
using loop_internal::Stage;
using loop_internal::When;

// What is played, for who looks at a crash.
std::string playing;

void SayWhatIsPlayed(int signal) {
  std::ignore = write(STDERR_FILENO, playing.data(), playing.size());
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

constexpr size_t kParts = 4;

// Each is a part of the places.
class Reentrancy : public ::testing::TestWithParam<size_t> {
 protected:
  Reentrancy() {
    for (const int signal : {SIGABRT, SIGSEGV}) {
      std::signal(signal, SayWhatIsPlayed);
    }
  }
  ~Reentrancy() override {
    for (const int signal : {SIGABRT, SIGSEGV}) std::signal(signal, SIG_DFL);
  }

  // All operations in all places of the part; on others, too, if that is asked
  // for.
  static void PlayAll(Below below, Over over, bool on_others) {
    for (size_t i = GetParam(); i < Places().size(); i += kParts) {
      const NamedPlace& place = Places()[i];
      if (place.needs_handshake && over == Over::kPlain) continue;
      for (const Operation& operation : Operations()) {
        Act act = {.place = place.place, .operation = &operation};
        if (place.comes_running) PlayOne(place, act, below, over);
        if (on_others && place.comes_running && operation.to_loop == nullptr) {
          act.to_other = true;
          PlayOne(place, act, below, over);
          act.to_other = false;
        }
        if (place.comes_when_loop_dies) {
          act.when = When::kLoopDies;
          PlayOne(place, act, below, over);
        }
      }
    }
  }

 private:
  static void PlayOne(const NamedPlace& place, const Act& act, Below below,
                      Over over) {
    playing =
        absl::StrCat(act.operation->name, " in ", place.name,
                     act.to_other ? ", to another one" : "",
                     act.when == When::kLoopDies ? ", while the loop dies" : "",
                     over == Over::kHandshake ? ", over a handshake\n" : "\n");
    const std::unique_ptr<Stage> stage = NewStage(below, over);
    Play play(*stage, {&act, 1});
    const std::string& wrong = play.Run();
    EXPECT_EQ(wrong, "") << playing;
    EXPECT_TRUE(play.has_acted()) << playing << "the place has not come";
  }
};

INSTANTIATE_TEST_SUITE_P(Part, Reentrancy, ::testing::Range(size_t{0}, kParts));

TEST_P(Reentrancy, EveryCallInEveryCallback) {
  PlayAll(Below::kWorld, Over::kPlain, true);
}

TEST_P(Reentrancy, EveryCallInEveryCallbackOverAHandshake) {
  PlayAll(Below::kWorld, Over::kHandshake, false);
}

TEST_P(Reentrancy, EveryCallInEveryCallbackOverAHandshakeOnSockets) {
  PlayAll(Below::kKernel, Over::kHandshake, false);
}

TEST_P(Reentrancy, EveryCallInEveryCallbackOnSockets) {
  PlayAll(Below::kKernel, Over::kPlain, false);
}

}  // namespace
}  // namespace fio
