// O_NONBLOCK and SO_LINGER belong to the file description, so another process
// or a library with a copy of the descriptor can change them. No call of a
// Socket or DatagramSocket blocks even so.

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/types/span.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/datagram_socket.h"
#include "fio/sock/file_range.h"
#include "fio/sock/io_result.h"
#include "fio/sock/listen_socket.h"
#include "fio/sock/shared_bytes.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/test_util.h"
#include "fio/sock/transport.h"
#include "fio/testing/fault_plan.h"
#include "fio/testing/loopback_pair.h"
#include "fio/testing/memory_file.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using testing::FaultPlan;
using testing::LoopbackPair;
using testing::MemoryFile;
using testing::ReadAvailable;
using testing::ReadToEnd;
using testing::ReadUntil;
using testing::WaitReadable;

using Call = FaultPlan::Call;

constexpr size_t kMuch = size_t{16} << 20;  // More than the kernel takes.

// Bounds a failure: a call that blocks ends the test by SIGALRM.
class OrDie {
 public:
  OrDie() { alarm(60); }
  OrDie(const OrDie&) = delete;
  OrDie& operator=(const OrDie&) = delete;
  ~OrDie() { alarm(0); }
};

// Makes the file description of `fd` block, through another descriptor of it.
void ClearNonBlocking(int fd) {
  const UniqueFd copy(fcntl(fd, F_DUPFD_CLOEXEC, 3));
  const int flags = fcntl(copy.get(), F_GETFL);
  ASSERT_NE(flags & O_NONBLOCK, 0);
  ASSERT_EQ(fcntl(copy.get(), F_SETFL, flags & ~O_NONBLOCK), 0);
  ASSERT_EQ(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
}

// From now on close(2) waits for two minutes until the peer has taken all.
void SetLinger(int fd) {
  const UniqueFd copy(fcntl(fd, F_DUPFD_CLOEXEC, 3));
  const linger wait = {.l_onoff = 1, .l_linger = 120};
  ASSERT_EQ(setsockopt(copy.get(), SOL_SOCKET, SO_LINGER, &wait, sizeof(wait)),
            0);
}

void ExpectNothingToRead(Socket& socket) {
  char buffer[100];
  EXPECT_TRUE(socket.Read(absl::MakeSpan(buffer)).would_block());
  EXPECT_TRUE(socket.Peek().would_block());
  EXPECT_TRUE(socket.Peek(absl::MakeSpan(buffer)).would_block());
}

// Flushes while the peer reads, until it has `bytes`. Returns how many it has.
size_t Deliver(LoopbackPair& pair, size_t bytes) {
  size_t received = 0;
  while (pair.near.Flush().would_block()) {
    received += ReadAvailable(pair.far).size();
  }
  return received + ReadUntil(pair.far, bytes - received).size();
}

// Fills the kernel's buffer without the Socket's knowledge.
size_t FillAround(const Socket& socket) {
  const std::string bytes(1 << 16, 'f');
  size_t filled = 0;
  for (;;) {
    const ssize_t sent = ::send(socket.fd(), bytes.data(), bytes.size(),
                                MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) return filled;
    filled += static_cast<size_t>(sent);
  }
}

void ReadsAndWrites(LoopbackPair& pair) {
  Socket& near = pair.near;
  ClearNonBlocking(near.fd());
  ExpectNothingToRead(near);
  // A short read that is checked.
  near.HoldDescriptor(true);
  near.DistrustShortReads();
  EXPECT_TRUE(pair.far.TryWrite("short").ok());
  EXPECT_EQ(ReadUntil(near, 5), "short");
  ExpectNothingToRead(near);
  near.HoldDescriptor(false);

  const std::string much(kMuch, 'm');
  EXPECT_TRUE(near.Write(much).ok());
  EXPECT_TRUE(near.Flush().would_block());
  EXPECT_EQ(Deliver(pair, kMuch), kMuch);
  EXPECT_TRUE(near.Write(SharedBytes(much)).ok());
  EXPECT_TRUE(near.Flush().would_block());
  EXPECT_TRUE(near.Write(absl::Cord(much)).ok());
  EXPECT_TRUE(near.Write(much).ok());
  EXPECT_TRUE(near.Flush().would_block());
  EXPECT_EQ(Deliver(pair, 3 * kMuch), 3 * kMuch);

  const iovec pieces[] = {{const_cast<char*>(much.data()), 1 << 20},
                          {const_cast<char*>(much.data()), 1 << 20}};
  size_t sent = 0;
  IoResult tried = near.TryWrite(pieces);
  for (; tried.ok(); tried = near.TryWrite(pieces)) sent += tried.bytes;
  EXPECT_TRUE(tried.would_block());
  EXPECT_EQ(ReadUntil(pair.far, sent).size(), sent);
}

void SendsAFile(LoopbackPair& pair) {
  const UniqueFd file = MemoryFile("");
  ASSERT_EQ(ftruncate(file.get(), kMuch), 0);
  FaultPlan plan;
  EXPECT_TRUE(pair.near.Write(*FileRange::Borrow(file.get())).ok());
  EXPECT_TRUE(pair.near.Flush().would_block());
  EXPECT_EQ(plan.calls(Call::kSendfile) > 0, !pair.near.has_transport());
  // In the middle of it.
  ClearNonBlocking(pair.near.fd());
  const uint64_t before = plan.calls(Call::kSendfile);
  EXPECT_EQ(Deliver(pair, kMuch), kMuch);
  EXPECT_EQ(plan.calls(Call::kSendfile), before);
}

void ClosesOverUnreadBytes(LoopbackPair& pair) {
  ClearNonBlocking(pair.near.fd());
  EXPECT_TRUE(pair.far.TryWrite("nobody reads this").ok());
  WaitReadable(pair.near.fd());
  EXPECT_TRUE(pair.near.Write("reply").ok());
  pair.near.Close();
  EXPECT_TRUE(pair.near.is_lingering());
  EXPECT_TRUE(pair.near.Flush().would_block());
  EXPECT_EQ(ReadToEnd(pair.far), "reply");
  pair.far.Close();
  while (pair.near.fd() >= 0) static_cast<void>(pair.near.Flush());
}

// The peer takes nothing while the socket closes, and all later.
void ClosesOverUnsentBytes(Socket closing, Socket& peer) {
  SetLinger(closing.fd());
  const std::string much(kMuch, 'm');
  size_t sent = 0;
  IoResult tried = closing.TryWrite(much);
  for (; tried.ok(); tried = closing.TryWrite(much)) sent += tried.bytes;
  closing.Close();
  EXPECT_LT(closing.fd(), 0);
  EXPECT_EQ(ReadToEnd(peer).size(), sent);
}

TEST(Socket, NeverBlocksWhateverOthersSet) {
  const OrDie or_die;
  using Check = void (*)(LoopbackPair&);
  for (const Check check :
       {Check{ReadsAndWrites}, Check{SendsAFile}, Check{ClosesOverUnreadBytes},
        // Once each end, of which one was accepted.
        Check{[](LoopbackPair& pair) {
          ClosesOverUnsentBytes(std::move(pair.near), pair.far);
        }},
        Check{[](LoopbackPair& pair) {
          ClosesOverUnsentBytes(std::move(pair.far), pair.near);
        }}}) {
    for (const bool tcp : {true, false}) {
      for (const bool with_transport : {false, true}) {
        SCOPED_TRACE(std::string(tcp ? "TCP" : "Unix") +
                     (with_transport ? " transport" : ""));
        LoopbackPair pair = tcp ? LoopbackPair::Tcp() : LoopbackPair::Unix();
        // The accepted end leaves it to the test when it closes.
        pair.near.AllowHalfOpen();
        if (with_transport) {
          ASSERT_TRUE(
              pair.near.SetTransport(std::make_unique<Transport>()).ok());
        }
        check(pair);
      }
    }
  }
}

// Where the socket has not met a full buffer itself.
TEST(Socket, ClosingDoesNotWaitForBytesThatOthersWrote) {
  const OrDie or_die;
  {  // Nothing is known of a descriptor from elsewhere.
    LoopbackPair pair = LoopbackPair::Tcp();
    Socket foreign(pair.near.Release());
    SetLinger(foreign.fd());
    const size_t filled = FillAround(foreign);
    foreign.Close();
    EXPECT_EQ(ReadToEnd(pair.far).size(), filled);
  }
  // A child may have a copy.
  const pid_t child = fork();  // Which has made no fork itself.
  if (child == 0) {
    const OrDie or_die_too;
    LoopbackPair pair = LoopbackPair::Tcp();
    const pid_t grandchild = fork();
    if (grandchild == 0) {
      SetLinger(pair.near.fd());
      FillAround(pair.near);
      _exit(0);
    }
    waitpid(grandchild, nullptr, 0);
    pair.near.Close();
    ReadToEnd(pair.far);
    _exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

// A reset that somebody has asked for does not wait, so it is not touched.
TEST(Socket, ALingerTimeOfZeroStays) {
  LoopbackPair pair = LoopbackPair::Tcp();
  Socket foreign(pair.near.Release());
  const linger reset = {.l_onoff = 1, .l_linger = 0};
  ASSERT_EQ(
      setsockopt(foreign.fd(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)),
      0);
  foreign = Socket();
  WaitReadable(pair.far.fd());
  char byte;
  EXPECT_EQ(pair.far.Read(absl::MakeSpan(&byte, 1)).error, ECONNRESET);
}

// What an accepted connection costs that is read, written and closed.
TEST(Socket, NeverBlockingCostsNoSystemCall) {
  const pid_t child = fork();  // It has made no fork itself.
  if (child == 0) {
    bool as_before = true;
    const UniqueFd listening(
        ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    ::listen(listening.get(), 16);
    absl::StatusOr<ListenSocket> passed = ListenSocket::FromFd(
        UniqueFd(fcntl(listening.get(), F_DUPFD_CLOEXEC, 3)));
    for (const bool of_fd : {false, true}) {
      LoopbackPair pair = LoopbackPair::Tcp();
      if (of_fd) {
        UniqueFd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        const SocketAddress& to = passed->local_address();
        if (connect(client.get(), to.data(), to.size()) != 0) _exit(2);
        fcntl(client.get(), F_SETFL, O_NONBLOCK);
        WaitReadable(passed->fd());
        pair.near = passed->Accept().socket;
        pair.far = Socket(std::move(client));
      }
      pair.near.HoldDescriptor(true);
      static_cast<void>(pair.far.TryWrite("request"));
      const FaultPlan plan;
      as_before &= ReadUntil(pair.near, 7) == "request";
      as_before &= pair.near.Write("reply").ok() && pair.near.Flush().ok();
      pair.near.Close();
      as_before &= pair.near.Flush().ok();
      pair.near.Discard();
      pair.near = Socket();
      as_before &= plan.calls(Call::kSend) == 1 &&
                   plan.calls(Call::kClose) == 1 &&
                   plan.calls() == plan.calls(Call::kRecv) + 2;
    }
    _exit(as_before ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(DatagramSocket, NeverBlocksWhateverOthersSet) {
  const OrDie or_die;
  const absl::StatusOr<SocketAddress> any =
      SocketAddress::FromIp("127.0.0.1", 0);
  absl::StatusOr<DatagramSocket> udp = DatagramSocket::Bind(*any);
  ASSERT_TRUE(udp.ok()) << udp.status();
  ClearNonBlocking(udp->fd());
  char buffer[100];
  IncomingDatagram datagrams[2] = {{.buffer = absl::MakeSpan(buffer)},
                                   {.buffer = absl::MakeSpan(buffer)}};
  EXPECT_EQ(udp->ReceiveBatch(absl::MakeSpan(datagrams)).error, EAGAIN);
  EXPECT_EQ(udp->Peek(datagrams[0]).error, EAGAIN);
  const SocketAddress to_itself = udp->local_address();
  const OutgoingDatagram one = {.bytes = "one", .to = &to_itself};
  EXPECT_EQ(udp->SendBatch({&one, 1}).count, 1u);
  WaitReadable(udp->fd());
  EXPECT_EQ(udp->ReceiveBatch(absl::MakeSpan(datagrams)).count, 1u)
      << "it does not wait for a second one";

  absl::StatusOr<DatagramSocket> full =
      DatagramSocket::Bind(testing::Address("unix:"));
  ASSERT_TRUE(full.ok()) << full.status();
  absl::StatusOr<DatagramSocket> sender = DatagramSocket::Open(AF_UNIX);
  ASSERT_TRUE(sender.ok()) << sender.status();
  ClearNonBlocking(sender->fd());
  const SocketAddress to_full = full->local_address();
  const OutgoingDatagram more = {.bytes = "more", .to = &to_full};
  BatchResult sent;
  while ((sent = sender->SendBatch({&more, 1})).count == 1) {
  }
  EXPECT_EQ(sent.error, EAGAIN);
}

}  // namespace
}  // namespace fio
