#include "examples/command_line.h"

#include <unistd.h>

#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/log/initialize.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "fio/fio.h"

namespace examples {

bool AbslParseFlag(absl::string_view text, TimeSpan* span, std::string* error) {
  if (absl::ParseDuration(text, &span->value)) return true;
  *error = "a time has a unit, as in 5s, 200ms or 1m";
  return false;
}

std::string AbslUnparseFlag(TimeSpan span) {
  return absl::FormatDuration(span.value);
}

absl::Status ParseCommandLine(std::string_view usage, int argc, char** argv) {
  // Without this call, a warning about it precedes the first line of the log.
  // With it, stderr gets errors only.
  absl::InitializeLog();
  absl::SetProgramUsageMessage(usage);
  char help[] = "--help";
  std::vector<char*> arguments(argv, argv + argc);
  for (char*& argument : arguments) {
    if (std::string_view(argument) == "-h") argument = help;
  }
  const std::vector<char*> rest = absl::ParseCommandLine(
      static_cast<int>(arguments.size()), arguments.data());
  if (rest.size() < 2) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("unexpected argument '", rest[1], "'; see --help"));
}

void PrintListening(std::string_view scheme,
                    const fio::SocketAddress& address) {
  const bool is_unix = address.ip().empty();
  std::printf("listening on %s (process %d)\n",
              absl::StrCat(is_unix ? "" : scheme, is_unix ? "" : "://",
                           address.ToString())
                  .c_str(),
              static_cast<int>(getpid()));
  std::fflush(stdout);
}

}  // namespace examples
