// A transport that holds bytes, as one that makes records does, and a peer that
// reads or writes slowly, but steadily: that is activity.

#include <sys/uio.h>

#include <cerrno>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/protocol.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"
#include "fio/testing/simulated_network.h"
#include "fio/testing/world.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using testing::Peer;
using testing::World;

constexpr size_t kBytes = 60'000;
constexpr size_t kBytesPerSecond = 1000;
constexpr size_t kWindowBytes = 4000;
constexpr size_t kRecordBytes = 16'000;

// Takes all, and gives whole records only.
class Holds final : public Transport {
 public:
  IoResult Read(Socket& socket, absl::Span<char> out) override {
    char piece[4096];
    IoResult read;
    while (come_.size() < kRecordBytes && read.ok()) {
      read = socket.ReadRaw(absl::MakeSpan(piece));
      come_.append(piece, read.bytes);
      if (read.ok() && read.bytes == 0) return read;
      if (socket.raw_is_empty()) break;
    }
    if (come_.size() < kRecordBytes) return {.error = EAGAIN};
    const size_t bytes = come_.copy(out.data(), out.size());
    come_.erase(0, bytes);
    return {.bytes = bytes};
  }

  IoResult Write(Socket& socket, absl::Span<const iovec> pieces) override {
    size_t taken = 0;
    for (const iovec& piece : pieces) {
      held_.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
      taken += piece.iov_len;
    }
    const IoResult sent = Send(socket);
    if (sent.failed()) return sent;
    return {.bytes = taken};
  }

  IoResult Flush(Socket& socket) override {
    const IoResult sent = Send(socket);
    return {.bytes = held_.size(), .error = sent.error};
  }

 private:
  IoResult Send(Socket& socket) {
    IoResult sent;
    while (!held_.empty() && sent.ok()) {
      const iovec piece = {.iov_base = held_.data(), .iov_len = held_.size()};
      sent = socket.WriteRaw(absl::MakeConstSpan(&piece, 1));
      held_.erase(0, sent.bytes);
    }
    return sent;
  }

  std::string held_, come_;
};

// What a connection was told.
struct Heard {
  int timeouts = 0;
  size_t bytes = 0;
  std::optional<CloseReason> closed;
};

class Sends final : public Protocol {
 public:
  explicit Sends(Heard& heard) : heard_(heard) {}
  void OnOpen(Connection& connection) override {
    connection.SetTimeout(absl::Seconds(5));
    connection.Write(std::string(kBytes, 'x'));
  }
  void OnData(Connection& connection) override {
    heard_.bytes += connection.Received().size();
  }
  void OnTimeout(Connection& /*connection*/) override { ++heard_.timeouts; }
  void OnClose(Connection& /*connection*/, const CloseReason& why) override {
    heard_.closed = why;
  }

 private:
  Heard& heard_;
};

class HeldBytes : public ::testing::Test {
 protected:
  Peer Connect() {
    Peer peer = world_.Connect([this](Connection& connection) {
      id_ = connection.id();
      ASSERT_TRUE(connection.SetTransport(std::make_unique<Holds>()).ok());
      connection.Attach(std::make_unique<Sends>(heard_));
    });
    peer.SetAutoRead(false);
    world_.RunUntilIdle();
    return peer;
  }

  // Returns how many of so many bytes have come.
  size_t ReadSlowly(Peer& peer, size_t bytes) {
    size_t read = 0;
    for (size_t i = 0; i < bytes / kBytesPerSecond; ++i) {
      read += peer.TakeReceived(kBytesPerSecond).size();
      world_.Advance(absl::Seconds(1));
    }
    return read;
  }

  Heard heard_;
  ConnectionId id_;
  World world_{{.network = {.window_bytes = kWindowBytes}}};
};

TEST_F(HeldBytes, ThatLeaveAreActivity) {
  Peer peer = Connect();
  EXPECT_EQ(ReadSlowly(peer, kBytes - kWindowBytes), kBytes - kWindowBytes);
  EXPECT_EQ(heard_.timeouts, 0);
}

TEST_F(HeldBytes, ThatDoNotLeaveAreNone) {
  Peer peer = Connect();
  world_.Advance(absl::Seconds(5));
  EXPECT_EQ(heard_.timeouts, 1);
}

TEST_F(HeldBytes, OfARecordThatComesAreActivity) {
  Peer peer = Connect();
  peer.SetAutoRead(true);
  world_.RunUntilIdle();
  for (size_t i = 0; i < kRecordBytes / kBytesPerSecond; ++i) {
    EXPECT_EQ(heard_.bytes, 0u);
    peer.Send(std::string(kBytesPerSecond, 'y'));
    world_.Advance(absl::Seconds(1));
  }
  EXPECT_EQ(heard_.bytes, kRecordBytes);
  EXPECT_EQ(heard_.timeouts, 0);
}

TEST_F(HeldBytes, OfARecordThatIsCutDoNotHideTheEnd) {
  Peer peer = Connect();
  peer.SetAutoRead(true);
  world_.RunUntilIdle();
  peer.Send(std::string(kBytesPerSecond, 'y'));
  peer.ShutdownWrite();
  world_.RunUntilIdle();
  EXPECT_TRUE(heard_.closed.has_value());
}

TEST_F(HeldBytes, OfAClosingConnectionReachASlowPeer) {
  Peer peer = Connect();
  world_.loop().Find(id_)->Close();
  EXPECT_EQ(ReadSlowly(peer, kBytes), kBytes);
  EXPECT_FALSE(peer.saw_reset());
  ASSERT_TRUE(heard_.closed.has_value());
  EXPECT_EQ(heard_.closed->origin, CloseReason::Origin::kLocal);
}

}  // namespace
}  // namespace fio
