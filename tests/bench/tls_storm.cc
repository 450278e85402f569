// How long a connection waits while hundreds of others begin a handshake at the
// same moment, over fio's TLS.
//
//   bazel run -c opt //tests/bench:tls_storm
//
// 500 clients are connected, and send their first flight together. Meanwhile
// one connection that is established asks and is answered, again and again.
// Told are the median, the 99th percentile and the longest of these times, in
// each round. The numbers are for people; only an error makes the program fail.

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/log/absl_check.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "fio/base/clock.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "tests/bench/server_process.h"
#include "tests/bench/tls_servers.h"

ABSL_FLAG(int, rounds, 5, "how many storms");
ABSL_FLAG(int, clients, 500, "how many clients each of them has");
ABSL_FLAG(double, benchmark_min_time, 1.0, "less than 0.1: one small storm");

namespace fio::bench {
namespace {

constexpr size_t kMessageBytes = 64;

UniqueFd Connect(uint16_t port) {
  UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int one = 1;
  setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  ABSL_CHECK(connect(fd.get(), reinterpret_cast<const sockaddr*>(&address),
                     sizeof(address)) == 0);
  return fd;
}

// The first flight of a client, as bytes.
std::string FirstFlight(SSL_CTX* context) {
  const bssl::UniquePtr<SSL> ssl(SSL_new(context));
  BIO* const out = BIO_new(BIO_s_mem());
  SSL_set_bio(ssl.get(), BIO_new(BIO_s_mem()), out);
  SSL_set_connect_state(ssl.get());
  SSL_do_handshake(ssl.get());
  const uint8_t* bytes = nullptr;
  size_t size = 0;
  BIO_mem_contents(out, &bytes, &size);
  return std::string(reinterpret_cast<const char*>(bytes), size);
}

class Storm {
 public:
  Storm(uint16_t port, int clients)
      : port_(port),
        clients_(clients),
        context_(SSL_CTX_new(TLS_method())),
        fd_(Connect(port)),
        ssl_(SSL_new(context_.get())) {
    SSL_set_fd(ssl_.get(), fd_.get());
    ABSL_CHECK(SSL_connect(ssl_.get()) == 1);
    for (int i = 0; i < 100; ++i) Ask();
  }

  // The times of all that was asked until each client had its answer.
  std::vector<absl::Duration> Run() {
    std::vector<UniqueFd> fds;
    std::vector<std::string> flights;
    std::vector<pollfd> waiting;
    for (int i = 0; i < clients_; ++i) {
      fds.push_back(Connect(port_));
      flights.push_back(FirstFlight(context_.get()));
      waiting.push_back(
          {.fd = fds.back().get(), .events = POLLIN, .revents = 0});
    }
    Ask();  // The server has accepted all that came before.
    for (int i = 0; i < clients_; ++i) {
      const ssize_t sent = send(fds[static_cast<size_t>(i)].get(),
                                flights[static_cast<size_t>(i)].data(),
                                flights[static_cast<size_t>(i)].size(), 0);
      ABSL_CHECK(sent > 0);
    }
    std::vector<absl::Duration> times;
    while (!waiting.empty()) {
      times.push_back(Ask());
      poll(waiting.data(), waiting.size(), 0);
      std::erase_if(waiting,
                    [](const pollfd& one) { return one.revents != 0; });
    }
    return times;
  }

 private:
  absl::Duration Ask() {
    const MonotonicTime begin = Clock::System().Now();
    char bytes[kMessageBytes] = {};
    ABSL_CHECK(SSL_write(ssl_.get(), bytes, sizeof(bytes)) == sizeof(bytes));
    ABSL_CHECK(SSL_read(ssl_.get(), bytes, sizeof(bytes)) == sizeof(bytes));
    return Clock::System().Now() - begin;
  }

  const uint16_t port_;
  const int clients_;
  const bssl::UniquePtr<SSL_CTX> context_;
  const UniqueFd fd_;
  const bssl::UniquePtr<SSL> ssl_;
};

void Print(std::vector<absl::Duration> times) {
  std::sort(times.begin(), times.end());
  const auto us = [&](size_t at) {
    return absl::ToDoubleMicroseconds(times[std::min(at, times.size() - 1)]);
  };
  absl::PrintF("%6d asked: median %.0f us, p99 %.0f us, longest %.0f us\n",
               times.size(), us(times.size() / 2), us(times.size() * 99 / 100),
               us(times.size() - 1));
}

void Run() {
  BenchCertificate();
  const auto server = ServerProcess::Start("fio TLS", ServeFioTls, 0);
  ABSL_CHECK_OK(server);
  RunOnCpu(1);
  const bool smoke = absl::GetFlag(FLAGS_benchmark_min_time) < 0.1;
  Storm storm((*server)->port(), smoke ? 20 : absl::GetFlag(FLAGS_clients));
  const int rounds = smoke ? 1 : absl::GetFlag(FLAGS_rounds);
  for (int i = 0; i < rounds; ++i) Print(storm.Run());
}

}  // namespace
}  // namespace fio::bench

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("A storm of TLS handshakes.");
  absl::ParseCommandLine(argc, argv);
  fio::bench::Run();
}
