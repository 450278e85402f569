#include "fio/core/internal/acceptors.h"

#include <cstddef>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/log/absl_log.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "fio/core/internal/listen_entry.h"
#include "fio/core/internal/loop_group.h"
#include "fio/core/listener.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_handle.h"

namespace fio::core_internal {

void Acceptors::Reserve(size_t loops) {
  while (accepting_.size() < loops) {
    accepting_.push_back(std::make_unique<Accepting>());
  }
}

std::vector<Acceptors::Key> Acceptors::KeysOf(ListenerId id,
                                              size_t loop) const {
  std::vector<Key> keys;
  if (loop >= accepting_.size()) return keys;
  for (const auto& [key, acceptor] : *accepting_[loop]) {
    if (key.first == id) keys.push_back(key);
  }
  return keys;
}

// --- Its own sockets ---

absl::Status Acceptors::Accept() {
  std::vector<ListenerId> ids;
  for (const auto& [id, entry] : listeners_.entries()) ids.push_back(id);
  for (const ListenerId id : ids) {
    absl::Status accepts = Accept(id);
    if (!accepts.ok()) return accepts;
  }
  return absl::OkStatus();
}

absl::Status Acceptors::Accept(ListenerId id) {
  Reserve(group_.size());
  const std::shared_ptr<const ListenEntry> entry = listeners_.Find(id);
  if (entry->is_of_root() != (worker_ == kRoot)) return absl::OkStatus();
  // Each loop starts accepting on its own thread. Before the threads run, all
  // of it happens here, and failures are returned. Later, other threads retry
  // what fails.
  auto status = std::make_shared<absl::Status>();
  group_.ForEach([this, id, status, entry, paused = listeners_.is_paused(id),
                  tells_all = !group_.has_threads(),
                  targets = group_.handles()](size_t index, Loop& loop) {
    const bool hands_over =
        entry->options->balance == AcceptBalance::kLeastConnections;
    if (hands_over && index > 0) return;
    const Key key(id, entry->SocketOf(worker_, index));
    if (accepting(index).contains(key)) return;  // Since kOnStart.
    const Part part = {key, entry, index, loop, targets};
    if (index > 0 && !tells_all) return AcceptOnOrRetry(part, paused);
    status->Update(AcceptOn(part, paused, entry->wakes()));
  });
  return *status;
}

absl::Status Acceptors::AcceptOn(const Part& part, bool paused,
                                 AcceptWakes wakes) {
  absl::StatusOr<std::unique_ptr<Listener>> listener =
      Listener::Create(part.loop, part.entry->sockets[part.key.second],
                       part.entry->options, part.targets, wakes);
  if (!listener.ok()) return listener.status();
  if (paused) (*listener)->Pause();
  accepting(part.index)[part.key].listener = *std::move(listener);
  return absl::OkStatus();
}

void Acceptors::AcceptOnOrRetry(const Part& part, bool paused) {
  const absl::Status accepts = AcceptOn(part, paused, part.entry->wakes());
  if (accepts.ok()) return;
  const absl::Duration delay = part.entry->options->back_off;
  ABSL_LOG(ERROR) << "loop " << part.index << ": " << accepts << "; again in "
                  << delay;
  Acceptor& acceptor = accepting(part.index)[part.key];
  acceptor.paused = paused;
  acceptor.timer = part.loop.RunAfter(delay, [this, part] {
    AcceptOnOrRetry(part, accepting(part.index)[part.key].paused);
  });
}

void Acceptors::UpdatePaused(ListenerId id) {
  group_.ForEach(
      [this, id, paused = listeners_.is_paused(id)](size_t index, Loop&) {
        for (const Key& key : KeysOf(id, index)) {
          Acceptor& acceptor = accepting(index)[key];
          acceptor.paused = paused;
          Listener* const listener = acceptor.listener.get();
          if (listener == nullptr) continue;
          paused ? listener->Pause() : listener->Resume();
        }
      });
}

void Acceptors::GetStats(ListenerId id,
                         std::function<void(const ListenerStats&)> done) {
  const auto each = std::make_shared<std::vector<ListenerStats>>(group_.size());
  group_.ForEach(
      [this, id, each](size_t index, Loop&) {
        for (const Key& key : KeysOf(id, index)) {
          const Listener* const listener = accepting(index)[key].listener.get();
          if (listener != nullptr) (*each)[index] += listener->stats();
        }
      },
      [each, done = std::move(done)] {
        ListenerStats sum;
        for (const ListenerStats& one : *each) sum += one;
        done(sum);
      });
}

// --- Sockets of others ---

void Acceptors::AcceptLent(size_t lent, absl::Duration time) {
  Reserve(group_.size());
  for (const auto& [id, entry] : listeners_.entries()) {
    if (entry->is_of_root()) continue;
    group_.ForEach([this, id = id, entry = entry, lent, time,
                    paused = listeners_.is_paused(id),
                    targets = group_.handles()](size_t index, Loop& loop) {
      for (size_t i = 0; i < entry->sockets_of_worker(); ++i) {
        const bool takes = entry->sharing == ListenEntry::Sharing::kByAll ||
                           lent == worker_ || i == index;
        if (!takes) continue;
        const Key key(id, entry->SocketOf(lent, i));
        AcceptLentOn({key, entry, index, loop, targets}, paused, time);
      }
    });
  }
}

void Acceptors::AcceptLentOn(const Part& part, bool paused,
                             absl::Duration time) {
  const auto found = accepting(part.index).find(part.key);
  if (found != accepting(part.index).end() && !found->second.lent) {
    // Its own listener. Watching the socket again reports clients that wait.
    Listener* const listener = found->second.listener.get();
    if (listener == nullptr || listener->paused()) return;
    listener->Pause();
    listener->Resume();
    return;
  }
  if (found == accepting(part.index).end()) {
    const absl::Status accepts = AcceptOn(part, paused, AcceptWakes::kOne);
    if (!accepts.ok()) {
      ABSL_LOG(ERROR) << "loop " << part.index
                      << ", for another worker: " << accepts;
      return;
    }
  }
  Acceptor& acceptor = accepting(part.index)[part.key];
  acceptor.lent = true;
  part.loop.Cancel(acceptor.timer);
  acceptor.timer = part.loop.RunAfter(
      time, [this, key = part.key, index = part.index, &loop = part.loop] {
        EndOn(key, index, loop);
      });
}

// --- Ending ---

// This may be called in an on_open of the Listener, so that is destroyed in a
// later turn.
void Acceptors::EndOn(const Key& key, size_t index, Loop& loop) {
  const auto found = accepting(index).find(key);
  if (found == accepting(index).end()) return;
  Acceptor ended = std::move(found->second);
  accepting(index).erase(found);
  loop.Cancel(ended.timer);
  if (ended.listener == nullptr) return;
  ended.listener->Close();
  loop.Post([listener = std::move(ended.listener)] {});
}

// A socket stops listening when its loop has ended accepting, and the rest of
// them when all loops have. The main loop does not wait long for loops that
// hang.
void Acceptors::End(ListenEntries entries, bool stops_listening,
                    std::function<void()> done) {
  const auto ended = std::make_shared<ListenEntries>(std::move(entries));
  if (stops_listening && group_.has_threads()) {
    group_.main().RunAfter(kPatience, [ended] { StopListening(*ended); });
  }
  group_.ForEach(
      [this, ended](size_t index, Loop& loop) {
        for (const auto& [id, entry] : *ended) {
          for (const Key& key : KeysOf(id, index)) {
            EndOn(key, index, loop);
            entry->sockets[key.second]->StopListening();
          }
        }
      },
      [ended, stops_listening, done = std::move(done)] {
        const ListenEntries all = std::exchange(*ended, {});
        if (stops_listening) StopListening(all);
        CallOnFinish(all);
        if (done != nullptr) done();
      });
}

}  // namespace fio::core_internal
