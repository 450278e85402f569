// What plain_io.h does by system calls, by a SocketDriver: results are the
// same.

#ifndef FIO_SOCK_INTERNAL_DRIVEN_IO_H_
#define FIO_SOCK_INTERNAL_DRIVEN_IO_H_

#include "absl/types/span.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket_driver.h"

namespace fio::sock_internal {

// Copies what has come and takes it.
IoResult DrivenRead(SocketDriver& driver, absl::Span<char> out);
// Copies the front of it.
IoResult DrivenPeek(SocketDriver& driver, absl::Span<char> out);

}  // namespace fio::sock_internal

#endif  // FIO_SOCK_INTERNAL_DRIVEN_IO_H_
