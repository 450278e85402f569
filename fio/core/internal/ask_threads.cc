#include "fio/core/internal/ask_threads.h"

#include <pthread.h>

#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "fio/base/errno_status.h"
#include "fio/base/signals_blocked.h"
#include "fio/core/internal/name_table.h"

namespace fio::core_internal {
namespace {

using Names = std::shared_ptr<NameTable>;

void* RunThread(void* argument) {
  const std::unique_ptr<Names> names(static_cast<Names*>(argument));
  pthread_setname_np(pthread_self(), "fio-resolver");
  while (std::optional<NameTable::Name> name = (*names)->Next()) {
    (*names)->Answer(*name, (*names)->ask()(name->url));
  }
  return nullptr;
}

}  // namespace

absl::Status StartAskThread(std::shared_ptr<NameTable> names) {
  auto argument = std::make_unique<Names>(std::move(names));
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  const SignalsBlocked blocked;
  pthread_t thread;
  const int error =
      pthread_create(&thread, &attributes, &RunThread, argument.get());
  pthread_attr_destroy(&attributes);
  if (error != 0) return ErrnoToStatus(error, "pthread_create");
  (void)argument.release();  // The thread's by now.
  return absl::OkStatus();
}

}  // namespace fio::core_internal
