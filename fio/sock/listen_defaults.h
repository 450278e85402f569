// ListenDefaults completes a url to listen on that has no host or no port:
//
//   host   ADDRESS, if that is set. Otherwise none is filled in, which means
//          every address of this machine (see url.h).
//   port   the scheme's own (http, ws: 80; https, wss: 443). Otherwise PORT, if
//          that is set, or 3000, for the first such url; one more for each that
//          follows. A PORT of 0 stays 0: each gets a free one.
//
// An empty text means tcp://0.0.0.0 without a port, so the first one becomes
// tcp://0.0.0.0:3000 and the second one tcp://0.0.0.0:3001. Unix paths are not
// changed.
//
// Thread safety: none.

#ifndef FIO_SOCK_LISTEN_DEFAULTS_H_
#define FIO_SOCK_LISTEN_DEFAULTS_H_

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "fio/sock/url.h"

namespace fio {

class ListenDefaults {
 public:
  // Like getenv(3): null if there is none; an empty value counts as none.
  using GetEnv = absl::FunctionRef<const char*(const char* name)>;

  // Returns `text` as a complete url, with a port or a path. Errors:
  // kInvalidArgument if `text` or a variable is malformed, or the next port is
  // above 65535.
  absl::StatusOr<Url> Complete(std::string_view text, GetEnv get_env = getenv);

 private:
  uint32_t taken_ = 0;  // Ports counted so far.
};

}  // namespace fio

#endif  // FIO_SOCK_LISTEN_DEFAULTS_H_
