// A ServerNames finds the certificates for the name that a client asks for.
//
// Thread safety: const, as an int.

#ifndef FIO_TLS_INTERNAL_SERVER_NAMES_H_
#define FIO_TLS_INTERNAL_SERVER_NAMES_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/container/inlined_vector.h"
#include "absl/types/span.h"

namespace fio::tls_internal {

class ServerNames {
 public:
  // The certificate with this index is also for `name`: a host, or "*." and a
  // domain for all hosts one label below it. Anything else, such as an IP
  // address, is never asked for by name (RFC 6066, section 3).
  void Add(std::string_view name, size_t index);

  // The indices for a host, in the order of adding: those of the exact name,
  // or else those of the wildcard. Case does not matter, nor does a dot at the
  // end. Empty if there is none.
  absl::Span<const size_t> Find(std::string_view host) const;

 private:
  using Indices = absl::InlinedVector<size_t, 2>;

  absl::flat_hash_map<std::string, Indices> exact_;
  absl::flat_hash_map<std::string, Indices> wildcards_;  // By their domain.
};

}  // namespace fio::tls_internal

#endif  // FIO_TLS_INTERNAL_SERVER_NAMES_H_
