#include "tests/bench/tls_load.h"

#include <openssl/ssl.h>
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/base/clock.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"

namespace fio::bench {
namespace {

constexpr int kSilenceSeconds = 10;
constexpr uint64_t kMaxLives = 2'000;

absl::Status Failed(std::string_view call) {
  return absl::UnavailableError(absl::StrCat(call, " has failed"));
}

// The newest ticket.
struct Ticket {
  bssl::UniquePtr<SSL_SESSION> session;
};

bssl::UniquePtr<SSL_CTX> NewContext(Ticket* ticket) {
  bssl::UniquePtr<SSL_CTX> context(SSL_CTX_new(TLS_method()));
  SSL_CTX_set_session_cache_mode(
      context.get(), SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_set_app_data(context.get(), ticket);
  SSL_CTX_sess_set_new_cb(context.get(), [](SSL* ssl, SSL_SESSION* session) {
    auto* const kept =
        static_cast<Ticket*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
    if (kept == nullptr) return 0;
    kept->session.reset(session);
    return 1;
  });
  return context;
}

struct Client {
  UniqueFd fd;
  bssl::UniquePtr<SSL> ssl;
  size_t received = 0;
};

absl::StatusOr<Client> Shake(uint16_t port, SSL_CTX* context,
                             SSL_SESSION* session) {
  absl::StatusOr<UniqueFd> fd = ConnectTo(port);
  if (!fd.ok()) return fd.status();
  Client client = {.fd = *std::move(fd),
                   .ssl = bssl::UniquePtr<SSL>(SSL_new(context))};
  SSL_set_fd(client.ssl.get(), client.fd.get());
  if (session != nullptr) SSL_set_session(client.ssl.get(), session);
  if (SSL_connect(client.ssl.get()) != 1) return Failed("SSL_connect");
  return client;
}

class TlsEchoLoad final : public Load {
 public:
  explicit TlsEchoLoad(size_t bytes)
      : message_(bytes, 'x'), context_(NewContext(nullptr)) {}

  absl::Status Connect(uint16_t port, size_t connections) {
    epoll_.Reset(epoll_create1(EPOLL_CLOEXEC));
    for (size_t i = 0; i < connections; ++i) {
      absl::StatusOr<Client> client = Shake(port, context_.get(), nullptr);
      if (!client.ok()) return client.status();
      epoll_event event = {.events = EPOLLIN, .data = {.u64 = i}};
      epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, client->fd.get(), &event);
      clients_.push_back(*std::move(client));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<uint64_t> Run(absl::Duration span) override {
    const MonotonicTime deadline = Clock::System().Now() + span;
    for (Client& client : clients_) {
      if (!Send(client)) return Failed("SSL_write");
    }
    size_t under_way = clients_.size();
    uint64_t answered = 0;
    std::array<epoll_event, 512> events;
    while (under_way > 0) {
      const int count =
          epoll_wait(epoll_.get(), events.data(),
                     static_cast<int>(events.size()), kSilenceSeconds * 1'000);
      if (count <= 0) return Failed("epoll_wait");
      const bool over = Clock::System().Now() >= deadline;
      for (int i = 0; i < count; ++i) {
        Client& client = clients_[events[i].data.u64];
        if (!Receive(client)) return Failed("SSL_read");
        if (client.received < message_.size()) continue;
        ++answered;
        if (over) {
          --under_way;
        } else if (!Send(client)) {
          return Failed("SSL_write");
        }
      }
    }
    return answered;
  }

 private:
  bool Send(Client& client) {
    client.received = 0;
    return SSL_write(client.ssl.get(), message_.data(),
                     static_cast<int>(message_.size())) ==
           static_cast<int>(message_.size());
  }

  // All that the library has, since epoll tells of the rest alone.
  bool Receive(Client& client) {
    do {
      const int got = SSL_read(client.ssl.get(), buffer_, sizeof(buffer_));
      if (got <= 0) return false;
      client.received += static_cast<size_t>(got);
    } while (SSL_has_pending(client.ssl.get()) == 1);
    return true;
  }

  const std::string message_;
  const bssl::UniquePtr<SSL_CTX> context_;
  UniqueFd epoll_;
  std::vector<Client> clients_;
  char buffer_[64 * 1024];
};

class TlsLifeLoad final : public Load {
 public:
  TlsLifeLoad(uint16_t port, TlsLife life)
      : port_(port), life_(life), context_(NewContext(&ticket_)) {}

  absl::StatusOr<uint64_t> Run(absl::Duration span) override {
    const MonotonicTime deadline = Clock::System().Now() + span;
    uint64_t lives = 0;
    do {
      const absl::Status lived = Live(lives > 0);
      if (!lived.ok()) return lived;
      ++lives;
    } while (lives < kMaxLives && Clock::System().Now() < deadline);
    return lives;
  }

 private:
  absl::Status Live(bool has_ticket) {
    const bool resumes = life_ == TlsLife::kResumed && has_ticket;
    absl::StatusOr<Client> client =
        Shake(port_, context_.get(), resumes ? ticket_.session.get() : nullptr);
    if (!client.ok()) return client.status();
    SSL* const ssl = client->ssl.get();
    char bytes[kMessageBytes] = {};
    if (SSL_write(ssl, bytes, sizeof(bytes)) != sizeof(bytes)) {
      return Failed("SSL_write");
    }
    size_t received = 0;
    while (received < sizeof(bytes)) {
      const int got = SSL_read(ssl, bytes, sizeof(bytes));
      if (got <= 0) return Failed("SSL_read");
      received += static_cast<size_t>(got);
    }
    if (resumes && SSL_session_reused(ssl) != 1) return Failed("resumption");
    SSL_shutdown(ssl);
    if (SSL_read(ssl, bytes, sizeof(bytes)) != 0 ||
        SSL_get_error(ssl, 0) != SSL_ERROR_ZERO_RETURN) {
      return Failed("the server's close_notify");
    }
    return absl::OkStatus();
  }

  const uint16_t port_;
  const TlsLife life_;
  Ticket ticket_;
  const bssl::UniquePtr<SSL_CTX> context_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Load>> ConnectTlsEcho(uint16_t port,
                                                     size_t connections,
                                                     size_t bytes) {
  auto load = std::make_unique<TlsEchoLoad>(bytes);
  const absl::Status connected = load->Connect(port, connections);
  if (!connected.ok()) return connected;
  return load;
}

std::unique_ptr<Load> NewTlsLives(uint16_t port, TlsLife life) {
  return std::make_unique<TlsLifeLoad>(port, life);
}

}  // namespace fio::bench
