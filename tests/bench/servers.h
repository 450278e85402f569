// The same TCP echo server four times, on one thread, with TCP_NODELAY: each as
// a user of its library would write it.

#ifndef FIO_TESTS_BENCH_SERVERS_H_
#define FIO_TESTS_BENCH_SERVERS_H_

#include <cstdint>

#include "absl/functional/function_ref.h"

namespace fio::bench {

// Called once, when connections to 127.0.0.1:`port` are accepted or wait.
using OnListening = absl::FunctionRef<void(uint16_t port)>;

// Each serves until the process is killed, and returns only if it cannot.

// The floor: level-triggered epoll, one recv and one send per event.
void ServeRawEpoll(OnListening on_listening);

// With an idle timeout of 60 s, as the only one of the four.
void ServeFio(OnListening on_listening);

// Reads into one buffer; uv_try_write() first, uv_write() for the rest.
void ServeLibuv(OnListening on_listening);

// A bufferevent whose input is moved to its output.
void ServeLibevent(OnListening on_listening);

}  // namespace fio::bench

#endif  // FIO_TESTS_BENCH_SERVERS_H_
