// Random writes, flushes and ends of a Socket over system calls that are cut
// short, interrupted and refused. Whatever happens, the peer gets exactly the
// front of what was written, all of it unless the socket was aborted or failed;
// every owner is released once; no descriptor is left.

#include <sys/types.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/cord.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/file_range.h"
#include "fio/sock/io_result.h"
#include "fio/sock/shared_bytes.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"
#include "fio/testing/fault_plan.h"
#include "fio/testing/loopback_pair.h"
#include "fio/testing/memory_file.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using testing::CountOpenDescriptors;
using testing::FaultPlan;
using testing::LoopbackPair;
using testing::MemoryFile;
using testing::ReadAvailable;
using testing::ReadToEnd;

class RandomLife {
 public:
  explicit RandomLife(uint64_t seed)
      : random_(seed),
        pair_(OneIn(8) ? LoopbackPair::Tcp() : LoopbackPair::Unix()),
        plan_({.seed = seed,
               .short_read = 0.2,
               .short_write = 0.3,
               .would_block = 0.2,
               .interrupted = 0.2,
               .no_buffers = 0.05,
               .no_memory = 0.05,
               .broken_pipe = may_break_ ? 0.01 : 0}) {
    plan_.Target(near_.fd());
    if (may_break_) plan_.ResetAt(near_.fd(), Below(100'000));
    if (OneIn(4)) {
      EXPECT_TRUE(near_.SetTransport(std::make_unique<Transport>()).ok());
    }
    EXPECT_TRUE(near_.SetEnv({}, nullptr, [this](void*) { ++closed_; }).ok());
  }

  void Run() {
    for (uint64_t steps = 1 + Below(40); steps > 0; --steps) Step();
    End();
    EXPECT_LT(near_.fd(), 0);
    EXPECT_EQ(closed_, 1);
    received_ += ReadToEnd(pair_.far);
    if (complete_) {
      EXPECT_TRUE(received_ == written_)
          << received_.size() << " of " << written_.size() << " bytes";
    } else {
      EXPECT_TRUE(std::string_view(written_).substr(0, received_.size()) ==
                  received_)
          << received_.size() << " of " << written_.size() << " bytes";
    }
    for (const int released : released_) EXPECT_EQ(released, 1);
  }

 private:
  uint64_t Below(uint64_t limit) { return random_() % limit; }
  bool OneIn(uint64_t n) { return Below(n) == 0; }

  std::string RandomBytes() {
    // Mostly small, now and then many blocks.
    std::string bytes(1 + Below(OneIn(10) ? 40'000 : 300), '\0');
    for (char& byte : bytes) byte = static_cast<char>(random_());
    return bytes;
  }

  absl::Cord Owned(std::string bytes) {
    released_.push_back(0);
    int& released = released_.back();
    auto owner = std::make_unique<std::string>(std::move(bytes));
    const std::string_view view = *owner;
    return absl::MakeCordFromExternal(
        view, [owner = std::move(owner), &released] { ++released; });
  }

  void Step() {
    switch (Below(9)) {
      case 8:
        WriteShared();
        return;
      case 0:
      case 1:
        Wrote(near_.Write(last_ = RandomBytes()));
        return;
      case 2: {
        absl::Cord cord = Owned(last_ = RandomBytes());
        const std::string more = RandomBytes();
        cord.Append(Owned(more));
        last_ += more;
        Wrote(near_.Write(std::move(cord)));
        return;
      }
      case 3:
        WriteFile();
        return;
      case 4:
        received_ += ReadAvailable(pair_.far);
        return;
      default:
        Flush();
    }
  }

  // One block, once or twice.
  void WriteShared() {
    const std::string bytes = RandomBytes();
    const SharedBytes shared = SharedBytes::FromCord(Owned(bytes));
    const size_t sent = OneIn(4) ? Below(bytes.size()) : 0;
    last_ = bytes.substr(sent);
    Wrote(near_.Write(shared, sent));
    if (OneIn(2)) return;
    last_ = bytes;
    Wrote(near_.Write(shared));
  }

  void WriteFile() {
    const std::string contents = RandomBytes();
    const uint64_t offset = Below(contents.size());
    const uint64_t length = Below(2 * contents.size());
    last_ = contents.substr(offset, length == 0 ? std::string::npos : length);
    UniqueFd file = MemoryFile(contents);
    if (OneIn(2)) {
      Wrote(near_.Write(*FileRange::Own(std::move(file), offset, length)));
    } else {
      borrowed_.push_back(std::move(file));
      Wrote(near_.Write(
          *FileRange::Borrow(borrowed_.back().get(), offset, length)));
    }
  }

  void Wrote(const IoResult& result) {
    if (result.ok()) {
      EXPECT_EQ(result.bytes, last_.size());
      written_ += last_;
    } else {
      EXPECT_FALSE(near_.is_open());
    }
  }

  bool Flush() {
    const IoResult flushed = near_.Flush();
    if (flushed.failed()) complete_ = false;
    return flushed.would_block() || flushed.out_of_memory();
  }

  void End() {
    if (OneIn(8)) {
      near_.Abort();
      complete_ = false;
      return;
    }
    if (OneIn(4)) {
      if (near_.ShutdownWrite().failed()) complete_ = false;
    }
    near_.Close();
    // If it is closed by now it does not tell whether by an error.
    if (near_.fd() < 0 && may_break_) complete_ = false;
    while (near_.fd() >= 0) {
      if (Flush()) received_ += ReadAvailable(pair_.far);
    }
  }

  std::mt19937_64 random_;
  const bool may_break_ = OneIn(3);
  LoopbackPair pair_;
  Socket& near_ = pair_.near;
  FaultPlan plan_;
  std::vector<UniqueFd> borrowed_;
  std::deque<int> released_;  // Of each owner.
  std::string last_;
  std::string written_;
  std::string received_;
  int closed_ = 0;
  bool complete_ = true;
};

TEST(SocketFaults, TenThousandLivesLoseNothing) {
  const int descriptors = CountOpenDescriptors();
  for (uint64_t seed = 0; seed < 10'000; ++seed) {
    RandomLife(seed).Run();
    ASSERT_EQ(CountOpenDescriptors(), descriptors) << "seed " << seed;
    ASSERT_FALSE(::testing::Test::HasFailure()) << "seed " << seed;
  }
}

}  // namespace
}  // namespace fio
