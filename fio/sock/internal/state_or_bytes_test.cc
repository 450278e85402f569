#include "fio/sock/internal/state_or_bytes.h"

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/cord.h"
#include "fio/sock/shared_bytes.h"
#include "gtest/gtest.h"

namespace fio::sock_internal {
namespace {

struct State {
  int& deleted;
};

struct DeleteState {
  void operator()(State* state) const {
    ++state->deleted;
    delete state;
  }
};

using Word = StateOrBytes<State, DeleteState>;
static_assert(sizeof(Word) == sizeof(void*));

class StateOrBytesTest : public ::testing::Test {
 protected:
  SharedBytes Counted() {
    return SharedBytes::FromCord(absl::MakeCordFromExternal(
        bytes_, [this](std::string_view) { ++released_; }));
  }

  const std::string bytes_ = std::string(SharedBytes::kMinSharedCord, 'b');
  int released_ = 0;
  int deleted_ = 0;
};

TEST_F(StateOrBytesTest, IsEmptyAtFirst) {
  Word word;
  EXPECT_TRUE(word.empty());
  EXPECT_EQ(word.state(), nullptr);
  EXPECT_FALSE(word.has_bytes());
  EXPECT_EQ(word.bytes(), "");
  word.DropBytes();
  EXPECT_TRUE(word.empty());
}

TEST_F(StateOrBytesTest, OwnsAState) {
  {
    Word word;
    word.SetState(new State{deleted_});
    EXPECT_FALSE(word.empty());
    EXPECT_FALSE(word.has_bytes());
    EXPECT_EQ(word.bytes(), "");
    word.DropBytes();
    Word moved = std::move(word);
    EXPECT_TRUE(word.empty());  // NOLINT(bugprone-use-after-move)
    EXPECT_EQ(&moved.state()->deleted, &deleted_);
    word = std::move(moved);
    EXPECT_EQ(deleted_, 0);
    word = {};
    EXPECT_EQ(deleted_, 1);
    EXPECT_TRUE(word.empty());
    word.SetState(new State{deleted_});
  }
  EXPECT_EQ(deleted_, 2);
}

TEST_F(StateOrBytesTest, ForgetsBytesUntilNoneIsLeft) {
  Word word;
  word.SetBytes(Counted(), 0);
  EXPECT_EQ(word.state(), nullptr);
  word.Forget(0);
  EXPECT_EQ(word.bytes().size(), bytes_.size());
  for (size_t left = bytes_.size() - 1; left > 0; --left) {
    word.Forget(1);
    ASSERT_EQ(word.bytes().size(), left);
    ASSERT_EQ(word.bytes().data(), bytes_.data() + bytes_.size() - left);
  }
  EXPECT_EQ(released_, 0);
  word.Forget(1);
  EXPECT_TRUE(word.empty());
  EXPECT_EQ(released_, 1);
}

TEST_F(StateOrBytesTest, GivesBackWhatItHolds) {
  for (const size_t sent : {size_t{0}, size_t{1}, bytes_.size() - 1}) {
    released_ = 0;
    Word word;
    word.SetBytes(Counted(), sent);
    EXPECT_EQ(word.bytes().size(), bytes_.size() - sent);
    {
      const auto [bytes, sent_then] = word.TakeBytes();
      EXPECT_EQ(bytes.view().data(), bytes_.data());
      EXPECT_EQ(sent_then, sent);
      EXPECT_TRUE(word.empty());
      EXPECT_EQ(released_, 0);
    }
    EXPECT_EQ(released_, 1);
    word.SetBytes(Counted(), sent);
    word.DropBytes();
    EXPECT_EQ(released_, 2);
    word.SetBytes(Counted(), sent);
    word = Word();
    EXPECT_EQ(released_, 3);
    Word dies;
    dies.SetBytes(Counted(), sent);
  }
  EXPECT_EQ(released_, 4);
}

}  // namespace
}  // namespace fio::sock_internal
