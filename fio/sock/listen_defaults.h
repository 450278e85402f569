// ListenDefaults fills in what a url to listen on leaves out, from the
// environment or by counting:
//
//   host   ADDRESS, if that is set. Otherwise none is filled in, which means
//          every address of this machine (see url.h).
//   port   the scheme's own (http, ws: 80; https, wss: 443). Otherwise PORT, if
//          that is set, or 3000, for the first such url; one more for each that
//          follows. A PORT of 0 stays 0: each gets a free one.
//
// The empty text is tcp://0.0.0.0 without a port, so the default of all is
// tcp://0.0.0.0:3000, and the next one tcp://0.0.0.0:3001. Unix paths are left
// as they are.
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

  // `text`, complete: with a port or a path. Errors: kInvalidArgument if `text`
  // or what the environment says is malformed, or no port is left to count to.
  absl::StatusOr<Url> Complete(std::string_view text, GetEnv get_env = getenv);

 private:
  uint32_t taken_ = 0;  // Ports counted so far.
};

}  // namespace fio

#endif  // FIO_SOCK_LISTEN_DEFAULTS_H_
