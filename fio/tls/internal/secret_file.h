// Reads small files whole, and writes secrets so that only their owner can read
// them.
//
// Thread safety: as open(2).

#ifndef FIO_TLS_INTERNAL_SECRET_FILE_H_
#define FIO_TLS_INTERNAL_SECRET_FILE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace fio::tls_internal {

enum class Readers : uint8_t {
  kAnybody,
  kNotEverybody,  // Others than its owner and group may not read or write it.
};

// Errors name the file: the errno of the call that failed; kPermissionDenied as
// above; kInvalidArgument above 4 MiB and for what is no regular file.
absl::StatusOr<std::string> ReadFile(const std::string& path, Readers readers);

// Whether a file that is there already stays.
enum class IfThere : bool { kKeep, kReplace };

// Writes a new file beside it (mode 0600) and gives that the name. Nobody sees
// half of it. Errors: the errno of the call that failed, with the file;
// kAlreadyExists for one that stays.
absl::Status WriteSecretFile(const std::string& path, std::string_view text,
                             IfThere if_there);

// Overwrites what was secret.
void Wipe(std::string& secret);

}  // namespace fio::tls_internal

#endif  // FIO_TLS_INTERNAL_SECRET_FILE_H_
