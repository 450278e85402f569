// docs/first-server.md, compared with the code that it is about.

#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

std::string Read(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file.is_open()) << path;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// The texts between "```LANGUAGE" and "```".
std::vector<std::string> BlocksOf(std::string_view page,
                                  std::string_view language) {
  const std::string begin = absl::StrCat("\n```", language, "\n");
  std::vector<std::string> blocks;
  size_t at = page.find(begin);
  while (at != std::string_view::npos) {
    at += begin.size();
    const size_t end = page.find("```", at);
    blocks.emplace_back(page.substr(at, end - at));
    at = page.find(begin, end);
  }
  return blocks;
}

void ExpectPartsOf(const std::string& code, std::string_view language,
                   size_t at_least) {
  const std::vector<std::string> blocks =
      BlocksOf(Read("docs/first-server.md"), language);
  EXPECT_GE(blocks.size(), at_least);
  for (const std::string& block : blocks) {
    EXPECT_TRUE(absl::StrContains(code, block))
        << "in no file of examples/first_server:\n"
        << block;
  }
}

TEST(FirstServerPage, EachCodeBlockIsPartOfWhatIsCompiled) {
  const std::string folder = "examples/first_server/";
  ExpectPartsOf(
      absl::StrCat(Read(folder + "primes.h"), Read(folder + "first_server.cc"),
                   Read(folder + "primes_test.cc")),
      "cpp", 9);
  ExpectPartsOf(Read(folder + "BUILD"), "starlark", 2);
}

TEST(FirstServerPage, HasNoOtherCode) {
  const std::string page = Read("docs/first-server.md");
  size_t fences = 0;
  for (size_t at = page.find("\n```"); at != std::string::npos;
       at = page.find("\n```", at + 1)) {
    ++fences;
  }
  EXPECT_EQ(
      fences,
      2 * (BlocksOf(page, "cpp").size() + BlocksOf(page, "starlark").size() +
           BlocksOf(page, "sh").size() + BlocksOf(page, "text").size()));
}

}  // namespace
}  // namespace fio
