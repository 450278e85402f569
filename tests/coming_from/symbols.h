// What of fio docs/coming-from.md may name: each with a use that has compiled.

#ifndef FIO_TESTS_COMING_FROM_SYMBOLS_H_
#define FIO_TESTS_COMING_FROM_SYMBOLS_H_

#include <string>
#include <vector>

namespace fio::coming_from {

// As "Connection::Write", without the "fio::".
std::vector<std::string> CompiledSymbols();

}  // namespace fio::coming_from

#endif  // FIO_TESTS_COMING_FROM_SYMBOLS_H_
