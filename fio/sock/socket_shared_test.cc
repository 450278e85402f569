// A SharedBytes on a Socket: alone, without memory of its own, and among other
// writes. What holds for every kind of write is in socket_write_test.cc.

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/cord.h"
#include "fio/sock/file_range.h"
#include "fio/sock/shared_bytes.h"
#include "fio/sock/socket.h"
#include "fio/testing/fault_plan.h"
#include "fio/testing/loopback_pair.h"
#include "fio/testing/memory_file.h"
#include "fio/testing/scripted_transport.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using testing::FaultPlan;
using testing::LoopbackPair;
using testing::MemoryFile;
using testing::ReadAvailable;
using testing::ReadToEnd;
using testing::ScriptedTransport;

constexpr size_t kSize = SharedBytes::kMinSharedCord;

class Shared : public ::testing::Test {
 protected:
  Shared() : bytes_(kSize, '\0') {
    for (size_t i = 0; i < kSize; ++i) {
      bytes_[i] = static_cast<char>(i * 31 + i / 251);
    }
  }

  // Whose release is counted.
  SharedBytes Make() {
    return SharedBytes::FromCord(absl::MakeCordFromExternal(
        bytes_, [this](std::string_view) { ++released_; }));
  }

  // One send takes a part that the plan chooses, the next one nothing.
  void FlushAPart(uint64_t seed) {
    FaultPlan plan({.seed = seed, .short_write = 1});
    plan.Target(near_.fd());
    plan.FailNth(2, EAGAIN);
    EXPECT_TRUE(near_.Flush().would_block());
  }

  // Flushes until all is gone, while the peer reads.
  std::string Deliver() {
    std::string received;
    while (near_.Flush().would_block()) received += ReadAvailable(pair_.far);
    return received + ReadAvailable(pair_.far);
  }

  std::string bytes_;
  int released_ = 0;
  LoopbackPair pair_ = LoopbackPair::Unix();
  Socket& near_ = pair_.near;
};

TEST_F(Shared, IsSentByOneCallAndReleasedOnce) {
  EXPECT_EQ(near_.Write(Make()).bytes, kSize);
  EXPECT_EQ(near_.pending_calls(), 1u);
  EXPECT_EQ(near_.pending_bytes(), kSize);
  EXPECT_EQ(near_.pending().memory_bytes, kSize);
  EXPECT_TRUE(near_.wants_write());
  EXPECT_FALSE(near_.is_direct());
  EXPECT_TRUE(near_.TryWrite("overtakes").would_block());
  FaultPlan plan;
  EXPECT_EQ(near_.Flush().bytes, kSize);
  EXPECT_EQ(plan.calls(), 1u);
  EXPECT_EQ(released_, 1);
  EXPECT_EQ(near_.pending_calls(), 0u);
  EXPECT_FALSE(near_.wants_write());
  EXPECT_TRUE(near_.is_direct());
  EXPECT_TRUE(ReadAvailable(pair_.far) == bytes_);
}

TEST_F(Shared, GoesOnWhereverTheKernelStops) {
  // A part of 1 to n - 1 bytes: after so many runs it was each of them.
  std::set<size_t> parts;
  for (uint64_t seed = 0; seed < 16 * kSize; ++seed) {
    ASSERT_TRUE(near_.Write(Make()).ok());
    FlushAPart(seed);
    parts.insert(kSize - near_.pending_bytes());
    ASSERT_EQ(near_.pending_calls(), 1u);
    ASSERT_EQ(released_, 0);
    if (seed % 2 == 0 && near_.pending_bytes() > 1) {
      const size_t before = near_.pending_bytes();
      FlushAPart(seed);
      ASSERT_LT(near_.pending_bytes(), before);
    }
    ASSERT_TRUE(Deliver() == bytes_) << seed;
    ASSERT_EQ(released_, 1);
    released_ = 0;
  }
  EXPECT_EQ(parts.size(), kSize - 1);
}

TEST_F(Shared, LeavesOutWhatWasSentBefore) {
  const SharedBytes shared = Make();
  for (const size_t sent : {size_t{0}, size_t{1}, kSize - 1, kSize}) {
    EXPECT_EQ(near_.Write(shared, sent).bytes, kSize - sent);
    EXPECT_EQ(near_.pending_bytes(), kSize - sent);
    EXPECT_EQ(near_.Write(shared, sent).bytes, kSize - sent);
    EXPECT_TRUE(Deliver() == bytes_.substr(sent) + bytes_.substr(sent));
  }
}

// In every order of the kinds, and before, between and after flushes that the
// kernel cuts short.
TEST_F(Shared, KeepsItsPlaceAmongTheOtherKinds) {
  const SharedBytes shared = Make();
  std::array<int, 5> order = {0, 1, 2, 3, 4};
  uint64_t seed = 0;
  do {
    std::string expected;
    std::string received;
    for (const int kind : order) {
      switch (kind) {
        case 0:
        case 1:
          ASSERT_TRUE(near_.Write(shared).ok());
          expected += bytes_;
          break;
        case 2:
          ASSERT_TRUE(near_.Write("copied").ok());
          expected += "copied";
          break;
        case 3:
          ASSERT_TRUE(near_.Write(absl::Cord("cord")).ok());
          expected += "cord";
          break;
        default:
          ASSERT_TRUE(near_.Write(*FileRange::Own(MemoryFile("file"))).ok());
          expected += "file";
      }
      if (++seed % 3 == 0) {
        FaultPlan plan({.seed = seed, .short_write = 1, .would_block = 0.5});
        plan.Target(near_.fd());
        ASSERT_FALSE(near_.Flush().failed());
      }
      received += ReadAvailable(pair_.far);
      ASSERT_EQ(near_.pending_bytes(), expected.size() - received.size());
    }
    received += Deliver();
    ASSERT_TRUE(received == expected) << seed;
  } while (std::next_permutation(order.begin(), order.end()));
  EXPECT_EQ(released_, 0);
}

