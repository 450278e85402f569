#include <fcntl.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "fio/base/errno_status.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/listen_socket.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/test_util.h"
#include "fio/testing/fault_plan.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using testing::Address;
using ::testing::AllOf;
using testing::CountOpenDescriptors;
using testing::FaultPlan;
using testing::ForEachCall;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::TempFolder;

ListenSocket ListenOn(const SocketAddress& address) {
  absl::StatusOr<ListenSocket> listener = ListenSocket::Listen(address, {});
  EXPECT_TRUE(listener.ok()) << listener.status();
  return *std::move(listener);
}

// A blocking client.
UniqueFd ConnectTo(const SocketAddress& address) {
  UniqueFd fd(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(::connect(fd.get(), address.data(), address.size()), 0)
      << address.ToString();
  return fd;
}

TEST(ListenSocketFaults, NamesTheCallThatTellsTheAddress) {
  FaultPlan plan;
  plan.FailNext(FaultPlan::Call::kGetsockname, EPERM);
  const absl::Status listened =
      ListenSocket::Listen(Address("127.0.0.1:0"), {}).status();
  EXPECT_EQ(listened.message(),
            "getsockname 127.0.0.1:0: Operation not permitted (EPERM)");
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::listen(fd.get(), 1), 0);
  const std::string number = absl::StrCat(fd.get());
  plan.FailNext(FaultPlan::Call::kGetsockname, EPERM);
  const absl::Status taken = ListenSocket::FromFd(std::move(fd)).status();
  EXPECT_EQ(taken.message(),
            absl::StrCat("listen on fd ", number,
                         ": getsockname: Operation not permitted (EPERM)"));
}

TEST(ListenSocketFaults, AcceptIsOneCallAndTellsItsError) {
  ListenSocket listener = ListenOn(Address("127.0.0.1:0"));
  const UniqueFd client = ConnectTo(listener.local_address());
  testing::WaitReadable(listener.fd());
  FaultPlan plan;
  uint64_t calls = 0;
  for (const int error : {EINTR, ECONNABORTED, EMFILE}) {
    plan.FailNext(FaultPlan::Call::kAccept4, error);
    EXPECT_EQ(listener.Accept().error, error);
    EXPECT_EQ(plan.calls(), ++calls);
  }
  EXPECT_EQ(listener.Accept().error, 0);
}

// Whether a connection to `address` is refused.
bool Refuses(const SocketAddress& address) {
  const UniqueFd client(
      ::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  return ::connect(client.get(), address.data(), address.size()) != 0 &&
         errno == ECONNREFUSED;
}

// A copy by dup(2) is to the kernel what another process has.
TEST(ListenSocketFaults, StopListeningEndsCopiesToo) {
  for (const char* const text : {"127.0.0.1:0", "[::1]:0", "unix:"}) {
    ListenSocket listener = ListenOn(Address(text));
    const SocketAddress address = listener.local_address();
    const UniqueFd copy(fcntl(listener.fd(), F_DUPFD_CLOEXEC, 3));
    const UniqueFd waits = ConnectTo(address);
    EXPECT_FALSE(Refuses(address));
    listener.StopListening();
    EXPECT_TRUE(Refuses(address)) << text;
    listener.StopListening();
    // It can be bound again while the copy lives.
    if (address.family() != AF_UNIX) ListenOn(address);
  }
}

TEST(ListenSocketFaults, StopListeningIsForWhoCalledListen) {
  ListenSocket listener = ListenOn(Address("127.0.0.1:0"));
  const pid_t child = fork();
  if (child == 0) {
    listener.StopListening();
    _exit(0);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_FALSE(Refuses(listener.local_address()));
  absl::StatusOr<ListenSocket> passed =
      ListenSocket::FromFd(UniqueFd(fcntl(listener.fd(), F_DUPFD_CLOEXEC, 3)));
  ASSERT_TRUE(passed.ok()) << passed.status();
  passed->StopListening();
  passed->StopListeningForParent();
  EXPECT_FALSE(Refuses(listener.local_address()));
}

// It is not known whether another server has the path.
TEST(ListenSocketFaults, WithoutADescriptorToProbeAPathItSaysSo) {
  const TempFolder folder;
  const SocketAddress address = Address(folder.File("stale"));
  {
    const UniqueFd dead(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::bind(dead.get(), address.data(), address.size()), 0);
  }
  for (const int error : {EMFILE, ENFILE}) {
    FaultPlan plan;
    plan.FailNth(3, error);  // After socket(2) and bind(2).
    const absl::Status status = ListenSocket::Listen(address, {}).status();
    EXPECT_EQ(plan.nth_failed(), FaultPlan::Call::kSocket);
    EXPECT_THAT(std::string(status.message()),
                HasSubstr(absl::StrCat("socket ", address.ToString(), ": ")));
    EXPECT_THAT(std::string(status.message()), HasSubstr(ErrnoName(error)));
  }
  ListenOn(address);
}

TEST(ListenSocketFaults, AChildEndsListeningForItsParent) {
  const TempFolder folder;
  for (const SocketAddress& wanted :
       {Address("127.0.0.1:0"), Address(folder.File("x"))}) {
    ListenSocket listener = ListenOn(wanted);
    const SocketAddress address = listener.local_address();
    const pid_t child = fork();
    if (child == 0) {
      listener.StopListeningForParent();
      _exit(0);
    }
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    const ListenSocket next = ListenOn(address);
    // The old one does not remove the path of the new one.
    listener.StopListeningForParent();
    EXPECT_FALSE(Refuses(address));
  }
}

TEST(ListenSocketFaults, EachFailedCallIsNamedAndLeavesNothing) {
  const TempFolder folder;
  for (const SocketAddress& address :
       {Address("127.0.0.1:0"), Address(folder.File("x"))}) {
    const int open = CountOpenDescriptors();
    const int failed = ForEachCall(
        {ENOMEM, EPERM}, [&](FaultPlan& plan, std::string_view fault) {
          SCOPED_TRACE(fault);
          const absl::Status status =
              ListenSocket::Listen(address, {}).status();
          plan.CancelFailNth();
          const std::optional<FaultPlan::Call> call = plan.nth_failed();
          if (call.has_value() && *call != FaultPlan::Call::kClose) {
            EXPECT_THAT(std::string(status.message()),
                        AllOf(HasSubstr(FaultPlan::NameOf(*call)),
                              HasSubstr(address.ToString())));
          } else {
            EXPECT_TRUE(status.ok()) << status;
          }
        });
    EXPECT_GE(failed, 2 * 4);
    EXPECT_EQ(CountOpenDescriptors(), open);
    EXPECT_THAT(folder.List(), IsEmpty());
  }
}

}  // namespace
}  // namespace fio
