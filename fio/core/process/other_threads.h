// FindOtherThreads() returns the threads of the process except the caller. A
// process that forks should have none: the child has only the thread that
// called fork(2), and a lock that another thread held stays locked there.
//
// Thread safety: any thread.

#ifndef FIO_CORE_PROCESS_OTHER_THREADS_H_
#define FIO_CORE_PROCESS_OTHER_THREADS_H_

#include <string>
#include <vector>

namespace fio {

// The names of all threads of this process but the calling one, see
// pthread_setname_np(3); "?" for a name that is not known. A sanitizer's own
// thread is left out. Empty if there are none, and on systems other than Linux.
//
// Reads /proc/self/task. Where /proc is not mounted or not readable, unshare(2)
// shows only whether there are other threads; if there are, the result is one
// "?". If a sandbox refuses both, the result is empty.
//
// A thread that has been joined may still be seen by the kernel for some
// microseconds. So if there are other threads, this looks again for about 10
// milliseconds before it returns them.
std::vector<std::string> FindOtherThreads();

}  // namespace fio

#endif  // FIO_CORE_PROCESS_OTHER_THREADS_H_
