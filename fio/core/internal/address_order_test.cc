#include "fio/core/internal/address_order.h"

#include <string_view>

#include "absl/status/statusor.h"
#include "fio/sock/socket_address.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio::core_internal {
namespace {

using ::testing::ElementsAre;

SocketAddress Address(std::string_view text) {
  const absl::StatusOr<SocketAddress> address = SocketAddress::Parse(text);
  EXPECT_TRUE(address.ok()) << address.status();
  return *address;
}

TEST(InterleaveFamilies, TakeTurns) {
  const SocketAddress a4 = Address("10.0.0.1:1"), b4 = Address("10.0.0.2:1"),
                      c4 = Address("10.0.0.3:1"), a6 = Address("[::1]:1"),
                      b6 = Address("[::2]:1");
  EXPECT_THAT(InterleaveFamilies({}), ElementsAre());
  EXPECT_THAT(InterleaveFamilies({a6}), ElementsAre(a6));
  EXPECT_THAT(InterleaveFamilies({b4, a4, c4}), ElementsAre(b4, a4, c4));
  EXPECT_THAT(InterleaveFamilies({a6, b6, a4, b4, c4}),
              ElementsAre(a6, a4, b6, b4, c4));
  EXPECT_THAT(InterleaveFamilies({a4, b4, c4, a6}),
              ElementsAre(a4, a6, b4, c4));
  EXPECT_THAT(InterleaveFamilies({a4, b6, b4, a6}),
              ElementsAre(a4, b6, b4, a6));
}

}  // namespace
}  // namespace fio::core_internal
