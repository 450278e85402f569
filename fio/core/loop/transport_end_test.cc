// A transport that does something of its own in each of its calls.

#include <sys/uio.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/test_util.h"
#include "fio/core/poller/poller_under_test.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"
#include "fio/testing/loopback_pair.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using loop_internal::LoopFixture;
using loop_internal::Record;
using testing::LoopbackPair;
using testing::ReadAvailable;

enum class Where { kRead, kWrite, kFlush, kBeforeClose };
enum class Deed { kClose, kAbort, kShutdownWrite };

class Ender final : public fio::Transport {
 public:
  Ender(Where where, Deed deed, bool& destroyed)
      : where_(where), deed_(deed), destroyed_(destroyed) {}
  ~Ender() override { destroyed_ = true; }

  IoResult Read(Socket& socket, absl::Span<char> out) override {
    const IoResult read = fio::Transport::Read(socket, out);
    if (read.bytes > 0) In(Where::kRead, socket);
    return where_ == Where::kRead ? IoResult{.error = EAGAIN} : read;
  }
  IoResult Write(Socket& socket, absl::Span<const iovec> pieces) override {
    In(Where::kWrite, socket);
    return where_ == Where::kWrite ? IoResult{.error = EAGAIN}
                                   : fio::Transport::Write(socket, pieces);
  }
  IoResult Flush(Socket& socket) override {
    In(Where::kFlush, socket);
    return {};
  }
  bool BeforeClose(Socket& socket) override {
    In(Where::kBeforeClose, socket);
    return true;
  }

 private:
  void In(Where where, Socket& socket) {
    if (where != where_) return;
    switch (deed_) {
      case Deed::kClose:
        return socket.Close();
      case Deed::kAbort:
        return socket.Abort();
      case Deed::kShutdownWrite:
        static_cast<void>(socket.ShutdownWrite());
    }
  }

  const Where where_;
  const Deed deed_;
  bool& destroyed_;
};

class Transport : public LoopFixture {
 protected:
  Transport() : LoopFixture({.poller = core_internal::PollerUnderTest()}) {}
};

TEST_F(Transport, EndsItselfInAnyCall) {
  for (const Where where :
       {Where::kRead, Where::kWrite, Where::kFlush, Where::kBeforeClose}) {
    for (const Deed deed : {Deed::kClose, Deed::kAbort}) {
      SCOPED_TRACE(::testing::Message() << "call " << static_cast<int>(where)
                                        << " deed " << static_cast<int>(deed));
      LoopbackPair pair = LoopbackPair::Unix();
      bool destroyed = false;
      Record& record = NewRecord();
      Connection& connection = Adopt(pair.near, record);
      ASSERT_TRUE(
          connection
              .SetTransport(std::make_unique<Ender>(where, deed, destroyed))
              .ok());
      Turn();
      if (where == Where::kRead) {
        ASSERT_TRUE(pair.far.TryWrite("x").ok());
      } else if (connection.is_open()) {
        connection.Write("x");
        if (where == Where::kBeforeClose) connection.Close();
      }
      Turn(where == Where::kWrite ? 1 : 2);
      if (where == Where::kWrite && deed == Deed::kClose) {
        // It never takes what was written before: the peer ends that.
        EXPECT_EQ(record.Count("close"), 0);
        clock_.Advance(loop_->options().close_timeout);
        Turn(2);
      }
      EXPECT_EQ(record.Count("close"), 1);
      EXPECT_TRUE(destroyed);
      EXPECT_EQ(loop_->connection_count(), 0u);
    }
  }
}

// Answers each read with a byte, which it holds until it is flushed.
class Answering final : public fio::Transport {
 public:
  IoResult Read(Socket& socket, absl::Span<char> out) override {
    const IoResult read = fio::Transport::Read(socket, out);
    if (read.bytes == 0) return read;
    held_.append(read.bytes, '!');
    return {.error = EAGAIN};
  }
  IoResult Flush(Socket& socket) override {
    if (held_.empty()) return {};
    const iovec piece = {.iov_base = held_.data(), .iov_len = held_.size()};
    const IoResult sent =
        fio::Transport::Write(socket, absl::MakeConstSpan(&piece, 1));
    held_.erase(0, sent.bytes);
    return {.bytes = held_.size(), .error = sent.error};
  }

 private:
  std::string held_;
};

TEST_F(Transport, AnswersWhatItReads) {
  LoopbackPair pair = LoopbackPair::Unix();
  Record& record = NewRecord();
  Connection& connection = Adopt(pair.near, record);
  ASSERT_TRUE(connection.SetTransport(std::make_unique<Answering>()).ok());
  Turn(3);
  ASSERT_TRUE(pair.far.TryWrite("abc").ok());
  Turn();
  EXPECT_EQ(ReadAvailable(pair.far), "!!!");
  EXPECT_EQ(record.data, "");
}

}  // namespace
}  // namespace fio
