#include "fio/tls/internal/session_cache.h"

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "fio/tls/internal/boringssl.h"
#include "gtest/gtest.h"

namespace fio::tls_internal {
namespace {

// The library makes sessions only with connections; the version decides whether
// one is used once.
bssl::UniquePtr<SSL_SESSION> New(uint16_t version = TLS1_3_VERSION) {
  static SSL_CTX* const context = SSL_CTX_new(TLS_method());
  bssl::UniquePtr<SSL_SESSION> session(SSL_SESSION_new(context));
  SSL_SESSION_set_protocol_version(session.get(), version);
  return session;
}

TEST(SessionCache, ASessionOfTls13IsUsedOnce) {
  SessionCache cache(10);
  EXPECT_EQ(cache.Take("a"), nullptr);
  cache.Put("a", New());
  EXPECT_EQ(cache.Take("b"), nullptr);
  EXPECT_NE(cache.Take("a"), nullptr);
  EXPECT_EQ(cache.Take("a"), nullptr);
}

TEST(SessionCache, ASessionOfTls12IsUsedAgain) {
  SessionCache cache(10);
  cache.Put("a", New(TLS1_2_VERSION));
  const bssl::UniquePtr<SSL_SESSION> first = cache.Take("a");
  EXPECT_NE(first, nullptr);
  EXPECT_EQ(cache.Take("a"), first);
}

TEST(SessionCache, OneIsForgotten) {
  SessionCache cache(10);
  cache.Put("a", New(TLS1_2_VERSION));
  cache.Put("a", New(TLS1_2_VERSION));
  const bssl::UniquePtr<SSL_SESSION> newest = cache.Take("a");
  cache.Forget("b", newest.get());
  EXPECT_EQ(cache.Take("a"), newest);
  cache.Forget("a", newest.get());
  cache.Forget("a", newest.get());
  const bssl::UniquePtr<SSL_SESSION> other = cache.Take("a");
  EXPECT_NE(other, nullptr);
  EXPECT_NE(other, newest);
}

TEST(SessionCache, TheNewestIsTakenFirst) {
  SessionCache cache(10);
  SSL_SESSION* newest = nullptr;
  for (int i = 0; i < 10; ++i) {
    auto session = New();
    newest = session.get();
    cache.Put("a", std::move(session));
  }
  EXPECT_EQ(cache.Take("a").get(), newest);
  int left = 0;
  while (cache.Take("a") != nullptr) ++left;
  EXPECT_EQ(left, 3);
}

TEST(SessionCache, BeyondItsSizeTheFirstIsForgotten) {
  SessionCache cache(2);
  cache.Put("a", New());
  cache.Put("b", New());
  cache.Put("a", New());
  cache.Put("c", New());
  EXPECT_EQ(cache.Take("a"), nullptr);
  EXPECT_NE(cache.Take("b"), nullptr);
  EXPECT_NE(cache.Take("c"), nullptr);
  // It comes again as a new one.
  cache.Put("a", New());
  EXPECT_NE(cache.Take("a"), nullptr);
}

TEST(SessionCache, OfNoKeysKeepsNothing) {
  SessionCache cache(0);
  cache.Put("a", New());
  EXPECT_EQ(cache.Take("a"), nullptr);
}

TEST(SessionCache, ManyKeysAreBounded) {
  SessionCache cache(100);
  for (int i = 0; i < 1000; ++i) {
    cache.Put(absl::StrCat(i), New());
    if (i % 3 == 0) cache.Take(absl::StrCat(i));
  }
  int found = 0;
  for (int i = 0; i < 1000; ++i) {
    if (cache.Take(absl::StrCat(i)) != nullptr) ++found;
  }
  EXPECT_LE(found, 100);
  EXPECT_GE(found, 60);
}

}  // namespace
}  // namespace fio::tls_internal
