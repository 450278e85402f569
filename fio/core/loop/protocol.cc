#include "fio/core/loop/protocol.h"

#include <cxxabi.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <typeinfo>

#include "absl/strings/str_cat.h"
#include "fio/core/loop/connection.h"

namespace fio {

namespace {

std::string DescribeErrno(int error) {
  const char* const name = strerrorname_np(error);
  const char* const text = strerrordesc_np(error);
  if (name == nullptr || text == nullptr) return absl::StrCat("errno ", error);
  return absl::StrCat(name, " (", text, ")");
}

}  // namespace

std::string CloseReason::ToString() const {
  switch (origin) {
    case Origin::kLocal:
      return code == 0 ? "closed here"
                       : absl::StrCat("closed here, code ", code);
    case Origin::kPeer:
      return code == 0 ? "ended by the peer"
                       : absl::StrCat("ended by the peer, code ", code);
    case Origin::kError:
      return absl::StrCat("failed: ", DescribeErrno(error));
    case Origin::kReplaced:
      return "protocol replaced";
    case Origin::kReleased:
      return "socket released";
  }
  return absl::StrCat("origin ", static_cast<int>(origin));
}

void Protocol::OnEnd(Connection& connection) { connection.Close(); }

void Protocol::OnTimeout(Connection& connection) { connection.Close(); }

void Protocol::OnDeadline(Connection& connection) { connection.Abort(); }

std::string Protocol::Name() const {
  const char* const mangled = typeid(*this).name();
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> name(
      abi::__cxa_demangle(mangled, nullptr, nullptr, &status), &std::free);
  return status == 0 ? name.get() : mangled;
}

}  // namespace fio
