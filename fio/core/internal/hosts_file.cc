#include "fio/core/internal/hosts_file.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"

namespace fio::core_internal {
namespace {

std::string ReadSmallFile(const char* path) {
  const UniqueFd file =
      UniqueFd::Created(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat about = {};
  if (!file || fstat(file.get(), &about) != 0 || !S_ISREG(about.st_mode) ||
      static_cast<size_t>(about.st_size) > kMaxHostsFile) {
    return "";
  }
  std::string text(static_cast<size_t>(about.st_size), '\0');
  size_t size = 0;
  while (size < text.size()) {
    const ssize_t got = read(file.get(), &text[size], text.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    size += static_cast<size_t>(got);
  }
  text.resize(size);
  return text;
}

bool Allows(const Url& url, int family) {
  switch (url.scheme()) {
    case Url::Scheme::kTcp4:
    case Url::Scheme::kUdp4:
      return family == AF_INET;
    case Url::Scheme::kTcp6:
    case Url::Scheme::kUdp6:
      return family == AF_INET6;
    default:
      return true;
  }
}

void AddIfAllowed(const Url& url, std::string_view ip,
                  std::vector<SocketAddress>& addresses) {
  const uint16_t port = url.port().value_or(url.default_port().value_or(0));
  const absl::StatusOr<SocketAddress> address = SocketAddress::FromIp(ip, port);
  if (address.ok() && Allows(url, address->family()) &&
      !absl::c_linear_search(addresses, *address)) {
    addresses.push_back(*address);
  }
}

}  // namespace

std::vector<SocketAddress> FindKnownHost(const Url& url, const char* path) {
  std::vector<SocketAddress> addresses;
  const std::string_view host = absl::StripSuffix(url.host(), ".");
  const std::string text = ReadSmallFile(path);
  for (std::string_view line : absl::StrSplit(text, '\n')) {
    line = line.substr(0, line.find('#'));
    const std::vector<std::string_view> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
    for (size_t i = 1; i < words.size(); ++i) {
      if (absl::EqualsIgnoreCase(words[i], host)) {
        AddIfAllowed(url, words[0], addresses);
      }
    }
  }
  return addresses;
}

}  // namespace fio::core_internal
