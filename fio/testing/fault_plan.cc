#include "fio/testing/fault_plan.h"

#include <dirent.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <numeric>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/log/absl_check.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"

namespace fio::testing {
namespace {

using Call = FaultPlan::Call;
using Options = FaultPlan::Options;

constexpr size_t Index(Call call) { return static_cast<size_t>(call); }

class CallSet {
 public:
  constexpr CallSet(std::initializer_list<Call> calls) {
    for (Call call : calls) bits_ |= uint32_t{1} << Index(call);
  }
  constexpr bool contains(Call call) const {
    return (bits_ >> Index(call) & 1) != 0;
  }

 private:
  uint32_t bits_ = 0;
};

constexpr CallSet kReads = {Call::kRecv, Call::kRecvmmsg};
constexpr CallSet kWrites = {Call::kSend, Call::kSendmsg, Call::kSendmmsg,
                             Call::kSendfile};
// They make a descriptor and name none.
constexpr CallSet kMakes = {
    Call::kSocket,   Call::kSocketpair, Call::kEpollCreate1, Call::kEventfd,
    Call::kSignalfd, Call::kPidfdOpen,  Call::kPipe2};
constexpr CallSet kInMessages = {Call::kRecvmmsg, Call::kSendmmsg};
constexpr CallSet kInterrupted = {
    Call::kConnect,  Call::kAccept4,  Call::kRecv,      Call::kSend,
    Call::kSendmsg,  Call::kRecvmmsg, Call::kSendmmsg,  Call::kPread,
    Call::kSendfile, Call::kPoll,     Call::kEpollWait, Call::kClose};

// The other ways to fail that are drawn, in this order.
struct Refusal {
  int error;
  double Options::*likelihood;
  CallSet calls;
};
constexpr Refusal kRefusals[] = {
    {EAGAIN,
     &Options::would_block,
     {Call::kAccept4, Call::kRecv, Call::kSend, Call::kSendmsg, Call::kRecvmmsg,
      Call::kSendmmsg, Call::kSendfile}},
    {ENOBUFS,
     &Options::no_buffers,
     {Call::kSend, Call::kSendmsg, Call::kSendmmsg}},
    {ENOMEM,
     &Options::no_memory,
     {Call::kSocket, Call::kAccept4, Call::kRecv, Call::kSend, Call::kSendmsg,
      Call::kSendfile, Call::kEpollCtl}},
    {EMFILE,
     &Options::no_descriptors,
     {Call::kSocket, Call::kSocketpair, Call::kAccept4, Call::kEpollCreate1,
      Call::kEventfd, Call::kSignalfd, Call::kPidfdOpen, Call::kPipe2}},
    {EPIPE, &Options::broken_pipe, kWrites},
};

}  // namespace

void FaultPlan::Target(int fd) {
  ABSL_CHECK_GE(fd, 0) << "FaultPlan::Target";
  absl::MutexLock lock(&mutex_);
  descriptors_[fd].target = true;
}

void FaultPlan::ResetAt(int fd, uint64_t bytes) {
  {
    absl::MutexLock lock(&mutex_);
    descriptors_[fd].writable_bytes = bytes;
  }
  if (bytes == 0) WakePollersOf(fd);
}

void FaultPlan::ResetAtRead(int fd, uint64_t bytes) {
  {
    absl::MutexLock lock(&mutex_);
    descriptors_[fd].readable_bytes = bytes;
  }
  if (bytes == 0) WakePollersOf(fd);
}

void FaultPlan::FailNext(Call call, int error, int count) {
  ABSL_CHECK(error > 0 && count > 0) << "FaultPlan::FailNext";
  absl::MutexLock lock(&mutex_);
  failures_.push_back(
      {.fd = std::nullopt, .call = call, .error = error, .count = count});
}

void FaultPlan::FailNextOn(int fd, Call call, int error, int count) {
  ABSL_CHECK(error > 0 && count > 0) << "FaultPlan::FailNextOn";
  ABSL_CHECK(!kMakes.contains(call) && call != Call::kPoll)
      << "FaultPlan::FailNextOn: the call names no descriptor";
  absl::MutexLock lock(&mutex_);
  failures_.push_back({.fd = fd, .call = call, .error = error, .count = count});
}

void FaultPlan::FailNth(uint64_t n, int error) {
  ABSL_CHECK(n > 0 && error > 0) << "FaultPlan::FailNth";
  absl::MutexLock lock(&mutex_);
  nth_ = {.left = n, .error = error};
  nth_failed_ = std::nullopt;
}

void FaultPlan::CancelFailNth() {
  absl::MutexLock lock(&mutex_);
  nth_ = std::nullopt;
}

std::optional<Call> FaultPlan::nth_failed() const {
  absl::MutexLock lock(&mutex_);
  return nth_failed_;
}

void FaultPlan::OnPoll(PollFunction poll) {
  auto shared =
      poll ? std::make_shared<PollFunction>(std::move(poll)) : nullptr;
  absl::MutexLock lock(&mutex_);
  poll_ = std::move(shared);
}

uint64_t FaultPlan::calls(Call call) const {
  absl::MutexLock lock(&mutex_);
  return calls_[Index(call)];
}

uint64_t FaultPlan::calls() const {
  absl::MutexLock lock(&mutex_);
  return std::accumulate(calls_.begin(), calls_.end(), uint64_t{0});
}

uint64_t FaultPlan::faults() const {
  absl::MutexLock lock(&mutex_);
  return faults_;
}

std::vector<int> FaultPlan::open_descriptors() const {
  absl::MutexLock lock(&mutex_);
  std::vector<int> open;
  for (const auto& [fd, descriptor] : descriptors_) {
    if (descriptor.opened_here) open.push_back(fd);
  }
  return open;
}

FaultPlan::Verdict FaultPlan::Judge(Call call, int fd, size_t size) {
  absl::MutexLock lock(&mutex_);
  ++calls_[Index(call)];
  Verdict verdict = {.error = FindError(call, fd), .size = size};
  if (verdict.error == 0) verdict.size = ChooseSize(call, fd, size);
  if (verdict.error != 0 || verdict.size < size) ++faults_;
  return verdict;
}

int FaultPlan::FindError(Call call, int fd) {
  if (const int error = TakeNth(call)) return error;
  if (const int error = TakeFailure(call, fd)) return error;
  if (const Descriptor* known = Find(fd)) {
    const bool reset = known->readable_bytes == 0 || known->writable_bytes == 0;
    const bool moves = kReads.contains(call) || kWrites.contains(call);
    if (reset && moves) return ECONNRESET;
    if (known->broken_pipe && kWrites.contains(call)) return EPIPE;
  }
  return IsTarget(fd) ? DrawError(call, fd) : 0;
}

int FaultPlan::TakeNth(Call call) {
  if (!nth_.has_value() || --nth_->left > 0) return 0;
  const int error = nth_->error;
  nth_ = std::nullopt;
  nth_failed_ = call;
  return error;
}

int FaultPlan::TakeFailure(Call call, int fd) {
  const auto found = std::find_if(
      failures_.begin(), failures_.end(), [&](const Failure& failure) {
        return failure.call == call && failure.fd.value_or(fd) == fd;
      });
  if (found == failures_.end()) return 0;
  const int error = found->error;
  if (--found->count == 0) failures_.erase(found);
  return error;
}

int FaultPlan::DrawError(Call call, int fd) {
  Descriptor& descriptor = descriptors_[fd];
  uint8_t& interrupts = descriptor.interrupts[Index(call)];
  if (kInterrupted.contains(call) && interrupts < kMaxInterrupts &&
      Draw(options_.interrupted)) {
    ++interrupts;
    return EINTR;
  }
  interrupts = 0;
  for (const Refusal& refusal : kRefusals) {
    if (refusal.calls.contains(call) && Draw(options_.*refusal.likelihood)) {
      if (refusal.error == EPIPE) descriptor.broken_pipe = true;
      return refusal.error;
    }
  }
  return 0;
}

size_t FaultPlan::ChooseSize(Call call, int fd, size_t size) {
  const bool write = kWrites.contains(call);
  if (size > 1 && IsTarget(fd) &&
      Draw(write ? options_.short_write : options_.short_read)) {
    size = 1 + random_() % (size - 1);
  }
  const Descriptor* known = Find(fd);
  if (known == nullptr || kInMessages.contains(call)) return size;
  if (write) return std::min(size, known->writable_bytes);
  if (kReads.contains(call)) return std::min(size, known->readable_bytes);
  return size;
}

bool FaultPlan::Draw(double likelihood) {
  // 53 bits are what a double holds, so what is drawn is less than 1.
  return likelihood > 0 &&
         static_cast<double>(random_() >> 11) * 0x1p-53 < likelihood;
}

bool FaultPlan::IsTarget(int fd) const {
  if (options_.all_descriptors) return true;
  const Descriptor* known = Find(fd);
  return known != nullptr && known->target;
}

const FaultPlan::Descriptor* FaultPlan::Find(int fd) const {
  const auto found = descriptors_.find(fd);
  return found != descriptors_.end() ? &found->second : nullptr;
}

void FaultPlan::Erase(int fd) {
  descriptors_.erase(fd);
  std::erase_if(failures_,
                [&](const Failure& failure) { return failure.fd == fd; });
}

bool FaultPlan::Moved(Call call, int fd, uint64_t bytes) {
  const bool write = kWrites.contains(call);
  if (!write && !kReads.contains(call)) return false;
  absl::MutexLock lock(&mutex_);
  const auto found = descriptors_.find(fd);
  if (found == descriptors_.end()) return false;
  uint64_t& left =
      write ? found->second.writable_bytes : found->second.readable_bytes;
  if (left == kNever) return false;
  left -= std::min(left, bytes);
  return left == 0;
}

void FaultPlan::Opened(int fd, int listener) {
  absl::MutexLock lock(&mutex_);
  Erase(fd);
  const Descriptor* parent = Find(listener);
  descriptors_[fd] = {.opened_here = true,
                      .target = parent != nullptr && parent->target};
}

void FaultPlan::Closing(int fd) {
  absl::MutexLock lock(&mutex_);
  Erase(fd);
}

int FaultPlan::FindTarget(const pollfd* fds, nfds_t count) const {
  absl::MutexLock lock(&mutex_);
  for (nfds_t i = 0; i < count; ++i) {
    if (IsTarget(fds[i].fd)) return fds[i].fd;
  }
  return kNoFd;
}

std::shared_ptr<FaultPlan::PollFunction> FaultPlan::poll_function() const {
  absl::MutexLock lock(&mutex_);
  return poll_;
}

std::string_view FaultPlan::NameOf(Call call) {
  constexpr std::string_view kNames[] = {
      "socket",        "socketpair",  "bind",        "listen",     "connect",
      "accept4",       "getsockname", "getpeername", "setsockopt", "getsockopt",
      "ioctl",         "shutdown",    "recv",        "send",       "sendmsg",
      "recvmmsg",      "sendmmsg",    "pread",       "sendfile",   "poll",
      "epoll_create1", "epoll_ctl",   "epoll_wait",  "eventfd",    "signalfd",
      "pidfd_open",    "pipe2",       "fcntl",       "close"};
  static_assert(std::size(kNames) == kCalls);
  return kNames[Index(call)];
}

int ForEachCall(absl::Span<const int> errors,
                absl::FunctionRef<void(FaultPlan&, std::string_view)> body) {
  int failed = 0;
  for (const int error : errors) {
    for (uint64_t n = 1;; ++n) {
      FaultPlan plan;
      plan.FailNth(n, error);
      body(plan, absl::StrCat("call ", n, " fails: ", std::strerror(error)));
      if (!plan.nth_failed().has_value()) break;
      ++failed;
    }
  }
  return failed;
}

int CountOpenDescriptors() {
  DIR* directory = opendir("/proc/self/fd");
  ABSL_CHECK(directory != nullptr) << "CountOpenDescriptors: no /proc";
  int entries = 0;
  while (readdir(directory) != nullptr) ++entries;
  closedir(directory);
  return entries - 3;  // "." and "..", and the directory itself.
}

}  // namespace fio::testing
