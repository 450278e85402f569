#include "fio/core/internal/listen_set.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/log/absl_log.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/core/internal/loop_group.h"
#include "fio/core/listener.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/sock/listen_socket.h"
#include "fio/sock/resolve.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"

namespace fio::core_internal {
namespace {

using Sockets = std::vector<std::shared_ptr<ListenSocket>>;

absl::Status ListenError(const Url& url, const absl::Status& cause) {
  return absl::Status(cause.code(), absl::StrCat("listen ", url.ToString(),
                                                 ": ", cause.message()));
}

// The first socket must be the first at the address, unless the user wants to
// share the port. The others then join it.
absl::StatusOr<Sockets> OpenSockets(absl::Span<const SocketAddress> addresses,
                                    ListenSocketOptions options, size_t count) {
  if (count > 1) {
    options.exclusive = options.exclusive || !options.reuse_port;
    options.reuse_port = true;
  }
  Sockets sockets;
  absl::StatusOr<ListenSocket> socket = ListenOnAny(addresses, options);
  options.exclusive = false;
  for (;;) {
    if (!socket.ok()) return socket.status();
    sockets.push_back(std::make_shared<ListenSocket>(*std::move(socket)));
    if (sockets.size() == count) return sockets;
    socket = ListenSocket::Listen(sockets.front()->local_address(), options);
  }
}

// Takes a socket that a service manager has opened for this process.
std::shared_ptr<ListenSocket> TakeInherited(
    absl::Span<const SocketAddress> addresses,
    std::vector<ListenSocket>& inherited) {
  const auto found =
      absl::c_find_if(inherited, [addresses](const ListenSocket& socket) {
        return absl::c_linear_search(addresses, socket.local_address());
      });
  if (found == inherited.end()) return nullptr;
  auto socket = std::make_shared<ListenSocket>(std::move(*found));
  inherited.erase(found);
  return socket;
}

}  // namespace

ListenSet::Sharing ListenSet::SharingOf(const Url& url,
                                        const ListenOptions& options,
                                        const Servers& servers) {
  const bool is_roots = options.root_only && servers.root_is_apart;
  if (url.kind() == Url::Kind::kUnix || is_roots) return Sharing::kByAll;
  return options.balance == AcceptBalance::kLeastConnections
             ? Sharing::kPerWorker
             : Sharing::kPerLoop;
}

absl::StatusOr<ListenerId> ListenSet::Open(
    const Url& url, ListenOptions options, const Servers& servers,
    std::vector<ListenSocket>& inherited) {
  const absl::Status checked = Listener::Check(url, options);
  if (!checked.ok()) return ListenError(url, checked);
  const absl::StatusOr<std::vector<SocketAddress>> addresses = Resolve(url);
  if (!addresses.ok()) return ListenError(url, addresses.status());
  Entry entry = {.options = nullptr,
                 .sharing = SharingOf(url, options, servers),
                 .servers = servers,
                 .address = {},
                 .sockets = {}};
  if (auto socket = TakeInherited(*addresses, inherited)) {
    entry.sharing = Sharing::kByAll;
    entry.sockets.push_back(std::move(socket));
  } else {
    const size_t count = entry.sharing == Sharing::kByAll ? 1
                         : entry.sharing == Sharing::kPerWorker
                             ? servers.workers
                             : servers.workers * servers.loops;
    absl::StatusOr<Sockets> sockets =
        OpenSockets(*addresses, options.socket, count);
    if (!sockets.ok()) return ListenError(url, sockets.status());
    entry.sockets = *std::move(sockets);
  }
  entry.address = entry.sockets.front()->local_address();
  entry.options = std::make_shared<const ListenOptions>(std::move(options));
  const auto id = static_cast<ListenerId>(++last_id_);
  entries_[id] = std::make_shared<const Entry>(std::move(entry));
  return id;
}

absl::Status ListenSet::Accept(LoopGroup& group, size_t worker) {
  std::vector<ListenerId> ids;
  for (const auto& [id, entry] : entries_) ids.push_back(id);
  for (const ListenerId id : ids) {
    absl::Status accepts = Accept(id, group, worker);
    if (!accepts.ok()) return accepts;
  }
  return absl::OkStatus();
}

AcceptWakes ListenSet::WakesOf(const Entry& entry) {
  return entry.sharing == Sharing::kByAll && !entry.is_of_root()
             ? AcceptWakes::kOne
             : AcceptWakes::kAll;
}

void ListenSet::ReserveAccepting(size_t loops) {
  while (accepting_.size() < loops) {
    accepting_.push_back(std::make_unique<Accepting>());
  }
}

absl::Status ListenSet::Accept(ListenerId id, LoopGroup& group, size_t worker) {
  ReserveAccepting(group.size());
  const std::shared_ptr<const Entry> entry = entries_.at(id);
  if (entry->is_of_root() != (worker == kRoot)) return absl::OkStatus();
  // Each loop starts accepting on its own thread. Before the threads run, all
  // of it happens here, and failures are returned. Later, other threads retry
  // what fails.
  auto status = std::make_shared<absl::Status>();
  group.ForEach([this, id, status, worker, entry, paused = paused_.contains(id),
                 tells_all = !group.has_threads(),
                 targets = group.handles()](size_t index, Loop& loop) {
    const bool hands_over =
        entry->options->balance == AcceptBalance::kLeastConnections;
    if (hands_over && index > 0) return;
    const Key key(id, SocketOf(*entry, worker, index));
    if (accepting(index).contains(key)) return;  // Since kOnStart.
    const Part part = {key, entry, index, loop, targets};
    if (index > 0 && !tells_all) return AcceptOnOrRetry(part, paused);
    status->Update(AcceptOn(part, paused, WakesOf(*entry)));
  });
  return *status;
}

absl::Status ListenSet::AcceptOn(const Part& part, bool paused,
                                 AcceptWakes wakes) {
  absl::StatusOr<std::unique_ptr<Listener>> listener =
      Listener::Create(part.loop, part.entry->sockets[part.key.second],
                       part.entry->options, part.targets, wakes);
  if (!listener.ok()) return listener.status();
  if (paused) (*listener)->Pause();
  accepting(part.index)[part.key].listener = *std::move(listener);
  return absl::OkStatus();
}

void ListenSet::AcceptOnOrRetry(const Part& part, bool paused) {
  const absl::Status accepts = AcceptOn(part, paused, WakesOf(*part.entry));
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

// --- Sockets of others ---

std::vector<ListenSet::Shared> ListenSet::SharedSockets() const {
  std::vector<Shared> shared;
  for (const auto& [id, entry] : entries_) {
    if (entry->is_of_root()) continue;
    const size_t of_each =
        entry->sharing == Sharing::kPerLoop ? entry->servers.loops : size_t{1};
    for (size_t i = 0; i < entry->sockets.size(); ++i) {
      shared.push_back({.worker = i / of_each, .socket = entry->sockets[i]});
    }
  }
  return shared;
}

std::function<void()> ListenSet::StopForRoot() const {
  std::vector<std::weak_ptr<ListenSocket>> all;
  for (const auto& [id, entry] : entries_) {
    all.insert(all.end(), entry->sockets.begin(), entry->sockets.end());
  }
  return [all = std::move(all)] {
    for (const std::weak_ptr<ListenSocket>& one : all) {
      // Its descriptor stays open meanwhile.
      const std::shared_ptr<ListenSocket> socket = one.lock();
      if (socket != nullptr) socket->StopListeningForParent();
    }
  };
}

void ListenSet::AcceptLent(LoopGroup& group, size_t worker, size_t lent,
                           absl::Duration time) {
  ReserveAccepting(group.size());
  for (const auto& [id, entry] : entries_) {
    if (entry->is_of_root()) continue;
    group.ForEach([this, id = id, entry = entry, worker, lent, time,
                   paused = paused_.contains(id),
                   targets = group.handles()](size_t index, Loop& loop) {
      const size_t loops = entry->sharing == Sharing::kPerLoop
                               ? entry->servers.loops
                               : size_t{1};
      for (size_t i = 0; i < loops; ++i) {
        const bool takes =
            entry->sharing == Sharing::kByAll || lent == worker || i == index;
        if (!takes) continue;
        const Key key(id, SocketOf(*entry, lent, i));
        AcceptLentOn({key, entry, index, loop, targets}, paused, time);
      }
    });
  }
}

void ListenSet::AcceptLentOn(const Part& part, bool paused,
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
        EndAccepting(key, index, loop);
      });
}

