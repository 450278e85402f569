// docs/coming-from.md, compared with the lists of names in this folder and with
// what compiles.

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/coming_from/name_table.h"
#include "tests/coming_from/symbols.h"

namespace fio::coming_from {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

std::string Read(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file.is_open()) << path;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<std::string> NamesIn(const std::string& file) {
  return ParseNames(Read(absl::StrCat("tests/coming_from/", file)));
}

void Append(std::vector<std::string>& all,
            const std::vector<std::string>& more) {
  all.insert(all.end(), more.begin(), more.end());
}

TEST(ComingFrom, EveryNameHasARowAndEverySymbolCompiles) {
  std::vector<std::string> names;
  for (const char* ancestor : {"facil_io", "usockets", "mio"}) {
    const std::vector<std::string> listed =
        NamesIn(absl::StrCat("names/", ancestor, ".txt"));
    EXPECT_THAT(listed, Not(IsEmpty())) << ancestor;
    Append(names, listed);
  }
  for (const std::string& fault : FindFaults(
           ParseRows(Read("docs/coming-from.md")), names, CompiledSymbols())) {
    ADD_FAILURE() << "docs/coming-from.md: " << fault;
  }
}

TEST(ComingFrom, NoNameIsListedTwice) {
  for (const char* file :
       {"names/facil_io.txt", "names/usockets.txt", "names/mio.txt"}) {
    std::vector<std::string> names = NamesIn(file);
    std::sort(names.begin(), names.end());
    EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end())
        << file;
  }
}

// --- The check can fail ---

// Of a document with these rows.
std::vector<std::string> FaultsOf(std::string_view rows) {
  const std::string document =
      absl::StrCat("# Title\n\n| name | in fio | remarks |\n|---|---|---|\n",
                   rows, "\n| name | what it is |\n|---|---|\n| `x` | y |\n");
  return FindFaults(ParseRows(document), {"a_write", "a_tls", "readable data"},
                    {"Connection::Write", "Socket::Write", "Socket::Read"});
}

TEST(NameTable, IsRight) {
  EXPECT_THAT(
      FaultsOf("| `a_write` | `Connection::Write`, `Socket::Write` | |\n"
               "| `a_tls` | planned | |\n"
               "| readable data | none | as `Socket::Read` says |\n"),
      IsEmpty());
}

TEST(NameTable, LacksARow) {
  EXPECT_THAT(FaultsOf("| `a_write` | `Connection::Write` | |\n"
                       "| readable data | `Socket::Read` | |\n"),
              ElementsAre("no row: a_tls"));
}

TEST(NameTable, HasARowTooMany) {
  EXPECT_THAT(FaultsOf("| `a_write` | `Connection::Write` | |\n"
                       "| `a_read` | `Socket::Read` | |\n"
                       "| `a_tls` | planned | |\n"
                       "| `a_write` | `Socket::Write` | |\n"
                       "| readable data | `Socket::Read` | |\n"),
              ElementsAre("line 6: a_read is in no list",
                          "line 8: a_write has a row already, line 5"));
}

TEST(NameTable, NamesWhatDoesNotExist) {
  EXPECT_THAT(FaultsOf("| `a_write` | `Connection::Send` | as `Write` |\n"
                       "| `a_tls` | planned | |\n"
                       "| readable data | `Socket::Read` | |\n"),
              ElementsAre("line 5: no such symbol: Connection::Send",
                          "line 5: no such symbol: Write"));
}

TEST(NameTable, SaysNothing) {
  EXPECT_THAT(
      FaultsOf("| `a_write` | Connection::Write | |\n"
               "| `a_tls` | none | |\n"
               "| readable data | | |\n"),
      ElementsAre(HasSubstr("a_write: neither"), HasSubstr("a_tls: neither"),
                  HasSubstr("readable data: neither")));
}

TEST(NameTable, IsNoTable) {
  EXPECT_THAT(FaultsOf("| `a_write` | `Connection::Write` |\n"),
              Contains("no row: a_write"));
}

}  // namespace
}  // namespace fio::coming_from
