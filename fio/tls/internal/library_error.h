// What the library says of an error, in words. It keeps errors in a queue of
// the thread: ClearLibraryErrors() before each call, LibraryReason() behind the
// one that has failed.
//
// Thread safety: each thread has its own queue.

#ifndef FIO_TLS_INTERNAL_LIBRARY_ERROR_H_
#define FIO_TLS_INTERNAL_LIBRARY_ERROR_H_

#include <string>

#include "absl/status/status.h"

struct ssl_st;

namespace fio::tls_internal {

void ClearLibraryErrors();

// The reason of the first error in the queue, in lower case, as "bad decrypt";
// "no reason" if there is none. Clears the queue.
std::string LibraryReason();

// Why a call for `ssl` has failed: see TlsTransport::status(). Clears the
// queue.
absl::Status LibraryStatus(const ssl_st* ssl);

// Why a peer's certificate is not to be trusted (X509_V_ERR_...), in words.
std::string VerifyReason(long result);  // NOLINT(google-runtime-int): its API.

}  // namespace fio::tls_internal

#endif  // FIO_TLS_INTERNAL_LIBRARY_ERROR_H_
