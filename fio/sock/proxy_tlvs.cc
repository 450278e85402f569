#include "fio/sock/proxy_tlvs.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "fio/sock/internal/tlv_bytes.h"

namespace fio {
namespace {

using sock_internal::AppendBig;
using sock_internal::AppendTlv;
using sock_internal::kMaxTlvValueBytes;
using sock_internal::LoadBig;
using sock_internal::TakeTlv;
using sock_internal::WhyNoTlv;

constexpr size_t kMaxUniqueIdBytes = 128;

// The value of kSsl begins with `client` and `verify`.
constexpr size_t kSslStartBytes = 5;

// The names in the value of kSsl, by their types.
struct SslName {
  uint8_t type;
  std::string_view ProxySsl::*name;
};
constexpr SslName kSslNames[] = {
    {0x21, &ProxySsl::version},       {0x22, &ProxySsl::common_name},
    {0x23, &ProxySsl::cipher},        {0x24, &ProxySsl::signature_algorithm},
    {0x25, &ProxySsl::key_algorithm},
};

const SslName* FindSslName(uint8_t type) {
  const auto* found =
      std::find_if(std::begin(kSslNames), std::end(kSslNames),
                   [type](const SslName& name) { return name.type == type; });
  return found == std::end(kSslNames) ? nullptr : found;
}

bool IsRegistered(uint8_t type) {
  switch (type) {
    case ProxyTlvs::kAlpn:
    case ProxyTlvs::kAuthority:
    case ProxyTlvs::kUniqueId:
    case ProxyTlvs::kSsl:
    case ProxyTlvs::kNetns:
      return true;
    default:
      return false;
  }
}

// What is wrong with a value of kSsl; empty if nothing. Otherwise fills `ssl`.
std::string ReadSsl(std::string_view value, ProxySsl& ssl) {
  if (value.size() < kSslStartBytes) {
    return absl::StrCat("TLV 0x20 (SSL) has a value of ", value.size(),
                        " bytes, but 5 are the least");
  }
  ssl.client = static_cast<uint8_t>(value.front());
  ssl.verify = LoadBig<4>(value.substr(1));
  std::string_view rest = value.substr(kSslStartBytes);
  uint32_t seen = 0;
  while (!rest.empty()) {
    const size_t offset = value.size() - rest.size();
    std::string fault;
    uint8_t type = 0;
    std::string_view text;
    if (!TakeTlv(rest, type, text)) {
      fault = WhyNoTlv(rest);
    } else if (const SslName* name = FindSslName(type)) {
      const uint32_t bit = 1u << (name - kSslNames);
      if ((seen & bit) != 0) {
        fault = absl::StrFormat("TLV 0x%02x is there twice", type);
      }
      seen |= bit;
      ssl.*(name->name) = text;
    }
    if (!fault.empty()) {
      return absl::StrCat("in TLV 0x20 (SSL), at byte ", offset,
                          " of its value: ", fault);
    }
  }
  return {};
}

}  // namespace

ProxyTlvs::Iterator& ProxyTlvs::Iterator::operator++() {
  at_end_ = !TakeTlv(rest_, tlv_.type, tlv_.value);
  return *this;
}

std::optional<std::string_view> ProxyTlvs::Find(uint8_t type) const {
  for (const ProxyTlv& tlv : *this) {
    if (tlv.type == type) return tlv.value;
  }
  return std::nullopt;
}

std::optional<ProxySsl> ProxyTlvs::ssl() const {
  const std::optional<std::string_view> value = Find(kSsl);
  if (!value.has_value()) return std::nullopt;
  ProxySsl ssl;
  ReadSsl(*value, ssl);
  return ssl;
}

absl::Status ProxyTlvs::Add(uint8_t type, std::string_view value) {
  std::string fault;
  ProxySsl ssl;
  if (value.size() > kMaxTlvValueBytes) {
    fault = absl::StrFormat(
        "TLV 0x%02x has a value of %d bytes, but 65535 are "
        "the most",
        type, value.size());
  } else if (type == kCrc32c || type == kNoop) {
    fault = absl::StrFormat("TLV 0x%02x is not kept in a list", type);
  } else if (IsRegistered(type) && Find(type).has_value()) {
    fault = absl::StrFormat("TLV 0x%02x is there twice", type);
  } else if (type == kUniqueId && value.size() > kMaxUniqueIdBytes) {
    fault = absl::StrCat("TLV 0x05 (unique id) has a value of ", value.size(),
                         " bytes, but 128 are the most");
  } else if (type == kSsl) {
    fault = ReadSsl(value, ssl);
  }
  if (!fault.empty()) return absl::InvalidArgumentError(fault);
  AppendTlv(bytes_, type, value);
  return absl::OkStatus();
}

absl::Status ProxyTlvs::AddSsl(const ProxySsl& ssl) {
  std::string value(1, static_cast<char>(ssl.client));
  AppendBig<4>(value, ssl.verify);
  for (const SslName& name : kSslNames) {
    const std::string_view text = ssl.*name.name;
    if (text.size() > kMaxTlvValueBytes) {
      return absl::InvalidArgumentError(
          absl::StrFormat("TLV 0x%02x has a value of %d bytes, but 65535 are "
                          "the most",
                          name.type, text.size()));
    }
    if (!text.empty()) AppendTlv(value, name.type, text);
  }
  return Add(kSsl, value);
}

}  // namespace fio
