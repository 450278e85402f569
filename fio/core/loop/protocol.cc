#include "fio/core/loop/protocol.h"

#include <cxxabi.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <typeinfo>

#include "fio/core/loop/connection.h"

namespace fio {

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
