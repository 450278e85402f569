#include "fio/testing/scripted_driver.h"

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/types/span.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_driver.h"
#include "fio/sock/watermarks.h"
#include "fio/sock/write_queue.h"

namespace fio::testing {

class ScriptedDriver::Driver final : public SocketDriver {
 public:
  explicit Driver(ScriptedDriver& script) : script_(script) {}
  ~Driver() override { script_.driver_ = nullptr; }

  absl::Span<char> Came() override {
    if (came_.empty()) return {};
    Buffer& front = came_.front();
    return {front.bytes.get() + front.taken, front.size - front.taken};
  }
  void Take(size_t bytes) override {
    ABSL_CHECK_LE(bytes, Came().size());
    Buffer& front = came_.front();
    front.taken += bytes;
    if (front.taken == front.size) came_.pop_front();
  }
  Following following() const override { return following_; }

  void Send(WriteQueue batch) override {
    ABSL_CHECK(!script_.write_shut_) << "sent behind the end";
    if (error_ == 0) batch_.Splice(std::move(batch));
    Begin();
  }
  IoResult Left() override {
    if (error_ != 0) {
      batch_.Clear();
      copied_.Clear();
      return {.error = error_};
    }
    const size_t left = std::exchange(left_, 0);
    (copied_.empty() ? batch_ : copied_).Forget(left);
    Begin();
    return {.bytes = left};
  }
  PendingWrites pending() const override {
    return error_ == 0 ? Sum() : PendingWrites();
  }

  int ShutdownWrite() override {
    ABSL_CHECK_EQ(pending().calls, 0u) << "ended before all has left";
    script_.write_shut_ = true;
    return 0;
  }
  int ShutdownRead() override {
    script_.read_shut_ = true;
    return 0;
  }
  void End(UniqueFd fd, Ending ending) override {
    static_cast<void>(fd.Release());
    ABSL_CHECK(!script_.ending_.has_value()) << "ended twice";
    script_.ending_ = ending;
    came_.clear();
    CloseIfOver();
  }

  // --- For the test ---

  void Bring(std::string_view bytes) {
    ABSL_CHECK(!following_.ended);
    Buffer buffer = {.bytes = std::make_unique<char[]>(bytes.size()),
                     .size = bytes.size()};
    std::copy(bytes.begin(), bytes.end(), buffer.bytes.get());
    came_.push_back(std::move(buffer));
  }
  void BringEnd(int error) { following_ = {.ended = true, .error = error}; }

  size_t in_flight() const {
    size_t bytes = 0;
    for (const iovec& piece : in_flight_) bytes += piece.iov_len;
    return bytes;
  }
  void Complete(size_t bytes) {
    ABSL_CHECK(!in_flight_.empty() && bytes <= in_flight());
    left_ = bytes;
    for (const iovec& piece : std::exchange(in_flight_, {})) {
      const size_t size = std::min(bytes, piece.iov_len);
      script_.sent_.append(static_cast<const char*>(piece.iov_base), size);
      bytes -= size;
    }
    if (left_ == 0 && !script_.ending_.has_value()) Begin();
    CloseIfOver();
  }
  void Fail(int error) {
    ABSL_CHECK(!in_flight_.empty());
    in_flight_.clear();
    error_ = error;
    CloseIfOver();
  }

 private:
  struct Buffer {
    std::unique_ptr<char[]> bytes;
    size_t size;
    size_t taken = 0;
  };

  PendingWrites Sum() const {
    const PendingWrites copied = copied_.pending();
    const PendingWrites batch = batch_.pending();
    return {.calls = copied.calls + batch.calls,
            .bytes = copied.bytes + batch.bytes,
            .memory_bytes = copied.memory_bytes + batch.memory_bytes};
  }

  // The next operation.
  void Begin() {
    if (!in_flight_.empty() || left_ > 0 || error_ != 0) return;
    if (copied_.empty() && batch_.empty()) return;
    std::array<iovec, 16> pieces;
    WriteQueue& head = copied_.empty() ? batch_ : copied_;
    size_t count = head.Gather(absl::MakeSpan(pieces));
    if (count == 0) count = CopyFile(absl::MakeSpan(pieces));
    in_flight_.assign(pieces.begin(), pieces.begin() + count);
  }
  // A part of the file at the head.
  size_t CopyFile(absl::Span<iovec> pieces) {
    const IoResult read = batch_.Flush([this](absl::Span<const iovec> file) {
      copied_.Append(
          {static_cast<const char*>(file[0].iov_base), file[0].iov_len});
      return IoResult{.bytes = file[0].iov_len};
    });
    if (!read.ok()) error_ = read.error;
    return copied_.Gather(pieces);
  }
  void CloseIfOver() {
    if (!script_.ending_.has_value() || !in_flight_.empty()) return;
    script_.closed_ = true;
    delete this;
  }

  ScriptedDriver& script_;
  std::deque<Buffer> came_;
  Following following_;
  WriteQueue batch_;
  WriteQueue copied_;  // Of the file at the head of `batch_`; leaves first.
  std::vector<iovec> in_flight_;
  size_t left_ = 0;  // Since Left().
  int error_ = 0;
};

ScriptedDriver::~ScriptedDriver() {
  ABSL_CHECK(driver_ == nullptr) << "the socket lives on";
}

Socket ScriptedDriver::MakeSocket(int fd) {
  ABSL_CHECK(driver_ == nullptr && !ending_.has_value());
  driver_ = new Driver(*this);
  Socket socket((UniqueFd(fd)), Socket::ShortRead::kEmpties);
  socket.SetDriver(*driver_);
  return socket;
}

void ScriptedDriver::Bring(std::string_view bytes) { driver_->Bring(bytes); }
void ScriptedDriver::BringEnd() { driver_->BringEnd(0); }
void ScriptedDriver::BringError(int error) { driver_->BringEnd(error); }
size_t ScriptedDriver::in_flight() const {
  return driver_ == nullptr ? 0 : driver_->in_flight();
}
void ScriptedDriver::Complete(size_t bytes) { driver_->Complete(bytes); }
void ScriptedDriver::Fail(int error) { driver_->Fail(error); }

}  // namespace fio::testing
