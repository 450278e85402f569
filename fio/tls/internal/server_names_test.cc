#include "fio/tls/internal/server_names.h"

#include <cstddef>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"

namespace fio::tls_internal {
namespace {

std::vector<size_t> Found(const ServerNames& names, std::string_view host) {
  const auto found = names.Find(host);
  return {found.begin(), found.end()};
}

TEST(ServerNames, ExactBeforeWildcard) {
  ServerNames names;
  names.Add("*.example.org", 0);
  names.Add("www.example.org", 1);
  names.Add("www.example.org", 2);
  names.Add("www.example.org", 1);
  EXPECT_EQ(Found(names, "www.example.org"), (std::vector<size_t>{1, 2}));
  EXPECT_EQ(Found(names, "ftp.example.org"), (std::vector<size_t>{0}));
}

TEST(ServerNames, AWildcardIsOneLabel) {
  ServerNames names;
  names.Add("*.example.org", 0);
  EXPECT_TRUE(Found(names, "example.org").empty());
  EXPECT_TRUE(Found(names, "a.b.example.org").empty());
  EXPECT_TRUE(Found(names, ".example.org").empty());
  EXPECT_TRUE(Found(names, "aexample.org").empty());
  EXPECT_FALSE(Found(names, "*.example.org").empty());
}

TEST(ServerNames, CaseAndTheLastDotDoNotMatter) {
  ServerNames names;
  names.Add("Example.ORG.", 3);
  names.Add("*.Example.ORG", 4);
  EXPECT_EQ(Found(names, "eXample.org"), (std::vector<size_t>{3}));
  EXPECT_EQ(Found(names, "example.org."), (std::vector<size_t>{3}));
  EXPECT_EQ(Found(names, "A.EXAMPLE.org."), (std::vector<size_t>{4}));
}

TEST(ServerNames, OddNamesAreNoTrouble) {
  ServerNames names;
  for (const char* const odd : {"", ".", "*.", "*", "*..", "**.a"}) {
    names.Add(odd, 0);
  }
  for (const char* const odd :
       {"", ".", "..", "a", "a.", "a..", "*.a", "x.y"}) {
    EXPECT_TRUE(Found(names, odd).empty()) << odd;
  }
}

}  // namespace
}  // namespace fio::tls_internal
