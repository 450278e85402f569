#include "fio/sock/resolve.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "fio/base/errno_status.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"

namespace fio {
namespace {

using AddrInfo = std::unique_ptr<addrinfo, void (*)(addrinfo*)>;

int FamilyOf(const Url& url) {
  switch (url.scheme()) {
    case Url::Scheme::kTcp4:
    case Url::Scheme::kUdp4:
      return AF_INET;
    case Url::Scheme::kTcp6:
    case Url::Scheme::kUdp6:
      return AF_INET6;
    default:
      return url.host().empty() ? AF_INET : AF_UNSPEC;
  }
}

absl::Status ResolveError(std::string_view what, std::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("resolve ", what, ": ", why));
}

// `what` is for the message. A null `host` is every address of this machine.
absl::StatusOr<AddrInfo> GetAddrInfo(std::string_view what, const char* host,
                                     const char* service,
                                     const addrinfo& hints) {
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host, service, &hints, &found);
  if (error == 0) return AddrInfo(found, freeaddrinfo);
  const char* why =
      error == EAI_SYSTEM ? std::strerror(errno) : gai_strerror(error);
  const std::string message = absl::StrCat("resolve ", what, ": ", why);
  return error == EAI_AGAIN || error == EAI_SYSTEM || error == EAI_MEMORY
             ? absl::UnavailableError(message)
             : absl::NotFoundError(message);
}

absl::StatusOr<std::vector<SocketAddress>> ResolvePath(const Url& url) {
  std::string_view path = url.path();
  const absl::StatusOr<SocketAddress> address =
      absl::ConsumePrefix(&path, "@") ? SocketAddress::FromUnixAbstract(path)
                                      : SocketAddress::FromUnixPath(path);
  if (address.ok()) return std::vector<SocketAddress>{*address};
  return ResolveError("unix", address.status().message());
}

std::vector<SocketAddress> Loopback(const Url& url, uint16_t port) {
  const int family = FamilyOf(url);
  std::vector<SocketAddress> addresses;
  for (const char* ip : {"127.0.0.1", "::1"}) {
    const absl::StatusOr<SocketAddress> address =
        SocketAddress::FromIp(ip, port);
    if (address.ok() && (family == AF_UNSPEC || family == address->family())) {
      addresses.push_back(*address);
    }
  }
  return addresses;
}

}  // namespace

absl::StatusOr<std::vector<SocketAddress>> Resolve(const Url& url) {
  if (url.kind() == Url::Kind::kUnix) return ResolvePath(url);
  const std::string text = url.ToString();
  const std::optional<uint16_t> port =
      url.port().has_value() ? url.port() : url.default_port();
  if (!port.has_value()) return ResolveError(text, "the port is missing");
  if (url.is_localhost()) return Loopback(url, *port);
  addrinfo hints = {};
  hints.ai_family = FamilyOf(url);
  hints.ai_socktype =
      url.kind() == Url::Kind::kDatagram ? SOCK_DGRAM : SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  const absl::StatusOr<AddrInfo> found =
      GetAddrInfo(text, url.host().empty() ? nullptr : url.host().c_str(),
                  absl::StrCat(*port).c_str(), hints);
  if (!found.ok()) return found.status();
  std::vector<SocketAddress> addresses;
  for (const addrinfo* entry = found->get(); entry != nullptr;
       entry = entry->ai_next) {
    absl::StatusOr<SocketAddress> address =
        SocketAddress::FromSockaddr(entry->ai_addr, entry->ai_addrlen);
    // glibc finds 127.0.0.1 twice where /etc/hosts has both localhosts.
    if (address.ok() && !absl::c_linear_search(addresses, *address)) {
      addresses.push_back(*address);
    }
  }
  if (!addresses.empty()) return addresses;
  return absl::NotFoundError(
      absl::StrCat("resolve ", text, ": ", gai_strerror(EAI_NONAME)));
}

absl::StatusOr<std::string> LocalHostName() {
  char name[HOST_NAME_MAX + 1] = "";
  if (gethostname(name, sizeof(name)) != 0) {
    return ErrnoToStatus(errno, "gethostname");
  }
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_CANONNAME;
  const absl::StatusOr<AddrInfo> found =
      GetAddrInfo(name, name, nullptr, hints);
  if (!found.ok()) return found.status();
  const char* canonical = (*found)->ai_canonname;
  return canonical == nullptr || *canonical == '\0' ? name : canonical;
}

}  // namespace fio
