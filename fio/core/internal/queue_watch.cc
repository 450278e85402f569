#include "fio/core/internal/queue_watch.h"

#include <poll.h>

#include <algorithm>
#include <cstddef>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "fio/base/syscalls.h"
#include "fio/core/loop/loop.h"
#include "fio/core/poller/event.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/sock/listen_socket.h"

namespace fio::core_internal {

QueueWatch::QueueWatch(Loop& loop, std::vector<Queue> queues, OnStuck on_stuck)
    : loop_(loop), on_stuck_(std::move(on_stuck)) {
  for (Queue& queue : queues) {
    queues_.push_back(std::make_unique<Watched>());
    queues_.back()->queue = std::move(queue);
    Arm(*queues_.back());
  }
}

QueueWatch::~QueueWatch() {
  loop_.Cancel(look_);
  for (const auto& watched : queues_) Unwatch(*watched);
}

void QueueWatch::Arm(Watched& watched) {
  absl::StatusOr<WatchId> watch =
      loop_.Watch(watched.queue.socket->fd(), Interest::kReadable,
                  Trigger::kLevel, [this, &watched](Readiness) {
                    Unwatch(watched);
                    watched.looks = 1;
                    LookLater();
                  });
  if (watch.ok()) {
    watched.watch = *watch;
  } else {
    LookLater();  // Which arms it again, sooner or later.
  }
}

void QueueWatch::Unwatch(Watched& watched) {
  loop_.Unwatch(std::exchange(watched.watch, WatchId::kNone));
}

void QueueWatch::LookLater() {
  if (look_ != TimerId::kNone) return;
  bool any = false;
  bool all_stay_stuck = true;
  for (const auto& watched : queues_) {
    if (watched->watch != WatchId::kNone) continue;
    any = true;
    all_stay_stuck &= watched->looks > kPatientLooks;
  }
  if (!any) return;
  look_ = loop_.RunAfter(all_stay_stuck ? kLongestInterval : kInterval, [this] {
    look_ = TimerId::kNone;
    Look();
  });
}

void QueueWatch::Look() {
  std::vector<Watched*> looked_at;
  std::vector<pollfd> fds;
  for (const auto& watched : queues_) {
    if (watched->watch != WatchId::kNone) continue;
    looked_at.push_back(watched.get());
    fds.push_back(
        {.fd = watched->queue.socket->fd(), .events = POLLIN, .revents = 0});
  }
  if (Sys().poll(fds.data(), fds.size(), 0) < 0) return LookLater();
  std::map<int, int> stuck;  // Times, by place.
  for (size_t i = 0; i < fds.size(); ++i) {
    Watched& watched = *looked_at[i];
    if (fds[i].revents == 0) {
      watched.looks = 0;
      Arm(watched);
    } else if (++watched.looks >= kLooks) {
      int& times = stuck[watched.queue.place];
      times = std::max(times, watched.looks - kLooks + 1);
    }
  }
  LookLater();
  for (const auto& [place, times] : stuck) on_stuck_(place, times);
}

}  // namespace fio::core_internal
