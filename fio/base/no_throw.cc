#include "fio/base/no_throw.h"

#include <cstdio>
#include <exception>
#include <string_view>

namespace fio {

void TerminateForException(std::string_view name) {
  std::fprintf(stderr, "fio: an exception has left a callback of %.*s\n",
               static_cast<int>(name.size()), name.data());
  std::terminate();
}

}  // namespace fio
