// How a process that asks for a name sends the answer to its parent: one
// message, in the byte order of this machine.
//
// Thread safety: functions of their arguments.

#ifndef FIO_CORE_INTERNAL_ANSWER_FRAME_H_
#define FIO_CORE_INTERNAL_ANSWER_FRAME_H_

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "fio/sock/socket_address.h"

namespace fio::core_internal {

// A message is never longer. Of an answer that would be, the last addresses, or
// the end of the error's text, are left out.
inline constexpr size_t kMaxAnswerFrame = 16384;

std::string EncodeAnswer(
    const absl::StatusOr<std::vector<SocketAddress>>& answer);

// Nothing if `frame` is none that EncodeAnswer() makes.
std::optional<absl::StatusOr<std::vector<SocketAddress>>> DecodeAnswer(
    std::string_view frame);

}  // namespace fio::core_internal

#endif  // FIO_CORE_INTERNAL_ANSWER_FRAME_H_
