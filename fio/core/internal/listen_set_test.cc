#include "fio/core/internal/listen_set.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "fio/base/unique_fd.h"
#include "fio/core/internal/listen_entry.h"
#include "fio/core/listener.h"
#include "fio/core/loop/connection.h"
#include "fio/sock/socket_address.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio::core_internal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kAnyPort[] = "tcp://127.0.0.1:0";

ListenOptions Options() {
  return {.on_open = [](Connection& connection) { connection.Close(); }};
}

// A set that needs no service manager.
class ListenSetTest : public ::testing::Test {
 protected:
  ListenerId Open(ListenOptions options, const Servers& servers) {
    const absl::StatusOr<ListenerId> id =
        set_.Open(kAnyPort, std::move(options), servers);
    EXPECT_TRUE(id.ok()) << id.status();
    return *id;
  }

  std::vector<size_t> WorkersOfShared() const {
    std::vector<size_t> workers;
    for (const ListenSet::Shared& shared : set_.SharedSockets()) {
      workers.push_back(shared.worker);
    }
    return workers;
  }

  ListenSet set_{/*socket_activation=*/false};
};

TEST_F(ListenSetTest, EachLoopOfEachWorkerHasASocket) {
  const ListenerId id =
      Open(Options(), {.workers = 2, .loops = 3, .root_is_apart = true});
  const std::shared_ptr<const ListenEntry> entry = set_.Find(id);
  ASSERT_EQ(entry->sockets.size(), 6u);
  std::set<size_t> used;
  for (const size_t worker : {0, 1}) {
    for (const size_t loop : {0, 1, 2}) {
      used.insert(entry->SocketOf(worker, loop));
    }
  }
  EXPECT_EQ(used.size(), 6u);
  EXPECT_EQ(*used.rbegin(), 5u);
  for (const auto& socket : entry->sockets) {
    EXPECT_EQ(socket->local_address(), *set_.FindAddress(id));
  }
  EXPECT_THAT(WorkersOfShared(), ElementsAre(0, 0, 0, 1, 1, 1));
  EXPECT_EQ(entry->wakes(), AcceptWakes::kAll);
  EXPECT_TRUE(entry->is_of_workers());
}

TEST_F(ListenSetTest, ABalancedWorkerHasOneSocket) {
  ListenOptions options = Options();
  options.balance = AcceptBalance::kLeastConnections;
  const ListenerId id =
      Open(options, {.workers = 3, .loops = 2, .root_is_apart = true});
  const std::shared_ptr<const ListenEntry> entry = set_.Find(id);
  EXPECT_EQ(entry->sockets.size(), 3u);
  EXPECT_EQ(entry->SocketOf(1, 0), entry->SocketOf(1, 1));
  EXPECT_NE(entry->SocketOf(1, 0), entry->SocketOf(2, 0));
  EXPECT_THAT(WorkersOfShared(), ElementsAre(0, 1, 2));
}

TEST_F(ListenSetTest, TheRootsOwnHasOneSocketAndIsNotShared) {
  ListenOptions options = Options();
  options.root_only = true;
  const ListenerId id =
      Open(options, {.workers = 3, .loops = 2, .root_is_apart = true});
  const std::shared_ptr<const ListenEntry> entry = set_.Find(id);
  EXPECT_EQ(entry->sockets.size(), 1u);
  EXPECT_TRUE(entry->is_of_root());
  EXPECT_FALSE(entry->is_of_workers());
  EXPECT_TRUE(set_.SharedSockets().empty());
}

TEST_F(ListenSetTest, AUnixPathIsOneSocketForAll) {
  const absl::StatusOr<ListenerId> id =
      set_.Open(absl::StrCat("unix://@fio_listen_set_test_", getpid()),
                Options(), {.workers = 2, .loops = 2, .root_is_apart = true});
  ASSERT_TRUE(id.ok()) << id.status();
  const std::shared_ptr<const ListenEntry> entry = set_.Find(*id);
  EXPECT_EQ(entry->sockets.size(), 1u);
  EXPECT_EQ(entry->wakes(), AcceptWakes::kOne);
}

// A worker that calls Listen() itself, at whatever place.
TEST_F(ListenSetTest, AWorkersOwnSocketsAreThoseOfPlaceZero) {
  const ListenerId id = Open(Options(), {.workers = 1, .loops = 2});
  const std::shared_ptr<const ListenEntry> entry = set_.Find(id);
  EXPECT_EQ(entry->SocketOf(7, 1), 1u);
}

TEST_F(ListenSetTest, ErrorsBeginWithTheUrl) {
  const absl::Status bad = set_.Open("nonsense", Options(), Servers()).status();
  EXPECT_THAT(bad.message(), HasSubstr("listen: url 'nonsense'"));
  const absl::Status missing = set_.Open(kAnyPort, {}, Servers()).status();
  EXPECT_EQ(missing.message(),
            absl::StrCat("listen ", kAnyPort, ": on_open is missing"));
  EXPECT_TRUE(set_.entries().empty());
}

TEST_F(ListenSetTest, WhatIsTakenIsNoLongerFound) {
  const ListenerId first = Open(Options(), Servers());
  const ListenerId second = Open(Options(), Servers());
  EXPECT_TRUE(set_.SetPaused(first, true));
  EXPECT_TRUE(set_.is_paused(first));
  EXPECT_FALSE(set_.is_paused(second));
  EXPECT_NE(set_.Take(first), nullptr);
  EXPECT_EQ(set_.Take(first), nullptr);
  EXPECT_EQ(set_.Find(first), nullptr);
  EXPECT_EQ(set_.FindAddress(first), nullptr);
  EXPECT_FALSE(set_.SetPaused(first, true));
  EXPECT_FALSE(set_.is_paused(first));
  EXPECT_EQ(set_.TakeAll().size(), 1u);
  EXPECT_EQ(set_.Find(second), nullptr);
}

TEST_F(ListenSetTest, DropStopsListeningAndTells) {
  int finished = 0;
  ListenOptions options = Options();
  options.on_finish = [&finished] { ++finished; };
  const ListenerId id = Open(options, Servers());
  const std::shared_ptr<const ListenEntry> entry = set_.Find(id);
  set_.Drop();
  EXPECT_EQ(finished, 1);
  EXPECT_TRUE(set_.entries().empty());
  // The socket is still open here, but refuses clients.
  const UniqueFd client(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(connect(client.get(), entry->address.data(), entry->address.size()),
            -1);
  EXPECT_EQ(errno, ECONNREFUSED);
  set_.Drop();
  EXPECT_EQ(finished, 1);
}

}  // namespace
}  // namespace fio::core_internal
