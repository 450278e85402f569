// Reads that come back short though the kernel holds more: behind TCP's urgent
// data (tcp(7)), and in a Unix stream behind descriptors, other credentials and
// out-of-band data (unix(7)). What is left is delivered all the same.

#include <linux/sockios.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/test_util.h"
#include "fio/core/poller/poller.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/testing/loopback_pair.h"
#include "fio/testing/manual_clock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using loop_internal::Record;
using loop_internal::Recorder;
using testing::LoopbackPair;

void Send(const Socket& socket, std::string_view bytes, int flags = 0) {
  ASSERT_EQ(send(socket.fd(), bytes.data(), bytes.size(), flags | MSG_NOSIGNAL),
            static_cast<ssize_t>(bytes.size()));
}

// Returns when the peer's kernel has all that was sent by TCP.
void AwaitArrival(const Socket& socket) {
  int left = 1;
  while (left > 0) {
    ASSERT_EQ(ioctl(socket.fd(), SIOCOUTQ, &left), 0);
    sched_yield();
  }
}

void SendDescriptor(const Socket& socket, char byte) {
  iovec piece = {&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message = {};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  const int fd = socket.fd();
  std::memcpy(CMSG_DATA(header), &fd, sizeof(fd));
  ASSERT_EQ(sendmsg(socket.fd(), &message, 0), 1);
}

struct Case {
  const char* name;
  bool tcp;
  std::function<void(LoopbackPair&)> send;
  std::string_view expected;
};

const Case kCases[] = {
    {"TCP's urgent byte", true,
     [](LoopbackPair& pair) {
       Send(pair.far, "abc");
       Send(pair.far, "!", MSG_OOB);
       Send(pair.far, "QUIT\r\n");
       AwaitArrival(pair.far);
     },
     "abcQUIT\r\n"},
    {"two of them", true,
     [](LoopbackPair& pair) {
       Send(pair.far, "abc");
       Send(pair.far, "!", MSG_OOB);
       Send(pair.far, "def");
       AwaitArrival(pair.far);
       Send(pair.far, "?", MSG_OOB);
       Send(pair.far, "ghi");
       AwaitArrival(pair.far);
     },
     "abc!defghi"},  // The former becomes an ordinary byte.
    {"a descriptor", false,
     [](LoopbackPair& pair) {
       Send(pair.far, "abc");
       SendDescriptor(pair.far, 'd');
       Send(pair.far, "efg");
     },
     "abcdefg"},
    {"two writers", false,
     [](LoopbackPair& pair) {
       const int on = 1;
       ASSERT_EQ(
           setsockopt(pair.near.fd(), SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)),
           0);
       Send(pair.far, "abc");
       const pid_t child = fork();
       if (child == 0) {
         _exit(send(pair.far.fd(), "def", 3, MSG_NOSIGNAL) == 3 ? 0 : 1);
       }
       int status = 0;
       ASSERT_EQ(waitpid(child, &status, 0), child);
       ASSERT_EQ(status, 0);
     },
     "abcdef"},
    {"a Unix socket's urgent byte", false,
     [](LoopbackPair& pair) {
       Send(pair.far, "abc");
       // Since Linux 5.15; before, there is nothing to test.
       static_cast<void>(send(pair.far.fd(), "!", 1, MSG_OOB | MSG_NOSIGNAL));
       Send(pair.far, "def");
     },
     "abcdef"},
};

class World {
 public:
  explicit World(PollerKind poller)
      : loop_(*Loop::Create({.clock = &clock_, .poller = poller})) {}

  Loop& loop() { return *loop_; }
  void Turn(int count) {
    for (int i = 0; i < count; ++i) {
      ASSERT_TRUE(loop_->RunOnce(MonotonicTime::InfinitePast()).ok());
    }
  }
  void Adopt(Socket socket, Record& record) {
    ASSERT_TRUE(loop_
                    ->Adopt(std::move(socket),
                            [&record](Connection& connection) {
                              connection.Attach(
                                  std::make_unique<Recorder>(record));
                            })
                    .ok());
  }

 private:
  testing::ManualClock clock_;
  std::unique_ptr<Loop> loop_;
};

TEST(Socket, ShortReadIsNotAlwaysEmpty) {
  for (const PollerKind poller : {PollerKind::kEpoll, PollerKind::kPoll}) {
    for (const Case& c : kCases) {
      for (const bool adopted_first : {false, true}) {
        SCOPED_TRACE(c.name);
        SCOPED_TRACE(PollerKindName(poller));
        SCOPED_TRACE(adopted_first);
        Record record;
        World world(poller);
        LoopbackPair pair = c.tcp ? LoopbackPair::Tcp() : LoopbackPair::Unix();
        const int near = pair.near.fd();
        if (adopted_first) {
          // Reads once, so that it is believed to be empty.
          Socket kept(UniqueFd(dup(near)));
          world.Adopt(std::move(pair.near), record);
          Send(pair.far, "<");
          while (record.data.empty()) world.Turn(1);
          record.data.clear();
          pair.near = std::move(kept);
          c.send(pair);
        } else {
          c.send(pair);
          world.Adopt(std::move(pair.near), record);
        }
        world.Turn(10);
        EXPECT_EQ(record.data, c.expected);
        EXPECT_EQ(record.Count("close"), 0);
      }
    }
  }
}

// Bytes that lie unread behind the urgent one would have the kernel reset.
TEST(Socket, AnswerArrivesThoughUrgentDataWasSent) {
  for (const PollerKind poller : {PollerKind::kEpoll, PollerKind::kPoll}) {
    SCOPED_TRACE(PollerKindName(poller));
    Record record;
    Connection* served = nullptr;
    record.on_open = [&served](Connection& opened) { served = &opened; };
    World world(poller);
    LoopbackPair pair = LoopbackPair::Tcp();
    Send(pair.far, "GET");
    Send(pair.far, "!", MSG_OOB);
    Send(pair.far, "rest");
    AwaitArrival(pair.far);
    world.Adopt(std::move(pair.near), record);
    world.Turn(10);
    // Not inside of OnData(): there Close() looks for itself what is left.
    served->Write("answer");
    served->Close();
    world.Turn(10);
    EXPECT_EQ(testing::ReadUntil(pair.far, 6), "answer");
    char byte;
    IoResult end = pair.far.Read(absl::MakeSpan(&byte, 1));
    while (end.would_block()) end = pair.far.Read(absl::MakeSpan(&byte, 1));
    EXPECT_TRUE(end.ok() && end.bytes == 0) << end.error;
    // A process that has forked ends its stream first, so that a reset would
    // not be read.
    EXPECT_EQ(pair.far.TakeError(), 0);
  }
}

}  // namespace
}  // namespace fio
