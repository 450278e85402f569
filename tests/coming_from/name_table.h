// The tables of docs/coming-from.md, read, and compared with what they should
// hold.
//
// Thread safety: all of it may be called from any thread.

#ifndef FIO_TESTS_COMING_FROM_NAME_TABLE_H_
#define FIO_TESTS_COMING_FROM_NAME_TABLE_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/types/span.h"

namespace fio::coming_from {

struct Row {
  int line;          // Of the document, from 1.
  std::string name;  // Without backticks.
  std::string in_fio;
  std::string remarks;
};

// Those of all tables whose head is `| name | in fio | remarks |`. What has not
// three cells is a row with all of it as its name.
std::vector<Row> ParseRows(std::string_view markdown);

// One for each line that is not empty.
std::vector<std::string> ParseNames(std::string_view text);

// What is wrong, in a line for each fault:
// - a name without a row, or with two; a row whose name is none of `names`;
// - a row that says neither what the name is in fio, by a symbol, nor
// "planned",
//   nor "none" and why;
// - what stands in backticks behind the name, and is none of `symbols`.
std::vector<std::string> FindFaults(absl::Span<const Row> rows,
                                    absl::Span<const std::string> names,
                                    absl::Span<const std::string> symbols);

}  // namespace fio::coming_from

#endif  // FIO_TESTS_COMING_FROM_NAME_TABLE_H_
