// A TlsSlot holds the TlsContext for new connections, so that it can change
// while a server runs: a certificate is renewed without a restart. Connections
// that are open keep the context that they have.
//
//   auto slot = fio::TlsSlot::Create([] {
//     return LoadContext("/etc/app/cert.pem", "/etc/app/key.pem");
//   });
//   if (!slot.ok()) return fio::ExitWith(slot.status());
//   reactor.Listen("tls://0.0.0.0:443",
//                  {.on_open = ..., .transport = fio::TlsFactory(*slot)});
//   fio::ReloadTls(reactor, *slot);  // On SIGHUP, in all processes.
//
// Thread safety: thread-safe.

#ifndef FIO_CORE_TLS_TLS_SLOT_H_
#define FIO_CORE_TLS_TLS_SLOT_H_

#include <functional>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "fio/tls/tls_context.h"

namespace fio {

class TlsSlot {
 public:
  // Makes a context, as from files. Called by Create() and Reload(), in the
  // thread that calls them, one call at a time. It may block.
  using Source =
      std::function<absl::StatusOr<std::shared_ptr<const TlsContext>>()>;

  // Errors: those of `source`; kInvalidArgument if it is null or gives null.
  static absl::StatusOr<std::shared_ptr<TlsSlot>> Create(Source source);

  TlsSlot(const TlsSlot&) = delete;
  TlsSlot& operator=(const TlsSlot&) = delete;

  // Never null.
  std::shared_ptr<const TlsContext> current() const;

  // Asks the source for a new context and takes it. After an error, which is
  // that of Create(), the old one stays.
  absl::Status Reload();

 private:
  TlsSlot(Source source, std::shared_ptr<const TlsContext> context);

  absl::Mutex reloading_;  // Held while the source is asked.
  const Source source_;
  mutable absl::Mutex mutex_;
  std::shared_ptr<const TlsContext> current_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace fio

#endif  // FIO_CORE_TLS_TLS_SLOT_H_
