// A Preset holds what a reactor was told to do before Run(): tasks, timers and
// connectors, which each process runs when it starts. It is kept during Run(),
// for workers that are forked later; a forked child has a copy.
//
// Thread safety: none.

#ifndef FIO_CORE_INTERNAL_PRESET_H_
#define FIO_CORE_INTERNAL_PRESET_H_

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "fio/core/connector.h"
#include "fio/core/timer/repeated_callback.h"

namespace fio {

enum class ConnectorId : uint64_t;  // See reactor.h.

namespace core_internal {

class Preset {
 public:
  using Task = std::function<void()>;
  // See Reactor::Timer.
  struct Timer {
    RepeatedCallback<std::function<TimerNext()>> callback;
    absl::Duration interval;
    int64_t repetitions = -1;
    std::function<void()> on_finish = nullptr;
  };
  struct Connector {
    ConnectorId id;
    std::string url;
    ConnectorOptions options;
  };

  void Add(Task task) { tasks_.push_back(std::move(task)); }
  void Add(Timer timer) { timers_.push_back(std::move(timer)); }
  void Add(Connector connector) { connectors_.push_back(std::move(connector)); }

  // Removes a connector and calls its on_finish. False if there is none with
  // this id, or this process has started the preset.
  bool Cancel(ConnectorId id);

  const std::vector<Task>& tasks() const { return tasks_; }
  const std::vector<Timer>& timers() const { return timers_; }
  const std::vector<Connector>& connectors() const { return connectors_; }

  // Notes that this process starts all of it. Its forked children have not.
  void MarkStarted();

  // Forgets everything. If this process has not started it, calls each
  // on_finish.
  void Drop();

 private:
  static constexpr int kNowhere = -1;

  bool is_started() const;

  std::vector<Task> tasks_;
  std::vector<Timer> timers_;
  std::vector<Connector> connectors_;
  int started_in_ = kNowhere;  // The ForkCount() of the process.
};

}  // namespace core_internal
}  // namespace fio

#endif  // FIO_CORE_INTERNAL_PRESET_H_
