#include "fio/core/internal/answer_frame.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/sock/socket_address.h"
#include "gtest/gtest.h"

namespace fio::core_internal {
namespace {

using Addresses = absl::StatusOr<std::vector<SocketAddress>>;

void ExpectSurvives(const Addresses& answer) {
  const std::optional<Addresses> decoded = DecodeAnswer(EncodeAnswer(answer));
  ASSERT_TRUE(decoded.has_value());
  EXPECT_EQ(decoded->status(), answer.status());
  if (answer.ok()) {
    EXPECT_EQ(**decoded, *answer);
  }
}

std::vector<SocketAddress> Many(size_t count) {
  std::vector<SocketAddress> addresses;
  for (size_t i = 0; i < count; ++i) {
    addresses.push_back(
        *SocketAddress::FromIp("2001:db8::1%7", static_cast<uint16_t>(i)));
  }
  return addresses;
}

TEST(AnswerFrame, WhatGoesInComesOut) {
  ExpectSurvives(std::vector<SocketAddress>{});
  ExpectSurvives(
      std::vector<SocketAddress>{*SocketAddress::FromIp("192.0.2.1", 80),
                                 *SocketAddress::FromIp("fe80::1%2", 65535),
                                 *SocketAddress::FromUnixAbstract("name")});
  ExpectSurvives(Many(500));
  ExpectSurvives(absl::NotFoundError("resolve tcp://x:1: no such name"));
  ExpectSurvives(absl::UnavailableError(""));
}

TEST(AnswerFrame, TooMuchIsCut) {
  const std::string frame = EncodeAnswer(Many(5000));
  EXPECT_LE(frame.size(), kMaxAnswerFrame);
  const std::optional<Addresses> decoded = DecodeAnswer(frame);
  ASSERT_TRUE(decoded.has_value() && decoded->ok());
  EXPECT_GE((*decoded)->size(), 500u);
  const std::string text =
      EncodeAnswer(absl::InternalError(std::string(2 * kMaxAnswerFrame, 'x')));
  EXPECT_LE(text.size(), kMaxAnswerFrame);
  EXPECT_TRUE(DecodeAnswer(text).has_value());
}

TEST(AnswerFrame, RefusesWhatIsNone) {
  EXPECT_FALSE(DecodeAnswer("").has_value());
  EXPECT_FALSE(DecodeAnswer(std::string(kMaxAnswerFrame + 1, '\1')));
  EXPECT_FALSE(DecodeAnswer("\x7f no such code").has_value());
  const std::string frame = EncodeAnswer(Many(3));
  // Every other length cuts an address.
  for (size_t size = 2; size < frame.size(); ++size) {
    if ((size - 1) % (frame.size() / 3) == 0) continue;
    EXPECT_FALSE(DecodeAnswer(std::string_view(frame).substr(0, size))) << size;
  }
  std::string wrong_family = frame;
  wrong_family[2] = '\x77';
  EXPECT_FALSE(DecodeAnswer(wrong_family).has_value());
}

}  // namespace
}  // namespace fio::core_internal