// A worker that called Listen() itself has its own sockets.
size_t ListenSet::SocketOf(const Entry& entry, size_t worker, size_t loop) {
  if (entry.servers.workers == 1) worker = 0;  // This one's own.
  switch (entry.sharing) {
    case Sharing::kPerLoop:
      return worker % entry.servers.workers * entry.servers.loops + loop;
    case Sharing::kPerWorker:
      return worker % entry.servers.workers;
    case Sharing::kByAll:
      break;
  }
  return 0;
}

const SocketAddress* ListenSet::FindAddress(ListenerId id) const {
  const auto entry = entries_.find(id);
  return entry == entries_.end() ? nullptr : &entry->second->address;
}

bool ListenSet::SetPaused(ListenerId id, bool paused, LoopGroup& group) {
  if (!entries_.contains(id)) return false;
  paused ? static_cast<void>(paused_.insert(id))
         : static_cast<void>(paused_.erase(id));
  group.ForEach([this, id, paused](size_t index, Loop&) {
    for (const Key& key : KeysOf(id, index)) {
      Acceptor& acceptor = accepting(index)[key];
      acceptor.paused = paused;
      Listener* const listener = acceptor.listener.get();
      if (listener == nullptr) continue;
      paused ? listener->Pause() : listener->Resume();
    }
  });
  return true;
}

