#include "fio/tls/internal/server_names.h"

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/strip.h"
#include "absl/types/span.h"

namespace fio::tls_internal {

void ServerNames::Add(std::string_view name, size_t index) {
  const bool wild = absl::ConsumePrefix(&name, "*.");
  absl::ConsumeSuffix(&name, ".");
  if (name.empty()) return;
  Indices& indices = (wild ? wildcards_ : exact_)[absl::AsciiStrToLower(name)];
  if (!absl::c_linear_search(indices, index)) indices.push_back(index);
}

absl::Span<const size_t> ServerNames::Find(std::string_view host) const {
  absl::ConsumeSuffix(&host, ".");
  const std::string lower = absl::AsciiStrToLower(host);
  if (const auto found = exact_.find(lower); found != exact_.end()) {
    return found->second;
  }
  const size_t dot = lower.find('.');
  if (dot == 0 || dot == std::string::npos) return {};
  const auto found = wildcards_.find(std::string_view(lower).substr(dot + 1));
  if (found == wildcards_.end()) return {};
  return found->second;
}

}  // namespace fio::tls_internal
