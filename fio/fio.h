// All of fio. Each header may be used alone as well, with the target of its
// folder; docs/architecture.md says which layer is which.

#ifndef FIO_FIO_H_
#define FIO_FIO_H_

#include "fio/base/clock.h"
#include "fio/base/concurrency.h"
#include "fio/base/fork_count.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/move_only_function.h"
#include "fio/base/unique_fd.h"
#include "fio/core/exit_with.h"
#include "fio/core/listener.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/poller/child_watch.h"
#include "fio/core/poller/create_poller.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/poller.h"
#include "fio/core/poller/signal_watch.h"
#include "fio/core/poller/waker.h"
#include "fio/core/reactor.h"
#include "fio/core/timer/timer.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/defer/offload.h"
#include "fio/defer/task.h"
#include "fio/defer/task_queue.h"
#include "fio/defer/thread_pool.h"
#include "fio/sock/connect.h"
#include "fio/sock/datagram_socket.h"
#include "fio/sock/io_result.h"
#include "fio/sock/keep_alive.h"
#include "fio/sock/listen_defaults.h"
#include "fio/sock/listen_socket.h"
#include "fio/sock/resolve.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"
#include "fio/sock/write_queue.h"

#endif  // FIO_FIO_H_
