// Drives a server or a client by a program: a handshake with the other side,
// whose bytes may be changed or cut, and then anything at all. See Program for
// what the bytes of an input mean.

#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/types/span.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"
#include "fio/testing/loopback_pair.h"
#include "fio/tls/tls_certificate.h"
#include "fio/tls/tls_context.h"
#include "fio/tls/tls_options.h"
#include "fio/tls/tls_transport.h"
#include "fio/tls/tls_trust.h"
#include "fio/tls/tls_version.h"

namespace {

using fio::IoResult;
using fio::Socket;
using fio::TlsContext;
using fio::TlsTransport;
using Handshake = fio::Transport::Handshake;
using Context = std::shared_ptr<const TlsContext>;

constexpr std::string_view kWritten = "what the other side has written";
constexpr size_t kMostSteps = 200;

struct Contexts {
  Context server, client;
};

Contexts MakeContexts(fio::TlsVersion most, bool asks) {
  static const fio::TlsCertificate certificate =
      *fio::TlsCertificate::SelfSigned({"localhost"});
  const fio::TlsTrust trust = *fio::TlsTrust::FromPem(certificate.chain_pem());
  using Asked = fio::TlsClientCertificates;
  auto server = TlsContext::Server(
      {.max_version = most,
       .alpn = {"h2", "http/1.1"},
       .certificates = {certificate},
       .client_certificates = asks ? Asked::kOptional : Asked::kNone,
       .trust = trust,
       .early_data = asks});
  auto client = TlsContext::Client(
      {.alpn = {"http/1.1"}, .trust = trust, .certificate = certificate});
  ABSL_CHECK_OK(server);
  ABSL_CHECK_OK(client);
  return {*std::move(server), *std::move(client)};
}

// Made once, since keys are expensive.
const Contexts& ContextsFor(uint8_t flags) {
  static const Contexts* const all[] = {
      new Contexts(MakeContexts(fio::TlsVersion::kTls13, false)),
      new Contexts(MakeContexts(fio::TlsVersion::kTls12, false)),
      new Contexts(MakeContexts(fio::TlsVersion::kTls13, true)),
      new Contexts(MakeContexts(fio::TlsVersion::kTls12, true))};
  return *all[flags & 3];
}

// One side over its own socket; the test carries the bytes between the two.
class End {
 public:
  explicit End(Context context) : sockets_(fio::testing::LoopbackPair::Unix()) {
    auto transport = std::make_unique<TlsTransport>(
        std::move(context),
        fio::TlsTransportOptions{.server_name = "localhost"});
    tls_ = transport.get();
    sockets_.near.HoldDescriptor(true);  // The transport stays.
    sockets_.near.AllowHalfOpen();
    ABSL_CHECK_OK(sockets_.near.SetTransport(std::move(transport)));
    sockets_.near.SetShaking(true);
  }

  Handshake Shake() {
    if (IsOver()) return state_;
    absl::Status failure;
    state_ = socket().Shake(&failure);
    if (!IsOver()) return state_;
    socket().SetShaking(false);
    if (state_ == Handshake::kFailed) {
      ABSL_CHECK(!failure.ok());
      socket().CloseFailed();
      static_cast<void>(socket().Flush());
    }
    return state_;
  }

  // Reads some; false at the end of the stream, or if nothing is there.
  bool Read(size_t room) {
    if (state_ != Handshake::kDone) return false;
    char out[512];
    const IoResult read =
        socket().Read(absl::MakeSpan(out, std::min(room, sizeof(out))));
    if (read.error == EPROTO) CheckFailed();
    received_.append(out, read.bytes);
    return read.bytes > 0;
  }

  void Write(std::string_view bytes) {
    if (state_ != Handshake::kDone) return;
    const IoResult written = socket().TryWrite(bytes);
    ABSL_CHECK_LE(written.bytes, bytes.size());
    sent_.append(bytes.substr(0, written.bytes));
  }

  // What it has sent to the other side, as ciphertext.
  std::string TakeOutput() { return fio::testing::ReadAvailable(far()); }
  void Feed(std::string_view bytes) {
    static_cast<void>(far().TryWrite(bytes));
  }

  Socket& socket() { return sockets_.near; }
  Socket& far() { return sockets_.far; }
  TlsTransport& tls() { return *tls_; }
  Handshake state() const { return state_; }
  const std::string& received() const { return received_; }
  const std::string& sent() const { return sent_; }

 private:
  bool IsOver() const {
    return state_ == Handshake::kDone || state_ == Handshake::kFailed;
  }

