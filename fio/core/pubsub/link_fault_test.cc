// One link: what it does when its system calls fail, and when the other side
// goes.

#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/loop/loop.h"
#include "fio/core/pubsub/internal/link.h"
#include "fio/pubsub/internal/frame_header.h"
#include "fio/pubsub/internal/message_block.h"
#include "fio/pubsub/message.h"
#include "fio/testing/fault_plan.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio::pubsub_internal {
namespace {

using ::testing::ElementsAre;
using testing::FaultPlan;

class Noting final : public Link::Handler {
 public:
  void OnFrame(const FrameHeader& /*header*/, Message message) override {
    got.push_back(std::string(message.body()));
  }
  void OnLost(const absl::Status& /*why*/) override { ++lost; }

  std::vector<std::string> got;
  int lost = 0;
};

Message NewMessage(std::string_view body) {
  return MessageBlock::New({}, "news", body);
}

class LinkFault : public ::testing::Test {
 protected:
  LinkFault() {
    int fds[2];
    ABSL_CHECK_EQ(
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds),
        0);
    near_fd_ = fds[0];
    near_ = std::make_shared<Link>(UniqueFd(fds[0]), Link::Options{}, at_near_);
    far_fd_ = UniqueFd(fds[1]);
  }
  ~LinkFault() override {
    near_->Close();
    if (far_ != nullptr) far_->Close();
  }

  void StartBoth() {
    far_ = std::make_shared<Link>(std::move(far_fd_), Link::Options{}, at_far_);
    ABSL_CHECK_OK(near_->Start(*loop_));
    ABSL_CHECK_OK(far_->Start(*loop_));
  }
  void Turn(int count = 20) {
    for (int i = 0; i < count; ++i) {
      ABSL_CHECK_OK(loop_->RunOnce(MonotonicTime::InfinitePast()));
    }
  }

  const std::unique_ptr<Loop> loop_ = *Loop::Create({});
  Noting at_near_;
  Noting at_far_;
  int near_fd_ = -1;
  std::shared_ptr<Link> near_;
  UniqueFd far_fd_;  // Until it has a link.
  std::shared_ptr<Link> far_;
};

TEST_F(LinkFault, SendingTellsThatTheOtherSideHasGone) {
  ASSERT_TRUE(near_->Send(NewMessage("lost")));
  far_fd_.Reset();
  // Which sends, before it has been told of the end.
  ASSERT_TRUE(near_->Start(*loop_).ok());
  Turn();
  EXPECT_EQ(at_near_.lost, 1);
  EXPECT_FALSE(near_->Send(NewMessage("late")));
}

TEST_F(LinkFault, WhatTheOtherSideHasSentIsReadBeforeTheEnd) {
  const Message message = NewMessage("last words");
  ASSERT_EQ(send(far_fd_.get(), message.frame().view().data(),
                 message.frame().view().size(), 0),
            static_cast<ssize_t>(message.frame().view().size()));
  // It lives on, but takes nothing any more.
  ASSERT_EQ(shutdown(far_fd_.get(), SHUT_RD), 0);
  ASSERT_TRUE(near_->Send(NewMessage("lost")));
  ASSERT_TRUE(near_->Start(*loop_).ok());
  Turn();
  EXPECT_THAT(at_near_.got, ElementsAre("last words"));
  EXPECT_EQ(at_near_.lost, 1);
}

// Either nothing is lost, or both sides know of it.
void ExpectAllOrLost(const Noting& near, const Noting& far,
                     const std::vector<std::string>& sent) {
  if (near.lost + far.lost == 0) {
    EXPECT_EQ(near.got, sent);
    EXPECT_EQ(far.got, sent);
    return;
  }
  EXPECT_EQ(near.lost, 1);
  EXPECT_EQ(far.lost, 1);
}

struct Fault {
  FaultPlan::Call call;
  int error;
  bool ends;
};

class LinkEachFault : public LinkFault,
                      public ::testing::WithParamInterface<Fault> {};

TEST_P(LinkEachFault, EndsTheLinkOrDoesNothing) {
  const Fault fault = GetParam();
  std::vector<std::string> sent;
  FaultPlan plan;
  StartBoth();
  // What leaves together takes a sendmsg(2).
  const int together = fault.call == FaultPlan::Call::kSend ? 1 : 3;
  for (int i = 0; i < 6; ++i) {
    if (i == 3) plan.FailNextOn(near_fd_, fault.call, fault.error);
    for (int j = 0; j < together; ++j) {
      sent.push_back(std::string(size_t{1} << (3 * i), 'x'));
      near_->Send(NewMessage(sent.back()));
      far_->Send(NewMessage(sent.back()));
    }
    Turn();
  }
  EXPECT_EQ(plan.faults(), 1u);
  ExpectAllOrLost(at_near_, at_far_, sent);
  EXPECT_EQ(at_near_.lost, fault.ends ? 1 : 0);
}

INSTANTIATE_TEST_SUITE_P(
    All, LinkEachFault,
    ::testing::Values(Fault{FaultPlan::Call::kSend, EAGAIN, false},
                      Fault{FaultPlan::Call::kSend, EINTR, false},
                      Fault{FaultPlan::Call::kSend, ENOBUFS, false},
                      Fault{FaultPlan::Call::kSend, ENOMEM, false},
                      Fault{FaultPlan::Call::kSend, EPIPE, true},
                      Fault{FaultPlan::Call::kSend, ECONNRESET, true},
                      Fault{FaultPlan::Call::kSendmsg, EAGAIN, false},
                      Fault{FaultPlan::Call::kSendmsg, EINTR, false},
                      Fault{FaultPlan::Call::kSendmsg, ENOBUFS, false},
                      Fault{FaultPlan::Call::kSendmsg, ENOMEM, false},
                      Fault{FaultPlan::Call::kSendmsg, EPIPE, true},
                      Fault{FaultPlan::Call::kSendmsg, ECONNRESET, true},
                      Fault{FaultPlan::Call::kRecv, EAGAIN, false},
                      Fault{FaultPlan::Call::kRecv, EINTR, false},
                      Fault{FaultPlan::Call::kRecv, ENOBUFS, false},
                      Fault{FaultPlan::Call::kRecv, ECONNRESET, true}));

}  // namespace
}  // namespace fio::pubsub_internal
