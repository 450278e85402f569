// The same TLS echo server twice, on one thread, with TCP_NODELAY, the same
// library and the same certificate (P-256).

#ifndef FIO_TESTS_BENCH_TLS_SERVERS_H_
#define FIO_TESTS_BENCH_TLS_SERVERS_H_

#include "fio/tls/tls_certificate.h"
#include "tests/bench/servers.h"

namespace fio::bench {

// Made at the first call, before servers are forked.
const TlsCertificate& BenchCertificate();

// The floor: edge-triggered epoll and SSL_set_fd().
void ServeRawTls(OnListening on_listening);

// With an idle timeout of 60 s.
void ServeFioTls(OnListening on_listening);

}  // namespace fio::bench

#endif  // FIO_TESTS_BENCH_TLS_SERVERS_H_
