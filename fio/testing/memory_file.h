// MemoryFile() makes a regular file without a name, in memory: what a test
// sends instead of a file of the disk. See memfd_create(2).

#ifndef FIO_TESTING_MEMORY_FILE_H_
#define FIO_TESTING_MEMORY_FILE_H_

#include <string_view>

#include "fio/base/unique_fd.h"

namespace fio::testing {

// A failed system call is a failed check.
UniqueFd MemoryFile(std::string_view contents);

}  // namespace fio::testing

#endif  // FIO_TESTING_MEMORY_FILE_H_
