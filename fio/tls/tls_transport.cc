#include "fio/tls/tls_transport.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/types/span.h"
#include "fio/base/errno_status.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/tls/internal/boringssl.h"
#include "fio/tls/internal/context_core.h"
#include "fio/tls/internal/library_error.h"
#include "fio/tls/internal/negotiation.h"
#include "fio/tls/internal/record_io.h"
#include "fio/tls/tls_context.h"
#include "fio/tls/tls_info.h"

namespace fio {

using tls_internal::ClearLibraryErrors;
using tls_internal::ContextCore;
using tls_internal::LibraryStatus;
using tls_internal::Negotiation;
using tls_internal::RecordIo;

namespace {

// What one Write() takes: four records.
constexpr size_t kMostWriteBytes = size_t{64} << 10;
constexpr size_t kRecordBytes = size_t{16} << 10;
// What one call reads of a handshake: more than most of its flights.
constexpr size_t kShakeBytes = size_t{16} << 10;
// Read beyond what is asked for, so that whole records fill the room.
constexpr size_t kOverheadBytes = 512;

bool IsIpAddress(const std::string& name) {
  in6_addr bytes;
  return inet_pton(AF_INET, name.c_str(), &bytes) == 1 ||
         inet_pton(AF_INET6, name.c_str(), &bytes) == 1;
}

}  // namespace

void TlsTransport::DeleteSsl::operator()(ssl_st* ssl) const { SSL_free(ssl); }

TlsTransport::TlsTransport(std::shared_ptr<const TlsContext> context,
                           TlsTransportOptions options)
    : context_(std::move(context)),
      negotiation_(std::make_unique<Negotiation>()),
      truncation_is_end_(options.truncation_is_end) {
  ABSL_CHECK(context_ != nullptr) << "TlsTransport: no context";
  negotiation_->context = context_;
  negotiation_->resume = std::move(options.resume);
  SetUp(options);
}

TlsTransport::~TlsTransport() {
  SSL_set_app_data(ssl_.get(), nullptr);  // SSL_free() would call back.
  ForgetSession();
}

void TlsTransport::SetUp(const TlsTransportOptions& options) {
  const ContextCore& core = context_->core();
  ssl_.reset(SSL_new(core.library()));
  ABSL_CHECK(ssl_ != nullptr) << "TlsTransport: out of memory";
  SSL* const ssl = ssl_.get();
  info_.Set(ssl);
  BIO* const bio = io_.NewBio();
  SSL_set_bio(ssl, bio, bio);
  SSL_set_app_data(ssl, negotiation_.get());
  SSL_set_shed_handshake_config(ssl, 1);
  if (core.is_server()) {
    SSL_set_accept_state(ssl);
    return;
  }
  SSL_set_connect_state(ssl);
  const std::string& name = core.client().server_name.empty()
                                ? options.server_name
                                : core.client().server_name;
  // A session that is resumed shows no certificate: it must be for this name.
  negotiation_->session_key =
      absl::StrCat(name, std::string_view("\0", 1), options.session_key);
  status_ = SetServerName(name);
  if (status_.ok()) ResumeSession();
}

absl::Status TlsTransport::SetServerName(const std::string& name) {
  SSL* const ssl = ssl_.get();
  const bool checked = context_->core().trust() != nullptr;
  if (name.empty()) {
    return checked ? absl::InvalidArgumentError(
                         "TlsTransport: server_name is empty: whose "
                         "certificate is to be trusted?")
                   : absl::OkStatus();
  }
  X509_VERIFY_PARAM* const verified = SSL_get0_param(ssl);
  if (IsIpAddress(name)) {
    if (X509_VERIFY_PARAM_set1_ip_asc(verified, name.c_str()) == 1) {
      return absl::OkStatus();
    }
  } else {
    const std::string host(absl::StripSuffix(name, "."));
    X509_VERIFY_PARAM_set_hostflags(verified,
                                    X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (SSL_set_tlsext_host_name(ssl, host.c_str()) == 1 &&
        X509_VERIFY_PARAM_set1_host(verified, host.data(), host.size()) == 1) {
      return absl::OkStatus();
    }
  }
  ClearLibraryErrors();
  return absl::InvalidArgumentError(absl::StrCat(
      "TlsTransport: \"", name, "\" is no name that a certificate has"));
}

void TlsTransport::ResumeSession() {
  negotiation_->offered =
      context_->core().sessions().Take(negotiation_->session_key);
  SSL_SESSION* const session = negotiation_->offered.get();
  if (session != nullptr) SSL_set_session(ssl_.get(), session);
}

// With a session that a handshake has failed with, the next ones would fail,
// too (RFC 5077, section 3.2).
void TlsTransport::ForgetSession() {
  if (negotiation_ == nullptr || negotiation_->offered == nullptr) return;
  context_->core().sessions().Forget(negotiation_->session_key,
                                     negotiation_->offered.get());
  negotiation_->offered = nullptr;
}

absl::Status TlsTransport::status() const { return status_; }

const void* TlsTransport::Info(const void* key) const {
  return key == &TlsInfo::kKey ? &info_ : nullptr;
}

// --- The handshake ---

Transport::Handshake TlsTransport::Shake(Socket& socket) {
  if (done_) return Handshake::kDone;
  if (io_.in_call()) return Handshake::kMore;
  if (!status_.ok()) return Handshake::kFailed;
  const RecordIo::Call call(io_, socket, kShakeBytes);
  // A peer that takes nothing is given nothing more.
  if (const IoResult sent = io_.Send(); !sent.ok()) {
    return sent.failed() ? Fail(ErrnoToStatus(sent.error, "write"))
                         : Handshake::kMore;
  }
  return Step();
}

Transport::Handshake TlsTransport::Step() {
  ClearLibraryErrors();
  const int result = SSL_do_handshake(ssl_.get());
  if (SSL_has_pending(ssl_.get()) == 0) io_.Taken();
  const Handshake handshake = AfterStep(result);
  // What could not be sent waits for the next call, or for Flush().
  const IoResult sent = io_.Send();
  if (sent.failed() && handshake != Handshake::kFailed) {
    return Fail(ErrnoToStatus(sent.error, "write"));
  }
  return handshake;
}

Transport::Handshake TlsTransport::AfterStep(int result) {
  if (result == 1) return Done();
  switch (SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_WANT_READ:
      return Handshake::kMore;
    case SSL_ERROR_PENDING_CERTIFICATE:
      return Handshake::kSuspended;
    default:
      return Fail(ReasonOf());
  }
}

Transport::Handshake TlsTransport::Done() {
  done_ = true;
  context_->core().counts().CountDone(info_.is_resumed());
  chosen_ = std::move(negotiation_->chosen);
  negotiation_->offered = nullptr;
  if (context_->is_server() && !info_.is_early()) {
    SSL_set_app_data(ssl_.get(), nullptr);
    negotiation_ = nullptr;
  }
  return Handshake::kDone;
}

Transport::Handshake TlsTransport::Fail(absl::Status status) {
  status_ = std::move(status);
  ForgetSession();
  // Names are of the peers' choice, and would soon be all that is counted.
  const bool of_name = negotiation_ != nullptr && negotiation_->refuses_name;
  context_->core().counts().CountFailed(of_name ? "no certificate for the name"
                                                : status_.message());
  return Handshake::kFailed;
}

// Of a call of the library that has just failed.
absl::Status TlsTransport::ReasonOf() const {
  if (negotiation_ != nullptr && negotiation_->refuses_name) {
    ClearLibraryErrors();
    return absl::NotFoundError(absl::StrCat("no certificate for the name \"",
                                            info_.server_name(), "\""));
  }
  if (ERR_peek_error() != 0) return LibraryStatus(ssl_.get());
  if (io_.error() != 0) return ErrnoToStatus(io_.error(), "read");
  return absl::UnavailableError("the peer has ended its stream");
}

// --- Reading ---

IoResult TlsTransport::Read(Socket& socket, absl::Span<char> out) {
  if (io_.in_call()) return {.error = EAGAIN};
  if (!status_.ok()) return {.error = EPROTO};
  const RecordIo::Call call(io_, socket, out.size() + kOverheadBytes);
  end_read_ = false;
  int end = 0;
  const size_t bytes = ReadRecords(out, &end);
  // The reason is in the queue of errors only now.
  IoResult result = bytes < out.size() ? EndOfRead(end) : IoResult();
  if (bytes > 0) {
    end_read_ = bytes < out.size() && !result.would_block();
    result = {.bytes = bytes};
  }
  // Answers, such as those to an update of keys, or an alert. That it cannot be
  // sent, is told by the next write.
  static_cast<void>(io_.Send());
  return result;
}

// What there is, up to the whole of `out`; else `end` is what the library
// returned last.
size_t TlsTransport::ReadRecords(absl::Span<char> out, int* end) {
  ClearLibraryErrors();
  size_t bytes = 0;
  while (bytes < out.size()) {
    const int read = SSL_read(ssl_.get(), out.data() + bytes,
                              static_cast<int>(out.size() - bytes));
    *end = read;
    if (SSL_has_pending(ssl_.get()) == 0) io_.Taken();
    if (read <= 0) break;
    bytes += static_cast<size_t>(read);
    io_.Content();
  }
  return bytes;
}

IoResult TlsTransport::EndOfRead(int result) {
  switch (SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_ZERO_RETURN:
      return {};
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_PENDING_CERTIFICATE:
      return {.error = io_.memory_error() != 0 ? io_.memory_error() : EAGAIN};
    default:
      break;
  }
  if (ERR_peek_error() != 0) return Broken(LibraryStatus(ssl_.get()));
  if (io_.error() != 0) return {.error = io_.error()};
  if (truncation_is_end_ && done_) return {};
  return Broken(absl::DataLossError(
      "the peer has ended its stream without close_notify: bytes may be "
      "missing"));
}

IoResult TlsTransport::Broken(absl::Status status) {
  status_ = std::move(status);
  return {.error = EPROTO};
}

bool TlsTransport::HasUnread() const {
  return end_read_ || io_.has_input() || SSL_has_pending(ssl_.get()) == 1;
}

Transport::HeldBytes TlsTransport::held_bytes() const {
  return {.unsent = io_.held_bytes(), .unread = io_.unread_bytes()};
}

// --- Writing ---

IoResult TlsTransport::Write(Socket& socket, absl::Span<const iovec> pieces) {
  if (io_.in_call()) return {.error = EAGAIN};
  if (!status_.ok()) return {.error = EPROTO};
  const RecordIo::Call call(io_, socket, 0);
  if (const IoResult sent = io_.Send(); !sent.ok())
    return {.error = sent.error};
  const size_t taken = WriteRecords(pieces);
  const IoResult sent = io_.Send();
  if (sent.failed()) return {.error = sent.error};
  if (taken > 0) return {.bytes = taken};
  return {.error = ERR_peek_error() != 0 || done_ ? EPROTO : EAGAIN};
}

namespace {

// Takes bytes from pieces, a record at a time: many small ones go into one.
class Pieces {
 public:
  explicit Pieces(absl::Span<const iovec> pieces) : pieces_(pieces) {}

  // Empty at the end. Valid until the next call.
  std::string_view Next() {
    while (!pieces_.empty() && begun_ == pieces_.front().iov_len) Skip();
    if (pieces_.empty()) return "";
    if (pieces_.size() == 1 || Left() >= kRecordBytes) {
      return Take(kRecordBytes);
    }
    size_t gathered = 0;
    while (!pieces_.empty() && gathered < kRecordBytes) {
      const std::string_view part = Take(kRecordBytes - gathered);
      if (!part.empty()) {
        std::memcpy(record_ + gathered, part.data(), part.size());
      }
      gathered += part.size();
      if (Left() == 0) Skip();
    }
    return {record_, gathered};
  }

 private:
  size_t Left() const { return pieces_.front().iov_len - begun_; }

  std::string_view Take(size_t most) {
    const size_t bytes = std::min(most, Left());
    const char* const from =
        static_cast<const char*>(pieces_.front().iov_base) + begun_;
    begun_ += bytes;
    return {from, bytes};
  }

  void Skip() {
    pieces_.remove_prefix(1);
    begun_ = 0;
  }

  absl::Span<const iovec> pieces_;
  size_t begun_ = 0;  // Of the first.
  char record_[kRecordBytes];
};

}  // namespace

// The library's output takes all, so a record is taken whole or, on an error,
// not at all.
size_t TlsTransport::WriteRecords(absl::Span<const iovec> pieces) {
  ClearLibraryErrors();
  Pieces left(pieces);
  size_t taken = 0;
  while (taken < kMostWriteBytes) {
    const std::string_view record = left.Next();
    if (record.empty()) break;
    const int written =
        SSL_write(ssl_.get(), record.data(), static_cast<int>(record.size()));
    if (written <= 0) break;
    taken += static_cast<size_t>(written);
    if (static_cast<size_t>(written) < record.size()) break;
  }
  return taken;
}

IoResult TlsTransport::Flush(Socket& socket) {
  if (io_.in_call()) return {.bytes = io_.held_bytes(), .error = EAGAIN};
  const RecordIo::Call call(io_, socket, 0);
  const IoResult sent = io_.Send();
  return {.bytes = io_.held_bytes(), .error = sent.error};
}

bool TlsTransport::BeforeClose(Socket& socket) {
  if (io_.in_call() || !done_ || !status_.ok()) return false;
  const RecordIo::Call call(io_, socket, kShakeBytes);
  ClearLibraryErrors();
  // After early data the library says nothing before it has read the client's
  // part of the handshake.
  char first = 0;
  if (SSL_in_init(ssl_.get()) == 1) SSL_peek(ssl_.get(), &first, 1);
  ClearLibraryErrors();
  SSL_shutdown(ssl_.get());
  ClearLibraryErrors();
  const IoResult sent = io_.Send();
  return sent.would_block() || sent.out_of_memory();
}

bool TlsTransport::UpdateKeys() {
  if (!done_ || info_.version() != TlsVersion::kTls13) return false;
  ClearLibraryErrors();
  const bool queued = SSL_key_update(ssl_.get(), SSL_KEY_UPDATE_REQUESTED) == 1;
  ClearLibraryErrors();
  return queued;
}

}  // namespace fio
