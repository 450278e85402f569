// What a TlsChoice and the transport that has asked share.
//
// Thread safety: thread-safe.

#ifndef FIO_TLS_INTERNAL_CHOICE_STATE_H_
#define FIO_TLS_INTERNAL_CHOICE_STATE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "fio/tls/tls_context.h"

namespace fio::tls_internal {

class ChoiceState {
 public:
  enum class Answer : uint8_t { kNone, kUse, kOwn, kRefuse };

  // `resume` is called by the answer if Wait() came before it.
  explicit ChoiceState(std::function<void()> resume)
      : resume_(std::move(resume)) {}

  // The first answer counts.
  void Give(Answer answer, std::shared_ptr<const TlsContext> context) {
    std::function<void()> resume;
    {
      const absl::MutexLock lock(&mutex_);
      if (answer_ != Answer::kNone) return;
      answer_ = answer;
      context_ = std::move(context);
      if (waits_) resume = std::move(resume_);
    }
    if (resume) resume();
  }

  // kNone: the answer, when it comes, calls `resume`.
  Answer Wait() {
    const absl::MutexLock lock(&mutex_);
    waits_ = true;
    return answer_;
  }

  // REQUIRES: the answer is kUse.
  std::shared_ptr<const TlsContext> context() {
    const absl::MutexLock lock(&mutex_);
    return context_;
  }

 private:
  absl::Mutex mutex_;
  std::function<void()> resume_ ABSL_GUARDED_BY(mutex_);
  bool waits_ ABSL_GUARDED_BY(mutex_) = false;
  Answer answer_ ABSL_GUARDED_BY(mutex_) = Answer::kNone;
  std::shared_ptr<const TlsContext> context_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace fio::tls_internal

#endif  // FIO_TLS_INTERNAL_CHOICE_STATE_H_
