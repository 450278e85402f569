#include "fio/core/internal/listen_set.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "fio/core/internal/listen_entry.h"
#include "fio/core/listener.h"
#include "fio/core/process/service_manager.h"
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
std::shared_ptr<ListenSocket> TakeFrom(
    std::vector<ListenSocket>& inherited,
    absl::Span<const SocketAddress> addresses) {
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

absl::Status ListenSet::TakeInherited() {
  if (!takes_inherited_) return absl::OkStatus();
  absl::StatusOr<std::vector<ListenFd>> inherited = TakeListenFds();
  if (!inherited.ok()) return inherited.status();
  for (ListenFd& one : *inherited) {
    absl::StatusOr<ListenSocket> socket =
        ListenSocket::FromFd(std::move(one.fd));
    if (!socket.ok()) return socket.status();
    inherited_.push_back(*std::move(socket));
  }
  takes_inherited_ = false;
  return absl::OkStatus();
}

absl::StatusOr<ListenerId> ListenSet::Open(std::string_view url,
                                           ListenOptions options,
                                           const Servers& servers) {
  absl::Status taken = TakeInherited();
  if (!taken.ok()) return taken;
  const absl::StatusOr<Url> complete = defaults_.Complete(url);
  if (!complete.ok()) {
    return absl::Status(complete.status().code(),
                        absl::StrCat("listen: ", complete.status().message()));
  }
  absl::StatusOr<ListenOptions> checked =
      CompleteListenOptions(*complete, std::move(options));
  if (!checked.ok()) return ListenError(*complete, checked.status());
  absl::StatusOr<ListenEntry> entry = OpenEntry(*complete, *checked, servers);
  if (!entry.ok()) return ListenError(*complete, entry.status());
  entry->options = std::make_shared<const ListenOptions>(*std::move(checked));
  const auto id = static_cast<ListenerId>(++last_id_);
  entries_[id] = std::make_shared<const ListenEntry>(*std::move(entry));
  return id;
}

// All but its options.
absl::StatusOr<ListenEntry> ListenSet::OpenEntry(const Url& url,
                                                 const ListenOptions& options,
                                                 const Servers& servers) {
  const absl::StatusOr<std::vector<SocketAddress>> addresses = Resolve(url);
  if (!addresses.ok()) return addresses.status();
  ListenEntry entry = {.options = nullptr,
                       .sharing = ListenEntry::SharingOf(url, options, servers),
                       .servers = servers,
                       .address = {},
                       .sockets = {}};
  if (auto socket = TakeFrom(inherited_, *addresses)) {
    entry.sharing = ListenEntry::Sharing::kByAll;
    entry.sockets.push_back(std::move(socket));
  } else {
    absl::StatusOr<Sockets> sockets =
        OpenSockets(*addresses, options.socket,
                    ListenEntry::CountOf(entry.sharing, servers));
    if (!sockets.ok()) return sockets.status();
    entry.sockets = *std::move(sockets);
  }
  entry.address = entry.sockets.front()->local_address();
  return entry;
}

std::shared_ptr<const ListenEntry> ListenSet::Find(ListenerId id) const {
  const auto found = entries_.find(id);
  return found == entries_.end() ? nullptr : found->second;
}

const SocketAddress* ListenSet::FindAddress(ListenerId id) const {
  const auto found = entries_.find(id);
  return found == entries_.end() ? nullptr : &found->second->address;
}

std::shared_ptr<const ListenEntry> ListenSet::Take(ListenerId id) {
  const auto found = entries_.find(id);
  if (found == entries_.end()) return nullptr;
  std::shared_ptr<const ListenEntry> taken = std::move(found->second);
  entries_.erase(found);
  paused_.erase(id);
  return taken;
}

ListenEntries ListenSet::TakeAll() {
  paused_.clear();
  return std::exchange(entries_, {});
}

bool ListenSet::SetPaused(ListenerId id, bool paused) {
  if (!entries_.contains(id)) return false;
  paused ? static_cast<void>(paused_.insert(id))
         : static_cast<void>(paused_.erase(id));
  return true;
}

void ListenSet::Drop() {
  const ListenEntries dropped = TakeAll();
  StopListening(dropped);
  CallOnFinish(dropped);
}

std::vector<ListenSet::Shared> ListenSet::SharedSockets() const {
  std::vector<Shared> shared;
  for (const auto& [id, entry] : entries_) {
    if (entry->is_of_root()) continue;
    const size_t of_each = entry->sockets_of_worker();
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

}  // namespace fio::core_internal
