#include "fio/sock/environment.h"

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "fio/sock/socket.h"
#include "fio/testing/loopback_pair.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using testing::LoopbackPair;

using Key = Environment::Key;

// Objects that write down when they are told good-bye.
class Objects {
 public:
  void* object(std::string_view name) { return const_cast<char*>(name.data()); }
  Environment::OnClose on_close() {
    return [this](void* object) {
      closed_.emplace_back(static_cast<const char*>(object));
    };
  }
  const std::vector<std::string>& closed() const { return closed_; }

 private:
  std::vector<std::string> closed_;
};

using Names = std::vector<std::string>;

TEST(Env, SetOverwriteInvalid) {
  Objects objects;
  LoopbackPair pair = LoopbackPair::Unix();
  Socket& socket = pair.near;
  const auto set = [&](Key key, std::string_view name) {
    return socket.SetEnv(key, objects.object(name), objects.on_close());
  };
  EXPECT_TRUE(set({.type = 1, .name = "key"}, "first").ok());
  EXPECT_TRUE(set({.type = 2, .name = "key"}, "other type").ok());
  EXPECT_TRUE(set({.type = 1}, "no name").ok());
  EXPECT_EQ(objects.closed(), Names{});
  EXPECT_TRUE(set({.type = 1, .name = "key"}, "second").ok());
  EXPECT_EQ(objects.closed(), Names{"first"});
  EXPECT_STREQ(static_cast<char*>(socket.GetEnv({.type = 1, .name = "key"})),
               "second");
  EXPECT_EQ(socket.GetEnv({.type = 3, .name = "key"}), nullptr);

  // Reserved.
  EXPECT_TRUE(absl::IsInvalidArgument(set({.type = -1}, "reserved")));
  EXPECT_EQ(objects.closed(), (Names{"first", "reserved"}));

  // A callback is not needed.
  EXPECT_TRUE(socket.SetEnv({.name = "quiet"}, &objects, nullptr).ok());
  EXPECT_TRUE(socket.SetEnv({.name = "quiet"}, &objects, nullptr).ok());

  // The newest first.
  socket.Close();
  EXPECT_EQ(objects.closed(),
            (Names{"first", "reserved", "second", "no name", "other type"}));
  const absl::Status invalid = set({.type = 1}, "late");
  EXPECT_TRUE(absl::IsFailedPrecondition(invalid)) << invalid;
  EXPECT_EQ(objects.closed().back(), "late");
}

TEST(Env, UnsetErrno) {
  Objects objects;
  LoopbackPair pair = LoopbackPair::Unix();
  Socket& socket = pair.near;
  EXPECT_TRUE(absl::IsNotFound(socket.UnsetEnv({.name = "absent"})));
  ASSERT_TRUE(
      socket
          .SetEnv({.name = "key"}, objects.object("object"), objects.on_close())
          .ok());
  EXPECT_TRUE(absl::IsNotFound(socket.UnsetEnv({.name = "absent"})));
  EXPECT_TRUE(socket.UnsetEnv({.name = "key"}).ok());
  EXPECT_TRUE(absl::IsNotFound(socket.UnsetEnv({.name = "key"})));
  socket.Close();
  EXPECT_EQ(objects.closed(), Names{}) << "unset without the callback";
  EXPECT_TRUE(absl::IsFailedPrecondition(socket.UnsetEnv({.name = "key"})));
}

TEST(Env, Remove) {
  Objects objects;
  LoopbackPair pair = LoopbackPair::Unix();
  Socket& socket = pair.near;
  EXPECT_TRUE(absl::IsNotFound(socket.RemoveEnv({.name = "absent"})));
  for (const char* name : {"a", "b", "c"}) {
    ASSERT_TRUE(
        socket.SetEnv({.name = name}, objects.object(name), objects.on_close())
            .ok());
  }
  EXPECT_TRUE(socket.RemoveEnv({.name = "b"}).ok());
  EXPECT_EQ(objects.closed(), Names{"b"});
  EXPECT_TRUE(absl::IsNotFound(socket.RemoveEnv({.name = "b"})));
  socket.Close();
  EXPECT_EQ(objects.closed(), (Names{"b", "c", "a"}));
  EXPECT_TRUE(absl::IsFailedPrecondition(socket.RemoveEnv({.name = "a"})));
}

TEST(Env, AClosingSocketTakesObjectsUntilItIsClosed) {
  Objects objects;
  LoopbackPair pair = LoopbackPair::Tcp();
  Socket& socket = pair.near;
  ASSERT_TRUE(pair.far.TryWrite("unread").ok());
  static_cast<void>(testing::ReadUntil(socket, 1));
  socket.Close();  // Waits for the peer, for it has not read all.
  ASSERT_TRUE(socket.is_closing());
  ASSERT_GE(socket.fd(), 0);
  EXPECT_TRUE(
      socket.SetEnv({}, objects.object("late"), objects.on_close()).ok());
  EXPECT_EQ(objects.closed(), Names{});
  socket.Abort();
  EXPECT_EQ(objects.closed(), Names{"late"});
}

TEST(Environment, CallbacksSeeTheChangeAndMayMakeMore) {
  std::vector<std::string> told;
  int object = 0;
  Environment environment;
  ASSERT_TRUE(
      environment
          .Set({.name = "key"}, &object,
               [&](void*) {
                 told.push_back(environment.Get({.name = "key"}) == &told
                                    ? "new one visible"
                                    : "not visible");
                 EXPECT_TRUE(
                     environment
                         .Set({.name = "another"}, &object,
                              [&](void*) { told.emplace_back("another"); })
                         .ok());
               })
          .ok());
  ASSERT_TRUE(environment
                  .Set({.name = "key"}, &told,
                       [&](void*) {
                         // Made while the environment ends.
                         EXPECT_TRUE(
                             environment
                                 .Set({.name = "last"}, &object,
                                      [&](void*) { told.emplace_back("last"); })
                                 .ok());
                       })
                  .ok());
  environment.Close();
  EXPECT_EQ(told, (Names{"new one visible", "another", "last"}));
  EXPECT_TRUE(environment.empty());
}

TEST(Environment, NamesMayHoldAnyByte) {
  Environment environment;
  int a = 0;
  int b = 0;
  const std::string_view nul("a\0b", 3);
  const std::string_view other("a\0c", 3);
  ASSERT_TRUE(environment.Set({.name = nul}, &a, nullptr).ok());
  ASSERT_TRUE(environment.Set({.name = other}, &b, nullptr).ok());
  EXPECT_EQ(environment.Get({.name = nul}), &a);
  EXPECT_EQ(environment.Get({.name = other}), &b);
  EXPECT_EQ(environment.Get({.name = "a"}), nullptr);
}

}  // namespace
}  // namespace fio
