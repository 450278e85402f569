#include "fio/sock/resolve.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"

namespace fio {
namespace {

int FamilyOf(const Url& url) {
  switch (url.scheme()) {
    case Url::Scheme::kTcp:
      return url.host().empty() ? AF_INET : AF_UNSPEC;
    case Url::Scheme::kTcp4:
      return AF_INET;
    case Url::Scheme::kTcp6:
      return AF_INET6;
  }
  return AF_UNSPEC;
}

absl::Status ResolveError(const Url& url, int error) {
  const char* why =
      error == EAI_SYSTEM ? std::strerror(errno) : gai_strerror(error);
  const std::string message =
      absl::StrCat("resolve ", url.ToString(), ": ", why);
  return error == EAI_AGAIN || error == EAI_SYSTEM || error == EAI_MEMORY
             ? absl::UnavailableError(message)
             : absl::NotFoundError(message);
}

}  // namespace

absl::StatusOr<std::vector<SocketAddress>> Resolve(const Url& url) {
  if (!url.port().has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat("resolve ", url.ToString(), ": the port is missing"));
  }
  addrinfo hints = {};
  hints.ai_family = FamilyOf(url);
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const std::string service = absl::StrCat(*url.port());
  const int error =
      getaddrinfo(url.host().empty() ? nullptr : url.host().c_str(),
                  service.c_str(), &hints, &found);
  if (error != 0) return ResolveError(url, error);
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found,
                                                             freeaddrinfo);
  std::vector<SocketAddress> addresses;
  for (const addrinfo* entry = found; entry != nullptr;
       entry = entry->ai_next) {
    absl::StatusOr<SocketAddress> address =
        SocketAddress::FromSockaddr(entry->ai_addr, entry->ai_addrlen);
    if (address.ok()) addresses.push_back(*address);
  }
  if (addresses.empty()) return ResolveError(url, EAI_NONAME);
  return addresses;
}

}  // namespace fio
