// TlsTicketKeys encrypt the session tickets of a server. A client shows its
// ticket when it comes back, and saves the expensive half of the handshake,
// also at another worker or at the next version of the server, if that has the
// same keys.
//
// The keys change with time. A secret of 32 bytes has a place on the wall
// clock, a period of `rotation`. The keys of a period are derived from its
// secret, and so is the next secret, from which the earlier ones cannot be
// found. So all processes that began with the same secret have the same keys at
// any time, without a word between them, and a key that is stolen opens what
// was sent in its period, in the one before, and later. A ticket is accepted in
// its own period and in the next one. Who was not asked for a key for long
// catches up by strides of 4096 periods, each of which begins with a secret
// that is known one stride ahead.
//
// If the clock goes back into the period before, the keys wait for it. If it
// goes back further, or ahead by more than 65,536 strides (eight years, if a
// period is a second), they begin anew, with a warning, and no earlier ticket
// is accepted any more. So it is with a file that was written by a clock that
// was wrong. What they begin with is derived, too: processes that had the same
// secrets and find out in the same stride agree.
//
// Make them before the workers are forked. With a file the next start goes on
// with them, and tickets outlive a restart:
//
//   auto keys = fio::TlsTicketKeys::Create({.file = "/run/echo/ticket-keys"});
//
// Thread safety: thread-safe. Its lock is held for some microseconds, and for
// some milliseconds when it catches up; a process that forks with other threads
// running must not fork meanwhile (fork(2)).

#ifndef FIO_TLS_TLS_TICKET_KEYS_H_
#define FIO_TLS_TLS_TICKET_KEYS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "fio/base/clock.h"

namespace fio {

namespace tls_internal {
enum class IfThere : bool;
}

struct TlsTicketKeysOptions {
  // How long new tickets are encrypted with one key. At least a second, at most
  // seven days, the longest lifetime of a ticket (RFC 8446, section 4.6.1).
  absl::Duration rotation = absl::Hours(12);

  // Where the secret of the last period is kept, from which those since are
  // derived, and that of the next stride, readable by its owner alone. A file
  // that is missing is created. When the secret changes, the file is replaced
  // by a rename; if that fails, it is logged, and the file stays as it is.
  // Empty: in memory alone.
  std::string file = {};

  // Its time of day decides. Null is the system's; otherwise it must outlive
  // the keys.
  const Clock* clock = nullptr;
};

class TlsTicketKeys {
 public:
  static constexpr size_t kNameBytes = 16;

  // What encrypts a ticket.
  struct Key {
    std::array<uint8_t, kNameBytes> name;
    std::array<uint8_t, 32> cipher;  // AES-256
    std::array<uint8_t, 32> mac;     // HMAC-SHA-256
  };

  // Errors: kInvalidArgument for a rotation that makes no sense and for a file
  // that has something else or is of another rotation; kPermissionDenied for
  // one that others may read or write; the errno of the call that failed. All
  // name the file.
  static absl::StatusOr<std::shared_ptr<TlsTicketKeys>> Create(
      TlsTicketKeysOptions options = {});

  TlsTicketKeys(const TlsTicketKeys&) = delete;
  TlsTicketKeys& operator=(const TlsTicketKeys&) = delete;
  ~TlsTicketKeys();

  // For new tickets.
  Key Current();
  // The key with that name, if it is that of this period or of the last one.
  std::optional<Key> Find(std::string_view name);

 private:
  using Secret = std::array<uint8_t, 32>;
  // All that is kept.
  struct Secrets {
    int64_t period = 0;
    Secret of_period = {};
    Secret of_next_stride = {};
  };

  explicit TlsTicketKeys(TlsTicketKeysOptions options);

  int64_t PeriodNow() const;
  static Secret Derive(const Secret& secret, std::string_view label);
  static Key KeyOf(const Secret& secret);
  static void BeginStride(Secrets& secrets, int64_t stride,
                          std::string_view label);
  static void GoTo(Secrets& secrets, int64_t period);
  absl::Status Begin();
  absl::Status BeginWithFile() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Load() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Parse(std::string_view text) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Save(tls_internal::IfThere if_there) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DeriveKeys() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Advance() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Rotate() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const TlsTicketKeysOptions options_;
  absl::Mutex mutex_;
  Secrets secrets_ ABSL_GUARDED_BY(mutex_);  // Of the period before.
  Key previous_ ABSL_GUARDED_BY(mutex_) = {};
  Key current_ ABSL_GUARDED_BY(mutex_) = {};
};

}  // namespace fio

#endif  // FIO_TLS_TLS_TICKET_KEYS_H_
