#include "tests/coming_from/name_table.h"

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/types/span.h"

namespace fio::coming_from {
namespace {

constexpr std::string_view kHead = "| name | in fio | remarks |";
constexpr std::string_view kRule = "|---|---|---|";

Row ParseRow(int line, std::string_view text) {
  std::string_view inside = text;
  absl::ConsumePrefix(&inside, "|");
  absl::ConsumeSuffix(&inside, "|");
  const std::vector<std::string_view> cells = absl::StrSplit(inside, '|');
  if (cells.size() != 3) return {line, std::string(text), "", ""};
  const auto cell = [&cells](size_t i) {
    return std::string(absl::StripAsciiWhitespace(cells[i]));
  };
  return {line, absl::StrReplaceAll(cell(0), {{"`", ""}}), cell(1), cell(2)};
}

// What stands in backticks.
std::vector<std::string_view> Quoted(std::string_view cell) {
  std::vector<std::string_view> quoted;
  const std::vector<std::string_view> parts = absl::StrSplit(cell, '`');
  for (size_t i = 1; i < parts.size(); i += 2) quoted.push_back(parts[i]);
  return quoted;
}

bool SaysSomething(const Row& row) {
  if (row.in_fio == "planned") return true;
  if (row.in_fio == "none") return !row.remarks.empty();
  return !Quoted(row.in_fio).empty();
}

}  // namespace

std::vector<Row> ParseRows(std::string_view markdown) {
  std::vector<Row> rows;
  bool in_table = false;
  int line = 0;
  for (const std::string_view text : absl::StrSplit(markdown, '\n')) {
    ++line;
    if (text == kHead) {
      in_table = true;
    } else if (text.empty() || text.front() != '|') {
      in_table = false;
    } else if (in_table && text != kRule) {
      rows.push_back(ParseRow(line, text));
    }
  }
  return rows;
}

std::vector<std::string> ParseNames(std::string_view text) {
  return absl::StrSplit(text, '\n', absl::SkipWhitespace());
}

std::vector<std::string> FindFaults(absl::Span<const Row> rows,
                                    absl::Span<const std::string> names,
                                    absl::Span<const std::string> symbols) {
  std::vector<std::string> faults;
  const absl::flat_hash_set<std::string_view> listed(names.begin(),
                                                     names.end());
  const absl::flat_hash_set<std::string_view> known(symbols.begin(),
                                                    symbols.end());
  absl::flat_hash_map<std::string_view, int> lines;
  for (const Row& row : rows) {
    const auto fault = [&](auto... what) {
      faults.push_back(absl::StrCat("line ", row.line, ": ", what...));
    };
    if (!listed.contains(row.name)) fault(row.name, " is in no list");
    const auto [other, is_first] = lines.try_emplace(row.name, row.line);
    if (!is_first) fault(row.name, " has a row already, line ", other->second);
    if (!SaysSomething(row)) {
      fault(row.name,
            ": neither a symbol nor \"planned\" nor why there is none");
    }
    for (const std::string* cell : {&row.in_fio, &row.remarks}) {
      for (const std::string_view symbol : Quoted(*cell)) {
        if (!known.contains(symbol)) fault("no such symbol: ", symbol);
      }
    }
  }
  for (const std::string& name : names) {
    if (!lines.contains(name)) faults.push_back(absl::StrCat("no row: ", name));
  }
  return faults;
}

}  // namespace fio::coming_from
