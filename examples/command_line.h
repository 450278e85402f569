// What the examples have in common: their command line, and the line that says
// where they listen.

#ifndef FIO_EXAMPLES_COMMAND_LINE_H_
#define FIO_EXAMPLES_COMMAND_LINE_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "fio/fio.h"

namespace examples {

// The type of a flag that is a span of time, as in --timeout=5s. A number
// without a unit is refused, with an error that names the units.
struct TimeSpan {
  absl::Duration value;
};
bool AbslParseFlag(absl::string_view text, TimeSpan* span, std::string* error);
std::string AbslUnparseFlag(TimeSpan span);

// Prepares the log, of which errors go to stderr, and reads the
// flags. `usage` is the first line that --help
// prints; -h means --help. A flag that is wrong ends the program with one line
// on stderr and the exit code 1. Errors: kInvalidArgument if an argument is no
// flag.
absl::Status ParseCommandLine(std::string_view usage, int argc, char** argv);

// Prints "listening on tcp://127.0.0.1:3000 (process 4711)": the address, and
// the process to send signals to. A Unix path is printed without a scheme.
void PrintListening(std::string_view scheme, const fio::SocketAddress& address);

}  // namespace examples

#endif  // FIO_EXAMPLES_COMMAND_LINE_H_
