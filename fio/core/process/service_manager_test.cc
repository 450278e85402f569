#include "fio/core/process/service_manager.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <initializer_list>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/base/unique_fd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

// An environment of its own, with descriptors far from those of the process.
class Service {
 public:
  using Variables = std::map<std::string, std::string>;

  Service() = default;
  Service(std::initializer_list<Variables::value_type> variables)
      : variables_(variables) {
    if (variables_["LISTEN_PID"] == "self") {
      variables_["LISTEN_PID"] = std::to_string(getpid());
    }
    if (variables_["LISTEN_PID"].empty()) variables_.erase("LISTEN_PID");
  }
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  absl::StatusOr<std::vector<ListenFd>> Take() {
    return TakeListenFds({.get = get_, .unset = unset_, .first_fd = kFirst});
  }

  absl::Status Notify(const std::string& state) {
    return NotifyServiceManager(
        state, {.get = get_, .unset = unset_, .first_fd = kFirst});
  }

  const Variables& variables() const { return variables_; }

  static constexpr int kFirst = 700;

 private:
  struct Get {
    const char* operator()(const char* name) const {
      const auto it = variables->find(name);
      return it == variables->end() ? nullptr : it->second.c_str();
    }
    const Variables* variables;
  };
  struct Unset {
    int operator()(const char* name) const {
      variables->erase(name);
      return 0;
    }
    Variables* variables;
  };

  Variables variables_;
  Get get_{&variables_};
  Unset unset_{&variables_};
};

// Opens descriptor `fd`, which exec(3) would hand down.
void OpenAt(int fd) {
  const UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  ASSERT_EQ(dup2(null.get(), fd), fd);
}

bool IsOpen(int fd) { return fcntl(fd, F_GETFD) >= 0; }

TEST(TakeListenFds, NoneWithoutAServiceManager) {
  EXPECT_THAT(*Service().Take(), IsEmpty());
  EXPECT_THAT((*Service{{"LISTEN_FDS", "3"}}.Take()), IsEmpty());
  EXPECT_THAT((*Service{{"LISTEN_PID", "self"}}.Take()), IsEmpty());
  EXPECT_THAT((*Service{{"LISTEN_PID", "self"}, {"LISTEN_FDS", "0"}}.Take()),
              IsEmpty());
}

TEST(TakeListenFds, TakesThemOnce) {
  OpenAt(Service::kFirst);
  OpenAt(Service::kFirst + 1);
  Service service{{"LISTEN_PID", "self"},
                  {"LISTEN_FDS", "2"},
                  {"LISTEN_FDNAMES", "web:admin"},
                  {"PATH", "/bin"}};
  {
    const absl::StatusOr<std::vector<ListenFd>> taken = service.Take();
    ASSERT_TRUE(taken.ok()) << taken.status();
    ASSERT_EQ(taken->size(), 2u);
    EXPECT_EQ((*taken)[0].fd.get(), Service::kFirst);
    EXPECT_EQ((*taken)[0].name, "web");
    EXPECT_EQ((*taken)[1].fd.get(), Service::kFirst + 1);
    EXPECT_EQ((*taken)[1].name, "admin");
    for (const ListenFd& each : *taken) {
      EXPECT_EQ(fcntl(each.fd.get(), F_GETFD), FD_CLOEXEC);
    }
    EXPECT_EQ(service.variables().size(), 1u);
    EXPECT_THAT(*service.Take(), IsEmpty());
  }
  EXPECT_FALSE(IsOpen(Service::kFirst));
  EXPECT_FALSE(IsOpen(Service::kFirst + 1));
}

TEST(TakeListenFds, NamesAreUnknownOrMayBeEmpty) {
  OpenAt(Service::kFirst);
  const auto unknown =
      Service{{"LISTEN_PID", "self"}, {"LISTEN_FDS", "1"}}.Take();
  EXPECT_EQ(unknown->at(0).name, "unknown");
  OpenAt(Service::kFirst + 1);
  OpenAt(Service::kFirst);
  const auto empty = Service{
      {"LISTEN_PID", "self"},
      {"LISTEN_FDS", "2"},
      {"LISTEN_FDNAMES",
       ":"}}.Take();
  EXPECT_EQ(empty->at(0).name, "");
  EXPECT_EQ(empty->at(1).name, "");
}

TEST(TakeListenFds, AnotherProcessIsMeant) {
  OpenAt(Service::kFirst);
  const UniqueFd owner(Service::kFirst);
  Service service{{"LISTEN_PID", std::to_string(getppid())},
                  {"LISTEN_FDS", "1"}};
  EXPECT_THAT(*service.Take(), IsEmpty());
  EXPECT_THAT(service.variables(), IsEmpty());
  EXPECT_EQ(fcntl(owner.get(), F_GETFD), 0);
}

TEST(TakeListenFds, MalformedVariablesAreErrors) {
  const auto expect_error = [](Service service, const std::string& what) {
    const absl::Status status = service.Take().status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(status.message(), HasSubstr(what));
    EXPECT_THAT(service.variables(), IsEmpty());
  };
  for (const std::string pid : {"0", "-1", "x", "1x", "99999999999"}) {
    const std::string what = "LISTEN_PID=" + pid;
    expect_error(Service{{"LISTEN_PID", pid}, {"LISTEN_FDS", "1"}}, what);
  }
  for (const std::string fds : {"", "-1", "x", "1x", "2147483647"}) {
    const std::string what = "LISTEN_FDS=" + fds;
    expect_error(Service{{"LISTEN_PID", "self"}, {"LISTEN_FDS", fds}}, what);
  }
  for (const std::string names : {"", "a", "a:b:c"}) {
    const std::string what = "LISTEN_FDNAMES=" + names;
    expect_error(Service{{"LISTEN_PID", "self"},
                         {"LISTEN_FDS", "2"},
                         {"LISTEN_FDNAMES", names}},
                 what);
  }
}

