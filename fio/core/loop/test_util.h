// What tests of the loop share: a protocol that tells what it was told, and a
// loop on a clock that stands still.

#ifndef FIO_CORE_LOOP_TEST_UTIL_H_
#define FIO_CORE_LOOP_TEST_UTIL_H_

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_options.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/loop/protocol_lock.h"
#include "fio/core/poller/poller.h"
#include "fio/sock/socket.h"
#include "fio/testing/manual_clock.h"
#include "gtest/gtest.h"

namespace fio::loop_internal {

// What a protocol was told, in order; it may do something then.
struct Record {
  std::vector<std::string> told;
  std::string data;
  CloseReason reason;
  std::function<void(Connection&)> on_open, on_data, on_ready, on_high, on_low,
      on_end, on_timeout, on_deadline, on_close;
  absl::Duration stay = absl::ZeroDuration();

  int Count(std::string_view what) const {
    int count = 0;
    for (const std::string& one : told) count += one == what;
    return count;
  }
};

class Recorder final : public Protocol {
 public:
  explicit Recorder(Record& record) : record_(record) {}
  ~Recorder() override { record_.told.push_back("destroyed"); }

  void OnOpen(Connection& connection) override {
    Told("open", record_.on_open, connection);
  }
  void OnData(Connection& connection) override {
    record_.told.push_back("data");
    if (record_.on_data) {
      record_.on_data(connection);
    } else {
      record_.data += connection.Received();
    }
  }
  void OnReady(Connection& connection) override {
    Told("ready", record_.on_ready, connection);
  }
  void OnHighWater(Connection& connection) override {
    Told("high", record_.on_high, connection);
  }
  void OnLowWater(Connection& connection) override {
    Told("low", record_.on_low, connection);
  }
  void OnEnd(Connection& connection) override {
    Told("end", record_.on_end, connection);
    if (!record_.on_end) Protocol::OnEnd(connection);
  }
  void OnTimeout(Connection& connection) override {
    Told("timeout", record_.on_timeout, connection);
    if (!record_.on_timeout) Protocol::OnTimeout(connection);
  }
  void OnDeadline(Connection& connection) override {
    Told("deadline", record_.on_deadline, connection);
    if (!record_.on_deadline) Protocol::OnDeadline(connection);
  }
  absl::Duration OnShutdown(Connection& /*connection*/) override {
    record_.told.push_back("shutdown");
    return record_.stay;
  }
  void OnClose(Connection& connection, const CloseReason& reason) override {
    record_.reason = reason;
    Told("close", record_.on_close, connection);
  }

 private:
  void Told(const char* what, const std::function<void(Connection&)>& then,
            Connection& connection) {
    record_.told.push_back(what);
    if (then) then(connection);
  }

  Record& record_;
};

inline void Nothing(Connection& /*connection*/) {}

// Keeps its records until the loop has gone.
class LoopFixture : public ::testing::Test {
 protected:
  explicit LoopFixture(LoopOptions options) {
    options.clock = &clock_;
    absl::StatusOr<std::unique_ptr<Loop>> loop = Loop::Create(options);
    EXPECT_TRUE(loop.ok()) << loop.status();
    loop_ = *std::move(loop);
  }

  void Turn(int count = 1) {
    for (int i = 0; i < count; ++i) {
      const absl::Status turn = loop_->RunOnce(MonotonicTime::InfinitePast());
      ASSERT_TRUE(turn.ok()) << turn;
    }
  }
  void Advance(absl::Duration span) {
    clock_.Advance(span);
    Turn(2);
  }

  Record& NewRecord() { return records_.emplace_back(); }

  Connection& Adopt(Socket& socket, Record& record) {
    const absl::StatusOr<ConnectionId> id =
        loop_->Adopt(std::move(socket), [&](Connection& connection) {
          connection.Attach(std::make_unique<Recorder>(record));
        });
    EXPECT_TRUE(id.ok()) << id.status();
    return *loop_->Find(*id);
  }

  // A lock that another thread has taken, or none.
  std::optional<ProtocolLock> LockElsewhere(ConnectionId id,
                                            ProtocolLock::Kind kind) {
    std::optional<ProtocolLock> taken;
    std::thread([&] {
      absl::StatusOr<ProtocolLock> lock = loop_->handle().TryLock(id, kind);
      if (lock.ok()) taken = *std::move(lock);
    }).join();
    return taken;
  }
  static void UnlockElsewhere(std::optional<ProtocolLock>& lock) {
    std::thread([&] { lock.reset(); }).join();
  }

  testing::ManualClock clock_;
  std::deque<Record> records_;
  std::unique_ptr<Loop> loop_;
};

}  // namespace fio::loop_internal

#endif  // FIO_CORE_LOOP_TEST_UTIL_H_
