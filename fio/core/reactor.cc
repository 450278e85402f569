#include "fio/core/reactor.h"

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/core/listener.h"
#include "fio/core/loop/loop.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/signal_watch.h"
#include "fio/core/process/descriptor_limit.h"
#include "fio/defer/task_queue.h"
#include "fio/sock/listen_defaults.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"

namespace fio {
namespace {

absl::Status CheckOne(std::string_view option, int value) {
  if (value == 1) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "reactor: ", option, " = ", value, ": this version runs exactly 1"));
}

absl::StatusOr<std::unique_ptr<Loop>> CreateLoop(
    const ReactorOptions& options) {
  absl::Status threads = CheckOne("threads", options.threads);
  if (!threads.ok()) return threads;
  absl::Status workers = CheckOne("workers", options.workers);
  if (!workers.ok()) return workers;
  return Loop::Create(options.loop);
}

absl::Status NoListener(ListenerId id) {
  return absl::NotFoundError(
      absl::StrCat("reactor: no listener has id ", static_cast<uint64_t>(id)));
}

}  // namespace

Reactor::Reactor(ReactorOptions options)
    : options_(options), loop_(CreateLoop(options_)) {}

Reactor::~Reactor() = default;

absl::StatusOr<ListenerId> Reactor::Listen(std::string_view url,
                                           ListenOptions options) {
  if (!loop_.ok()) return loop_.status();
  const absl::StatusOr<Url> complete = listen_defaults_.Complete(url);
  if (!complete.ok()) {
    return absl::Status(complete.status().code(),
                        absl::StrCat("listen: ", complete.status().message()));
  }
  absl::StatusOr<std::unique_ptr<Listener>> listener =
      Listener::Create(**loop_, *complete, std::move(options));
  if (!listener.ok()) return listener.status();
  const auto id = static_cast<ListenerId>(++last_listener_);
  listeners_[id] = *std::move(listener);
  return id;
}

absl::StatusOr<SocketAddress> Reactor::ListenAddress(ListenerId id) const {
  const auto listener = listeners_.find(id);
  if (listener == listeners_.end()) return NoListener(id);
  return listener->second->local_address();
}

absl::Status Reactor::CloseListener(ListenerId id) {
  const auto found = listeners_.find(id);
  if (found == listeners_.end()) return NoListener(id);
  std::unique_ptr<Listener> listener = std::move(found->second);
  listeners_.erase(found);
  listener->Close();
  // Its own on_open may be what calls this, so it dies in a later turn.
  (*loop_)->Post([listener = std::move(listener)] {});
  return absl::OkStatus();
}

absl::Status Reactor::Run() {
  if (!loop_.ok()) return loop_.status();
  const absl::StatusOr<size_t> limit =
      RaiseDescriptorLimit(options_.max_descriptors);
  if (!limit.ok()) return limit.status();
  return options_.handle_signals ? RunWithSignals() : (*loop_)->Run();
}

absl::Status Reactor::RunWithSignals() {
  const absl::StatusOr<std::unique_ptr<SignalWatch>> signals =
      SignalWatch::Create({SIGINT, SIGTERM});
  if (!signals.ok()) return signals.status();
  const absl::StatusOr<WatchId> watch =
      (*loop_)->Watch((*signals)->fd(), Interest::kReadable, Trigger::kLevel,
                      [this, &signals](Readiness) { OnSignal(**signals); });
  if (!watch.ok()) return watch.status();
  stop_signals_ = 0;
  absl::Status result = (*loop_)->Run();
  (*loop_)->Unwatch(*watch);
  return result;
}

void Reactor::OnSignal(SignalWatch& signals) {
  while (signals.Next() != 0) {
    Stop(stop_signals_++ == 0 ? absl::InfiniteDuration()
                              : absl::ZeroDuration());
  }
}

void Reactor::Stop(absl::Duration grace) {
  if (!loop_.ok()) return;
  Post([this, grace] {
    while (!listeners_.empty()) {
      CloseListener(listeners_.begin()->first).IgnoreError();
    }
    (*loop_)->Stop(grace);
  });
}

void Reactor::Post(Task task) { loop().Post(std::move(task)); }

Loop& Reactor::loop() {
  ABSL_CHECK(loop_.ok()) << "Reactor: " << loop_.status();
  return **loop_;
}

}  // namespace fio
