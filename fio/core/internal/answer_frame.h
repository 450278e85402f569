// The message in which a process that resolves a name sends the answer to its
// parent, in the byte order of this machine.
//
// Thread safety: any thread.

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

// The longest message. If an answer is longer, its last addresses, or the end
// of the error's text, are left out.
inline constexpr size_t kMaxAnswerFrame = 16384;

std::string EncodeAnswer(
    const absl::StatusOr<std::vector<SocketAddress>>& answer);

// Nothing if `frame` is not a result of EncodeAnswer().
std::optional<absl::StatusOr<std::vector<SocketAddress>>> DecodeAnswer(
    std::string_view frame);

}  // namespace fio::core_internal

#endif  // FIO_CORE_INTERNAL_ANSWER_FRAME_H_
