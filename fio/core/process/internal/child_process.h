// Child processes of this one, by pid.
//
// Thread safety: any thread.

#ifndef FIO_CORE_PROCESS_INTERNAL_CHILD_PROCESS_H_
#define FIO_CORE_PROCESS_INTERNAL_CHILD_PROCESS_H_

#include <sys/types.h>

#include <string>

namespace fio::process_internal {

// Whether it may be killed: if other code has reaped the child, its pid may
// belong to another process.
bool IsOurChild(pid_t pid);

// Waits until the child has ended.
void Reap(pid_t pid);

// "exit code 3" or "signal 11", for a status of waitpid(2).
std::string DescribeEnd(int status);

}  // namespace fio::process_internal

#endif  // FIO_CORE_PROCESS_INTERNAL_CHILD_PROCESS_H_