TEST(TakeListenFds, AClosedDescriptorIsAnErrorAndTheOthersStay) {
  OpenAt(Service::kFirst);
  const UniqueFd owner(Service::kFirst);
  Service service{{"LISTEN_PID", "self"}, {"LISTEN_FDS", "2"}};
  const absl::Status status = service.Take().status();
  EXPECT_THAT(status.message(), HasSubstr("descriptor 701"));
  EXPECT_THAT(service.variables(), IsEmpty());
  EXPECT_EQ(fcntl(owner.get(), F_GETFD), 0);
}

TEST(TakeListenFds, OfTheProcessItself) {
  ASSERT_EQ(setenv("LISTEN_PID", std::to_string(getppid()).c_str(), 1), 0);
  ASSERT_EQ(setenv("LISTEN_FDS", "1", 1), 0);
  EXPECT_THAT(*TakeListenFds(), IsEmpty());
  EXPECT_EQ(getenv("LISTEN_PID"), nullptr);
  EXPECT_EQ(getenv("LISTEN_FDS"), nullptr);
}

// The manager's socket. '@' stands for the 0 of an abstract name.
class Manager {
 public:
  explicit Manager(std::string name)
      : name_(std::move(name)),
        socket_(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    EXPECT_LT(name_.size(), sizeof(address.sun_path));
    std::copy(name_.begin(), name_.end(), address.sun_path);
    size_t size = offsetof(sockaddr_un, sun_path) + name_.size();
    if (is_abstract()) {
      address.sun_path[0] = '\0';
    } else {
      ++size;
    }
    EXPECT_EQ(bind(socket_.get(), reinterpret_cast<sockaddr*>(&address),
                   static_cast<socklen_t>(size)),
              0)
        << name_;
  }
  ~Manager() {
    if (!is_abstract()) unlink(name_.c_str());
  }

  // One datagram, or "nothing".
  std::string Next() const {
    char bytes[128];
    const ssize_t got = recv(socket_.get(), bytes, sizeof(bytes), 0);
    return got < 0 ? "nothing" : std::string(bytes, static_cast<size_t>(got));
  }

 private:
  bool is_abstract() const { return name_[0] == '@'; }

  const std::string name_;
  const UniqueFd socket_;
};

// Short: the limit of a Unix path is 107 bytes.
std::string TemporaryDirectory() {
  std::string path = "/tmp/fio_service_XXXXXX";
  EXPECT_NE(mkdtemp(path.data()), nullptr);
  return path;
}

TEST(NotifyServiceManager, NothingWithoutAServiceManager) {
  EXPECT_TRUE(Service().Notify("READY=1").ok());
  EXPECT_TRUE((Service{{"NOTIFY_SOCKET", ""}}.Notify("READY=1").ok()));
}

TEST(NotifyServiceManager, OneDatagramToAPath) {
  const std::string directory = TemporaryDirectory();
  {
    const std::string path = directory + "/notify";
    const Manager manager(path);
    Service service{{"NOTIFY_SOCKET", path}};
    for (const std::string state : {"READY=1", "STOPPING=1\nSTATUS=bye"}) {
      const absl::Status notified = service.Notify(state);
      EXPECT_TRUE(notified.ok()) << notified;
      EXPECT_EQ(manager.Next(), state);
      EXPECT_EQ(manager.Next(), "nothing");
    }
    EXPECT_EQ(service.variables().size(), 1u);
  }
  EXPECT_EQ(rmdir(directory.c_str()), 0);
}

TEST(NotifyServiceManager, OneDatagramToAnAbstractName) {
  const std::string name = "@fio_service_" + std::to_string(getpid());
  const Manager manager(name);
  const absl::Status notified =
      Service{{"NOTIFY_SOCKET", name}}.Notify("READY=1");
  EXPECT_TRUE(notified.ok()) << notified;
  EXPECT_EQ(manager.Next(), "READY=1");
  EXPECT_EQ(manager.Next(), "nothing");
}

TEST(NotifyServiceManager, AFullQueueIsAnErrorAndNoWait) {
  const std::string name = "@fio_service_" + std::to_string(getpid());
  const Manager manager(name);
  Service service{{"NOTIFY_SOCKET", name}};
  absl::Status notified;
  while (notified.ok()) notified = service.Notify("STATUS=busy");
  EXPECT_TRUE(absl::IsUnavailable(notified)) << notified;
  EXPECT_THAT(notified.message(), HasSubstr("sendmsg " + name));
  EXPECT_EQ(manager.Next(), "STATUS=busy");
  EXPECT_TRUE(service.Notify("READY=1").ok());
}

TEST(NotifyServiceManager, ErrorsNameTheSocket) {
  const auto notify = [](const std::string& name) {
    return Service{{"NOTIFY_SOCKET", name}}.Notify("READY=1");
  };
  const absl::Status absent = notify("/nonexistent/notify");
  EXPECT_TRUE(absl::IsNotFound(absent)) << absent;
  EXPECT_THAT(absent.message(), HasSubstr("sendmsg /nonexistent/notify"));
  for (const std::string& name :
       {std::string("relative"), std::string("vsock:2:1"),
        "/" + std::string(107, 'a'), "@" + std::string(107, 'a')}) {
    const absl::Status status = notify(name);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(status.message(), HasSubstr("NOTIFY_SOCKET=" + name));
  }
  EXPECT_TRUE(
      (absl::IsInvalidArgument(Service{{"NOTIFY_SOCKET", "/a"}}.Notify(""))));
}

}  // namespace
}  // namespace fio
