// MemoryFile() makes a regular file in memory, without a name, for tests that
// send files. See memfd_create(2).

#ifndef FIO_TESTING_MEMORY_FILE_H_
#define FIO_TESTING_MEMORY_FILE_H_

#include <string_view>

#include "fio/base/unique_fd.h"

namespace fio::testing {

// A failed system call is a failed check.
UniqueFd MemoryFile(std::string_view contents);

}  // namespace fio::testing

#endif  // FIO_TESTING_MEMORY_FILE_H_
