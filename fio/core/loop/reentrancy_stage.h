// What the matrix of reentrancy_play.h is played on: a loop, its connections
// and what is at the other end of each, over nothing or over a transport with a
// handshake, in a World or on sockets of the kernel.

#ifndef FIO_CORE_LOOP_REENTRANCY_STAGE_H_
#define FIO_CORE_LOOP_REENTRANCY_STAGE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/memory_budget.h"
#include "fio/core/loop/reentrancy_sides.h"
#include "fio/sock/socket.h"

namespace fio::loop_internal {

// What a connection goes over.
enum class Over : uint8_t { kPlain, kHandshake };

// Takes all that comes, and keeps it.
class FarEnd {
 public:
  explicit FarEnd(Over over);
  virtual ~FarEnd() = default;

  // Drops the bytes if the handshake is not over.
  void Send(std::string_view bytes);
  virtual void ShutdownWrite() = 0;
  virtual void Close() = 0;
  // Takes what has come, and answers as the handshake wants it.
  void Pump();
  bool can_send() const;
  const std::string& received() const { return received_; }

 private:
  virtual void SendRaw(std::string_view bytes) = 0;
  virtual std::string TakeRaw() = 0;

  const std::unique_ptr<FarSide> side_;  // Null over nothing.
  std::string received_;
};

class Stage {
 public:
  static constexpr uint64_t kHighBytes = 4096;

  explicit Stage(Over over) : over_(over) {}
  virtual ~Stage() = default;

  Over over() const { return over_; }
  // Also while it is destroyed.
  Loop& loop() { return *loop_; }
  // The near end of a new connection.
  virtual Socket Connect() = 0;
  void Turn();
  virtual void MoveClock(absl::Duration span) = 0;
  // Destroys the loop.
  virtual void EndLoop() = 0;
  virtual size_t open_descriptors() const { return 0; }
  // More than the kernel takes at once, by more than the high watermark.
  static constexpr size_t kMuchBytes = 4 * kHighBytes;
  uint64_t memory_bytes() const { return memory_.used_bytes(); }

  std::vector<std::unique_ptr<FarEnd>>& far_ends() { return far_ends_; }

 protected:
  LoopOptions Options();
  virtual void RunTurn() = 0;

  Loop* loop_ = nullptr;

 private:
  const Over over_;
  MemoryBudget memory_{uint64_t{1} << 30};
  std::vector<std::unique_ptr<FarEnd>> far_ends_;
};

enum class Below : uint8_t { kWorld, kKernel };
std::unique_ptr<Stage> NewStage(Below below, Over over);

}  // namespace fio::loop_internal

#endif  // FIO_CORE_LOOP_REENTRANCY_STAGE_H_
