#include "fio/base/fork_count.h"

#include <pthread.h>

#include <atomic>

namespace fio::base_internal {

constinit std::atomic<int> fork_count = 0;
constinit std::atomic<int> forks_made = 0;

namespace {

// Before main(), so that no fork comes first; the child has one thread.
[[maybe_unused]] const int registered =
    pthread_atfork([] { ++forks_made; }, nullptr,
                   [] {
                     ++fork_count;
                     forks_made = 0;
                   });

}  // namespace
}  // namespace fio::base_internal