  // After an error every call says so.
  void CheckFailed() {
    ABSL_CHECK(!tls_->status().ok());
    char byte = 'a';
    const iovec piece = {.iov_base = &byte, .iov_len = 1};
    ABSL_CHECK_EQ(tls_->Read(socket(), absl::MakeSpan(&byte, 1)).error, EPROTO);
    ABSL_CHECK_EQ(tls_->Write(socket(), absl::MakeConstSpan(&piece, 1)).error,
                  EPROTO);
    ABSL_CHECK(!tls_->BeforeClose(socket()));
  }

  fio::testing::LoopbackPair sockets_;
  TlsTransport* tls_;
  Handshake state_ = Handshake::kMore;
  std::string received_, sent_;
};

// Byte 0: bit 0, whether a client is tested, else a server; bits 1 and 2, the
// contexts; bit 3, whether the changed byte is left out instead. Bytes 1 and 2:
// how many bytes of the other side pass before the raw ones. Bytes 3 and 4:
// which of them is changed, none if it is beyond them; byte 5: by what, 0 for
// not. Then steps: an opcode and what it needs.
class Program {
 public:
  Program(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  void Run() {
    const uint8_t flags = Next();
    const Contexts& contexts = ContextsFor(flags >> 1);
    const bool client = (flags & 1) != 0;
    drops_ = (flags & 8) != 0;
    End tested(client ? contexts.client : contexts.server);
    End other(client ? contexts.server : contexts.client);
    passing_ = NextWord();
    changed_ = NextWord();
    change_ = Next();
    for (int i = 0; i < 8; ++i) Exchange(tested, other);
    for (size_t i = 0; i < kMostSteps && size_ > 0; ++i) Step(tested, other);
    Finish(tested, other);
  }

 private:
  uint8_t Next() {
    if (size_ == 0) return 0;
    --size_;
    return *data_++;
  }
  size_t NextWord() {
    const size_t high = Next();
    return (high << 8) | Next();
  }
  std::string_view NextBytes(size_t most) {
    const size_t bytes = std::min({size_t{Next()}, most, size_});
    const std::string_view taken(reinterpret_cast<const char*>(data_), bytes);
    data_ += bytes;
    size_ -= bytes;
    return taken;
  }

  // Carries what the two have for each other, as far as it may pass.
  void Exchange(End& tested, End& other) {
    tested.Shake();
    other.Shake();
    other.Feed(tested.TakeOutput());
    const std::string bytes = other.TakeOutput();
    const size_t passes = std::min(bytes.size(), passing_ - passed_);
    for (size_t i = 0; i < passes; ++i, ++passed_) {
      const bool is_it = passed_ == changed_ && (change_ != 0 || drops_);
      touched_ = touched_ || is_it;
      if (is_it && drops_) continue;
      const char byte = static_cast<char>(bytes[i] ^ (is_it ? change_ : 0));
      carried_.push_back(byte);
    }
    touched_ = touched_ || passes < bytes.size();
    tested.Feed(carried_);
    carried_.clear();
    tested.Shake();
  }

  void Step(End& tested, End& other) {
    switch (Next() % 10) {
      case 0:  // Bytes from anywhere.
        touched_ = true;
        tested.Feed(NextBytes(255));
        break;
      case 1:
        tested.Write(NextBytes(64));
        break;
      case 2:
        tested.Read(1 + Next());
        break;
      case 3:
        static_cast<void>(tested.socket().Flush());
        break;
      case 4:
        tested.tls().UpdateKeys();
        break;
      case 5:
        static_cast<void>(tested.socket().ShutdownWrite());
        break;
      case 6:  // The end of the stream below.
        shutdown(tested.far().fd(), SHUT_WR);
        break;
      case 7:
        other.Write(kWritten);
        static_cast<void>(other.socket().Flush());
        break;
      case 8:
        passing_ += Next();
        Exchange(tested, other);
        break;
      default:
        tested.Shake();
        break;
    }
    ABSL_CHECK(tested.state() != Handshake::kFailed ||
               !tested.tls().status().ok());
  }

  void Finish(End& tested, End& other) {
    while (tested.Read(100)) {
    }
    // Nothing is read that the other side has not written, in its order.
    ABSL_CHECK(absl::StartsWith(other.sent(), tested.received()));
    if (touched_ || change_ != 0) return;
    // Whatever was cut, the other side reads nothing else either.
    while (other.Read(100)) {
    }
    ABSL_CHECK(absl::StartsWith(tested.sent(), other.received()));
  }

  const uint8_t* data_;
  size_t size_;
  size_t passing_ = 0, passed_ = 0, changed_ = 0;
  uint8_t change_ = 0;
  bool drops_ = false;
  bool touched_ = false;  // What it gets is not what was sent.
  std::string carried_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Program(data, size).Run();
  return 0;
}