// What needs memory takes over what the kernel has left.
TEST_F(Shared, StaysQueuedWhateverIsSetBehindIt) {
  ScriptedTransport::Script script;
  const std::pair<const char*, std::function<void()>> changes[] = {
      {"environment",
       [&] { EXPECT_TRUE(near_.SetEnv({}, nullptr, nullptr).ok()); }},
      {"watermarks",
       [&] {
         near_.SetWatermarks({.high_bytes = 0});
         EXPECT_FALSE(near_.wants_read());
       }},
      {"moved",
       [&] {
         Socket moved = std::move(near_);
         EXPECT_EQ(near_.pending_calls(), 0u);
         near_ = std::move(moved);
       }},
      {"transport",
       [&] {
         EXPECT_TRUE(
             near_.SetTransport(std::make_unique<ScriptedTransport>(script))
                 .ok());
       }},
  };
  uint64_t seed = 0;
  for (const auto& [name, change] : changes) {
    for (const bool partly : {false, true}) {
      SCOPED_TRACE(name);
      pair_ = LoopbackPair::Unix();
      script.written.clear();
      released_ = 0;
      EXPECT_TRUE(near_.Write(Make()).ok());
      if (partly) FlushAPart(++seed);
      const size_t left = near_.pending_bytes();
      change();
      EXPECT_EQ(near_.pending_bytes(), left);
      EXPECT_EQ(near_.pending_calls(), 1u);
      const std::string received = Deliver();
      EXPECT_TRUE(received + script.written == bytes_);
      EXPECT_EQ(released_, 1);
      near_ = Socket();  // Before the script is gone.
    }
  }
}

TEST_F(Shared, OverTheLimitItAbortsAndIsReleased) {
  near_.SetWatermarks({.limit_bytes = kSize});
  EXPECT_TRUE(near_.Write(Make()).ok());
  EXPECT_EQ(near_.Write(Make()).error, ENOBUFS);
  EXPECT_LT(near_.fd(), 0);
  EXPECT_EQ(released_, 2);
}

TEST_F(Shared, IsSentBeforeTheEnd) {
  EXPECT_TRUE(near_.Write(Make()).ok());
  near_.Close();
  EXPECT_LT(near_.fd(), 0);
  EXPECT_TRUE(ReadToEnd(pair_.far) == bytes_);
  EXPECT_EQ(released_, 1);
  EXPECT_EQ(near_.Write(Make()).error, EBADF);
  EXPECT_EQ(released_, 2);
}

TEST_F(Shared, IsReleasedOnceHoweverTheSocketEnds) {
  const std::pair<const char*, std::function<void()>> ends[] = {
      {"aborted", [&] { near_.Abort(); }},
      {"destroyed", [&] { near_ = Socket(); }},
      {"discarded",
       [&] {
         near_.HoldDescriptor(true);
         near_.Discard();
       }},
      {"handed over", [&] { EXPECT_TRUE(near_.Release()); }},
      {"peer gone",
       [&] {
         pair_.far = Socket();
         EXPECT_TRUE(near_.Flush().failed());
       }},
      {"peer gone, its bytes unread",
       [&] {
         EXPECT_TRUE(pair_.far.TryWrite("last words").ok());
         pair_.far = Socket();
         EXPECT_TRUE(near_.Flush().failed());
         EXPECT_GE(near_.fd(), 0);
       }},
  };
  uint64_t seed = 0;
  for (const auto& [name, end] : ends) {
    for (const bool partly : {false, true}) {
      SCOPED_TRACE(name);
      pair_ = LoopbackPair::Unix();
      released_ = 0;
      EXPECT_TRUE(near_.Write(Make()).ok());
      if (partly) FlushAPart(++seed);
      EXPECT_EQ(released_, 0);
      end();
      EXPECT_EQ(released_, 1);
      EXPECT_EQ(near_.pending_calls(), 0u);
    }
  }
}

// Its release may run code of the user's, which finds all in order.
TEST_F(Shared, ReleasingItMayWriteAndEnd) {
  const auto releasing = [this](auto release) {
    return SharedBytes::FromCord(absl::MakeCordFromExternal(
        bytes_, [release](std::string_view) { release(); }));
  };
  EXPECT_TRUE(near_
                  .Write(releasing([this] {
                    EXPECT_EQ(near_.pending_calls(), 0u);
                    EXPECT_TRUE(near_.Write(SharedBytes("and more")).ok());
                    EXPECT_TRUE(near_.Write(" to come").ok());
                  }))
                  .ok());
  EXPECT_TRUE(Deliver() == bytes_ + "and more to come");
  EXPECT_TRUE(near_.Write(releasing([this] { near_.Abort(); })).ok());
  EXPECT_EQ(near_.Flush().error, ECONNABORTED);
  EXPECT_LT(near_.fd(), 0);
}

}  // namespace
}  // namespace fio