std::vector<ListenSet::Key> ListenSet::KeysOf(ListenerId id,
                                              size_t loop) const {
  std::vector<Key> keys;
  if (loop >= accepting_.size()) return keys;
  for (const auto& [key, acceptor] : *accepting_[loop]) {
    if (key.first == id) keys.push_back(key);
  }
  return keys;
}

// This may be called in an on_open of the Listener, so that is destroyed in a
// later turn.
void ListenSet::EndAccepting(const Key& key, size_t index, Loop& loop) {
  const auto found = accepting(index).find(key);
  if (found == accepting(index).end()) return;
  Acceptor ended = std::move(found->second);
  accepting(index).erase(found);
  loop.Cancel(ended.timer);
  if (ended.listener == nullptr) return;
  ended.listener->Close();
  loop.Post([listener = std::move(ended.listener)] {});
}

bool ListenSet::Close(ListenerId id, LoopGroup& group) {
  const auto found = entries_.find(id);
  if (found == entries_.end()) return false;
  const std::shared_ptr<const Entry> entry = std::move(found->second);
  entries_.erase(found);
  paused_.erase(id);
  if (accepting_.empty()) {
    Finish({{id, entry}});
    return true;
  }
  End({{id, entry}}, !entry->is_of_workers(), group, nullptr);
  return true;
}

// Has an effect only in the process that opened the sockets; in a worker, the
// root's sockets continue to listen.
void ListenSet::StopListening(const Entries& entries) {
  for (const auto& [id, entry] : entries) {
    for (const auto& socket : entry->sockets) socket->StopListening();
  }
}

void ListenSet::Finish(const Entries& entries) {
  StopListening(entries);
  CallOnFinish(entries);
}

void ListenSet::CallOnFinish(const Entries& entries) {
  for (const auto& [id, entry] : entries) {
    if (entry->options->on_finish != nullptr) entry->options->on_finish();
  }
}

void ListenSet::CloseAll(LoopGroup& group, std::function<void()> done) {
  paused_.clear();
  End(std::exchange(entries_, {}), /*stops_listening=*/true, group,
      std::move(done));
}

// A socket stops listening when its loop has ended accepting, and the rest of
// them when all loops have. The main loop does not wait long for loops that
// hang.
void ListenSet::End(Entries entries, bool stops_listening, LoopGroup& group,
                    std::function<void()> done) {
  const auto ended = std::make_shared<Entries>(std::move(entries));
  if (stops_listening && group.has_threads()) {
    group.main().RunAfter(kPatience, [ended] { StopListening(*ended); });
  }
  group.ForEach(
      [this, ended](size_t index, Loop& loop) {
        for (const auto& [id, entry] : *ended) {
          for (const Key& key : KeysOf(id, index)) {
            EndAccepting(key, index, loop);
            entry->sockets[key.second]->StopListening();
          }
        }
      },
      [ended, stops_listening, done = std::move(done)] {
        const Entries all = std::exchange(*ended, {});
        if (stops_listening) StopListening(all);
        CallOnFinish(all);
        if (done != nullptr) done();
      });
}

}  // namespace fio::core_internal
