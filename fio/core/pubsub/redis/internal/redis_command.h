// What is sent to a Redis server.

#ifndef FIO_CORE_PUBSUB_REDIS_INTERNAL_REDIS_COMMAND_H_
#define FIO_CORE_PUBSUB_REDIS_INTERNAL_REDIS_COMMAND_H_

#include <initializer_list>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"

namespace fio::redis_internal {

// As an array of strings, the form of all commands.
inline std::string MakeCommand(absl::Span<const std::string_view> words) {
  std::string command = absl::StrCat("*", words.size(), "\r\n");
  for (const std::string_view word : words) {
    absl::StrAppend(&command, "$", word.size(), "\r\n", word, "\r\n");
  }
  return command;
}
inline std::string MakeCommand(std::initializer_list<std::string_view> words) {
  return MakeCommand(absl::MakeConstSpan(words.begin(), words.size()));
}

}  // namespace fio::redis_internal

#endif  // FIO_CORE_PUBSUB_REDIS_INTERNAL_REDIS_COMMAND_H_
